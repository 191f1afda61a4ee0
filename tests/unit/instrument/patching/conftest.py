"""Shared fixtures of the tests of `instrument()`: the names of the calls, and the check that everything is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._instrument.patching import watches
from toolweaver_monitor._instrument.patching.patch import patches


@pytest.fixture(autouse=True)
def all_is_put_back() -> Iterator[None]:
    """Require of every test that no patch is left."""
    yield
    watches.failures.clear()
    watched = [watch.title for watch in watches.watches.values() if watch.target() is not None]
    watches.watches.clear()
    left = [f"{patch.owner}.{patch.name}" for patch in patches.values() if patch.whole or patch.single]
    for patch in list(patches.values()):
        patch.whole.clear()
        patch.single.clear()
        patch.apply()
    assert not left
    assert not watched


@pytest.fixture
def names(calls: Callable[[], list[ToolCall]]) -> Callable[[], list[str]]:
    """Return the names of the calls since the last request."""
    return lambda: [call.tool_name for call in calls()]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a module that can be imported: `write("package/module.py", source)`."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, source: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)

    return written


@pytest.fixture(autouse=True)
def no_module_stays(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget what a test imported."""
    import sys

    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("toolweaver_monitor", "wrapt")):
            del sys.modules[name]
