"""What do the tests of `instrument()` share? Who was called, and that all is put back in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._instrument.patching.patch import places


@pytest.fixture(autouse=True)
def all_is_put_back() -> Iterator[None]:
    """Holds every test to it: nothing stays watched."""
    yield
    left = [f"{place.owner}.{place.name}" for place in places.values() if place.whole or place.single]
    for place in list(places.values()):
        place.whole.clear()
        place.single.clear()
        place.settle()
    assert not left


@pytest.fixture
def names(calls: Callable[[], list[ToolCall]]) -> Callable[[], list[str]]:
    """Gives the names of the calls since it was last asked."""
    return lambda: [call.tool_name for call in calls()]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module that can be imported: `write("package/module.py", source)`."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, source: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)

    return written


@pytest.fixture(autouse=True)
def no_module_stays(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forgets what a test imported."""
    import sys

    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("toolweaver_monitor", "wrapt")):
            del sys.modules[name]
