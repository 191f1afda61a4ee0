"""How is a whole package watched while its own tests run? A pytest plugin: everything public in each of its modules."""

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
    """Before any test is imported, so that `from package import name` gets what is watched."""
    name = os.environ["TRANSPARENCY_PACKAGE"]
    package = importlib.import_module(name)
    names = [each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.") if ".tests" not in each.name]
    modules = [importlib.import_module(each) for each in names if not each.endswith("__main__")]
    for module in [*modules, package]:
        try:
            instrument(module)
        except ConfigurationError as error:  # a module that only shows what others define
            print(f"{module.__name__}: {error}")
    setup()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say how much was watched."""
    functions = {id(each.original) for each in patch.patches.values()}
    calls = get_monitor().summary()["count"]
    Path(os.environ["TRANSPARENCY_SAID"]).write_text(f"{len(functions)} {calls}")
