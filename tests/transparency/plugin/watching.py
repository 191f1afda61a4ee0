"""Monitor everything public in each module of a package while its own tests run: a pytest plugin."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import pytest

from toolweaver_monitor import get_monitor, instrument, setup
from toolweaver_monitor._instrument.patching import patch
from toolweaver_monitor.errors import ConfigurationError


def pytest_load_initial_conftests() -> None:
    """Instrument the package before any test is imported, so that `from package import name` gets the wrappers."""
    name = os.environ["TRANSPARENCY_PACKAGE"]
    package = importlib.import_module(name)
    names = [each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.") if ".tests" not in each.name]
    modules = [importlib.import_module(each) for each in names if not each.endswith("__main__")]
    for module in [*modules, package]:
        try:
            instrument(module)
        except ConfigurationError as error:  # a module that only re-exports
            print(f"{module.__name__}: {error}")
    setup()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write how much was monitored."""
    functions = {id(each.original) for each in patch.patches.values()}
    calls = get_monitor().summary()["count"]
    Path(os.environ["TRANSPARENCY_COUNTS"]).write_text(f"{len(functions)} {calls}")
