"""The layout of the package: what may import what, what is public, and how large a file may be."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

import toolweaver_monitor

PACKAGE = Path(toolweaver_monitor.__file__).parent

FLOORS = (
    ("errors",),
    ("_text",),
    ("_core",),
    ("_usage", "_budget", "_bus", "_stats", "_http", "_store"),
    ("_instrument", "_page", "sinks"),
    ("_runtime",),
    ("__init__", "testing"),
    ("_cli", "integrations"),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
APART = {"_instrument": {"_stats"}, "sinks": {"_bus", "_usage"}}
"""What a room must not import although it is on a lower floor. Rooms of one floor never import each other."""
SHARED_BY_SINKS = {"_base", "_memory"}
ALLOWED_PRICING = {"_usage", "_runtime", "_cli"}
PUBLIC_PATHS = {
    "toolweaver_monitor", "errors", "integrations", "integrations.logs", "integrations.toolweaver", "sinks", "testing",
    "testing.faults",
}  # fmt: skip
MAX_LINES, MIN_LINES = 300, 40
SHORT = {
    "_text/names.py",
    "_text/reportable.py",
    "errors.py",
    "_core/clock.py",
    "_core/figure_notes.py",
    "_core/gc_guard.py",
    "_core/ids.py",
    "_core/introspect.py",
    "_core/log_throttle.py",
    "_core/structs.py",
    "_bus/deferred_log.py",
    "_runtime/mounts.py",
    "_bus/policy.py",
    "_bus/retry.py",
    "_instrument/patching/everywhere.py",
    "_instrument/patching/executors.py",
    "_instrument/patching/instance_patch.py",
    "_instrument/patching/options.py",
    "_instrument/patching/stream_contexts.py",
    "_instrument/patching/super_calls.py",
    "_instrument/registered.py",
    "_usage/counted_ids.py",
    "_usage/pricing/fork_import.py",
    "_cli/dashboards/queries.py",
    "_cli/doctor/findings.py",
    "_cli/store/tree.py",
    "integrations/logs.py",
    "sinks/_prometheus/exemplars.py",
    "integrations/toolweaver/_registry.py",
    "sinks/_otlp/conventions.py",
}
"""Files under `MIN_LINES` lines of code: each isolates an import or workaround, or does one thing that several need."""


NOT_VERBS = re.compile(
    r"(The|An?|All|Any|As|At|By|Each|For|From|How|If|In|Is|Are|It|Its|No|None|Of|On|One|So|That|Th[eo]se|They|This|To|True"
    r"|False|What|When|Where|Whether|Which|Who|Whose|Why|With|Yes)\b|\w+[^s\W]s\b"
)
"""How a docstring opens that does not begin with an imperative: an article, a question, or `Returns`."""
PARTICIPLES = ("checked_", "told", "said")


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package."""
    found = {
        str(path.relative_to(PACKAGE)).removesuffix(".py").replace("/", "."): path for path in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix(".__init__") if name != "__init__" else name: path for name, path in found.items()}


def module_of(name: str) -> str:
    """The module that `from module import name` reads: the name itself if it is a module, else what it stands in."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or "__init__"


@cache
def imported_by(module: str) -> frozenset[str]:
    """The modules of this package that a module imports, also inside functions and for type checkers only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {
        name.removeprefix("toolweaver_monitor").lstrip(".") for name in found if name.startswith("toolweaver_monitor")
    }
    return frozenset({module_of(name) for name in ours} - {module})


def room_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_file_imports_only_its_own_floor_and_lower_ones(module: str) -> None:
    """Instrumentation knows the bus and not the sinks; sinks know calls and not the bus; only _runtime knows both."""
    room = room_of(module)
    for other in map(room_of, imported_by(module)):
        if other == "__init__" and room != "__init__":
            assert FLOOR_OF[room] > FLOOR_OF["__init__"], f"{module} must not import the package's face"
        elif other != room:
            assert FLOOR_OF[other] < FLOOR_OF[room], f"{module} must not import {other}"
            assert other not in APART.get(room, set()), f"{module} must not know {other}"


def test_no_output_of_sinks_knows_another() -> None:
    """One room an output: each can be read, and thrown away, alone."""
    for module in modules():
        room, _, rest = module.partition(".")
        if room != "sinks" or not rest:
            continue
        mine = rest.partition(".")[0]
        others = {name.split(".")[1] for name in imported_by(module) if name.startswith("sinks.")}
        assert others <= SHARED_BY_SINKS | {mine}, module


