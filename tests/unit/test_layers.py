"""Arrows go down: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import toolweaver_monitor

PACKAGE = Path(toolweaver_monitor.__file__).parent

FLOORS = (
    ("words", "call details values catalogue clock collecting config errors histogram locks redact rendering rollup"),
    ("words", "records secret_rules sums tabular tally text"),
    ("tools", "usage budget endpoint http_access http_loop http_messages store"),
    ("pipe", "bus"),
    ("ends", "instrument sinks"),
    ("root", "choices health holdings misspelt monitor monitor_text sealing setup waiting"),
    ("faces", "report dashboard grafana cli testing __init__ __main__"),
)
NAMES = list(dict(FLOORS))
FLOOR_OF = {room: NAMES.index(name) for name, rooms in FLOORS for room in rooms.split()}
APART = [("instrument", "sinks"), ("sinks", "instrument"), ("sinks", "bus")]
SHARED_BY_SINKS = {"base", "view", "exposition", "collector", "__init__"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_by(path: Path) -> set[str]:
    """The modules of ours that a file imports, also inside functions; what only type checkers read is left out."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("toolweaver_monitor.") for name in found if name.startswith("toolweaver_monitor.")}


def module_of(name: str, names: dict[str, Path]) -> str:
    """The module that `from module import name` reads: the name itself if it is a module, else what it stands in."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_its_own_floor_and_lower_ones(path: Path) -> None:
    """Instrumentation knows the bus and not the sinks; sinks know calls and not the bus; only the root knows both."""
    room = room_of(path)
    for name in imported_by(path):
        other = name.split(".")[0]
        if other not in FLOOR_OF:
            continue  # a name of the package itself, such as __version__
        assert FLOOR_OF[other] <= FLOOR_OF[room], f"{room} must not import {name}"
        assert (room, other) not in APART, f"{room} must not know {name}"


def test_no_sink_knows_another() -> None:
    """One file an output: each can be read, and thrown away, alone."""
    for path in (PACKAGE / "sinks").glob("*.py"):
        if path.stem in SHARED_BY_SINKS or path.stem.startswith("_"):
            continue
        mine = {path.stem} | SHARED_BY_SINKS
        others = {name.split(".")[1] for name in imported_by(path) if name.startswith("sinks.")}
        assert {other for other in others if not other.startswith("_")} <= mine, path.name


def test_every_file_has_a_floor() -> None:
    """A new room is given its place here before it is moved into."""
    assert {room_of(path) for path in modules()} <= set(FLOOR_OF)


def test_no_import_cycles() -> None:
    """Two files that want each other miss a third, lower one."""
    names = {str(path.relative_to(PACKAGE)).removesuffix(".py").replace("/", "."): path for path in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    wants = {
        name: {module_of(found, names) for found in imported_by(path)} - {name, ""} for name, path in names.items()
    }
    ended: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in ended:
            for other in wants[name]:
                follow(other, (*way, name))
            ended.add(name)

    for name in names:
        follow(name, ())


def test_the_public_face_is_sorted_and_whole() -> None:
    """Every name in `__all__` is there, and the list reads like an index."""
    names = toolweaver_monitor.__all__
    assert names == sorted(names)
    assert all(hasattr(toolweaver_monitor, name) for name in names)
    promised = (
        "setup get_monitor Monitor flush shutdown monitored track current_call instrument uninstrument ToolCall Usage "
        "Budget BudgetExceeded MetricsCollector CostTracker ErrorTracker Sink __version__"
    )
    assert set(promised.split()) <= set(names)