def test_prices_are_looked_up_by_the_runtime_only() -> None:
    """What a call costs is added when calls are enriched, never where they are opened or shown."""
    for module in modules():
        if any(name.startswith("_usage.pricing") for name in imported_by(module)):
            assert room_of(module) in ALLOWED_PRICING, module


def test_every_room_has_a_floor() -> None:
    """A new room gets its place here before it is moved into, and the top level stays small."""
    assert {room_of(module) for module in modules()} == set(FLOOR_OF)
    assert len(FLOOR_OF) - 2 <= 16, "names on the top level, dunders apart"
    assert len(FLOORS) <= 9


def test_no_import_cycles() -> None:
    """Two files that import each other miss a third, lower one; imports for type checkers count as well."""
    ended: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in ended:
            for other in imported_by(name):
                follow(other, (*way, name))
            ended.add(name)

    for name in modules():
        follow(name, ())


def test_no_module_hands_itself_on() -> None:
    """A module passed as an argument is a cycle that the import graph does not show."""
    lookups = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and ast.unparse(node) == "sys.modules[__name__]":
                lookups.append(module)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.modules.get" and node.args:
                named = ast.unparse(node.args[0])
                if "toolweaver_monitor" in named or named == "__name__":
                    lookups.append(module)
    assert lookups == []


def test_private_rooms_begin_with_an_underscore() -> None:
    """The public import paths are these, and no other."""
    public = {name for name in modules() if not any(part.startswith("_") for part in name.split("."))}
    assert public - PUBLIC_PATHS == set()


def test_no_exported_name_is_also_a_module() -> None:
    """`from package import name` never gives a module where a function is meant, or the other way round."""
    for module, path in modules().items():
        if path.name != "__init__.py":
            continue
        inside = {child.stem for child in path.parent.iterdir() if child.suffix == ".py" or child.is_dir()}
        exported: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom | ast.Import):
                exported |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                exported.add(node.name)
        assert exported & inside == set(), module


def lines_of_code(path: Path) -> int:
    """The lines on which a token of code stands: no blank line, no comment, no docstring."""
    source = path.read_text()
    strings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            strings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - strings)


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_file_is_neither_too_long_nor_too_thin(module: str) -> None:
    """A file answers one question; one that is too short for that belongs to the file that uses it."""
    path = modules()[module]
    lines = lines_of_code(path)
    assert lines <= MAX_LINES
    if path.name not in ("__init__.py", "__main__.py"):
        assert (lines < MIN_LINES) == (str(path.relative_to(PACKAGE)) in SHORT), f"{lines} lines"


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


def functions_of(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is read like an attribute, whose docstring says what it is."""
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_names_of_classes_and_constants_are_used_once() -> None:
    """A name found by a search is the one meant. Loggers, type variables and names for type checkers are exempt."""
    where: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(module)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                is_type_variable = isinstance(node.value, ast.Call) and "TypeVar" in ast.unparse(node.value.func)
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and target.id.isupper() and not is_type_variable:
                        where.setdefault(target.id, []).append(module)
    assert {name: found for name, found in where.items() if len(found) > 1} == {}


@pytest.mark.parametrize("module", sorted(modules()))
def test_docstrings_say_what_it_is_and_what_it_does(module: str) -> None:
    """A module is a noun phrase or an imperative in one line; a function begins with a verb in the imperative."""
    tree = ast.parse(modules()[module].read_text())
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    assert summary.endswith("."), f"{module} says in one line what it is"
    assert "?" not in summary
    for function in functions_of(tree):
        opening = (ast.get_docstring(function) or "").split("\n")[0]
        if opening and not is_property(function):
            assert not NOT_VERBS.match(opening), f"{module}.{function.name}: {opening}"
            assert "? " not in f"{opening} ", f"{module}.{function.name}: {opening}"


def test_no_name_begins_with_a_past_participle() -> None:
    """A function is named for what it does: `check_limit`, not `checked_limit`."""
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert not node.name.lstrip("_").startswith(PARTICIPLES), f"{module}.{node.name}"


def test_a_workaround_names_interpreters_that_are_supported() -> None:
    """One for interpreters that are no longer supported can go; a test of the version says which it is for."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    oldest = version_of(project["requires-python"].removeprefix(">="))
    for module, path in modules().items():
        source = path.read_text()
        named = [version_of(found) for found in re.findall(r"CPython < ([\d.]+)", source)]
        assert all(version > oldest for version in named), f"{module}: a workaround for {named} can go"
        if "sys.version_info" in source:
            assert named, f"{module}: name the interpreters, as `CPython < 3.12`"


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)
