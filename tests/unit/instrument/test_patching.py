"""An orchestrator is watched from outside, and put back just as it was."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, flush, instrument, monitored, setup, uninstrument
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.instrument.places import places


class Orchestrator:
    """What users have: methods that run a tool by its name."""

    def execute_tool(self, tool_name: str, arguments: Any = None) -> Any:
        return {"ran": tool_name, "cost": 0.5}

    async def call_tool(self, name: str, arguments: Any = None) -> Any:
        return {"ran": name, "cost": 0.25}

    def execute_agent_step(self, step: Any) -> Any:
        return step

    @classmethod
    def run_tool(cls, tool: Any) -> Any:
        return cls

    @staticmethod
    def invoke_tool(tool: Any) -> Any:
        return tool

    def plan(self, goal: str) -> str:
        return goal


class Careful(Orchestrator):
    """Inherits all, and overrides one."""

    def execute_tool(self, tool_name: str, arguments: Any = None) -> Any:
        return super().execute_tool(tool_name.lower(), arguments)


@pytest.fixture(autouse=True)
def all_is_put_back() -> Iterator[None]:
    """Holds every test to its word: nothing stays watched, and every attribute is the object that it was."""
    before = {kind: dict(vars(kind)) for kind in (Orchestrator, Careful)}
    yield
    for target in (Orchestrator, Careful):
        uninstrument(target)
    for kind, attributes in before.items():
        assert dict(vars(kind)) == attributes
        assert all(vars(kind)[name] is value for name, value in attributes.items())
    assert not places


@pytest.fixture
def calls() -> Iterator[Callable[[], list[ToolCall]]]:
    """Gives the calls since it was last asked."""
    seen: list[ToolCall] = []
    setup(seen.append)

    def taken() -> list[ToolCall]:
        assert flush()
        found = seen.copy()
        seen.clear()
        return found

    yield taken
    assert not taken(), "a call that nobody asked about"


@pytest.fixture
def names(calls: Callable[[], list[ToolCall]]) -> Callable[[], list[str]]:
    """Gives the names of the calls since it was last asked."""
    return lambda: [call.tool_name for call in calls()]


async def test_each_call_is_named_after_the_tool_that_the_orchestrator_was_asked_to_run(names: Any) -> None:
    """By position or keyword, as text, in a step, on any kind of method, sync and async."""
    orchestrator = Orchestrator()
    assert instrument(orchestrator) is orchestrator
    assert orchestrator.execute_tool("ocr") == {"ran": "ocr", "cost": 0.5}
    assert orchestrator.execute_tool(tool_name="parse")["ran"] == "parse"
    assert (await orchestrator.call_tool("search"))["ran"] == "search"
    assert orchestrator.execute_agent_step({"tool": "plan", "args": {}})["tool"] == "plan"
    assert orchestrator.run_tool("by class") is Orchestrator
    assert orchestrator.invoke_tool("by static") == "by static"
    assert orchestrator.plan("not a tool") == "not a tool"
    assert names() == ["ocr", "parse", "search", "plan", "by class", "by static"]
    uninstrument(orchestrator)
    orchestrator.execute_tool("ocr")
    assert names() == []


def test_one_object_is_watched_and_its_class_and_siblings_are_not(names: Any) -> None:
    """Nothing is written into the object itself."""
    watched, other = Orchestrator(), Orchestrator()
    instrument(watched)
    other.execute_tool("not seen")
    watched.execute_tool("seen")
    assert vars(watched) == {}
    assert names() == ["seen"]
    uninstrument(watched)


def test_twice_is_once_in_any_mix_of_object_and_class(names: Any) -> None:
    """Whoever asks, and however often, a call is one call; and each takes back only what it asked for."""
    orchestrator = Orchestrator()
    for _ in range(2):
        instrument(orchestrator)
        instrument(Orchestrator)
    orchestrator.execute_tool("once")
    uninstrument(orchestrator)
    orchestrator.execute_tool("by class")
    uninstrument(Orchestrator)
    orchestrator.execute_tool("not seen")
    assert names() == ["once", "by class"]


@pytest.mark.parametrize("order", [(Orchestrator, Careful), (Careful, Orchestrator)])
def test_a_subclass_and_its_base_count_a_call_once(names: Any, order: Any) -> None:
    """`super().execute_tool(...)` inside an override is the same call; one of another tool is another call."""
    for kind in order:
        instrument(kind)
    Careful().execute_tool("ocr")
    Careful().run_tool("inherited")
    Orchestrator().execute_tool("base")
    assert names() == ["ocr", "inherited", "base"]
    Careful().execute_tool("OCR")
    assert names() == ["ocr", "OCR"]
    uninstrument(order[0])
    order[1]().execute_tool("still")
    assert names() == ["still"]


async def test_money_is_counted_once_with_a_watched_tool_inside(calls: Any) -> None:
    """The orchestrator returns the tool's own result, which is read once; both calls are seen, one inside the other."""

    @monitored("inner")
    def tool() -> dict[str, float]:
        return {"cost": 0.5}

    @monitored("inner_async")
    async def async_tool() -> dict[str, float]:
        return {"cost": 0.25}

    class Runs:
        def execute_tool(self, tool_name: str) -> Any:
            return tool()

        async def call_tool(self, name: str) -> Any:
            return await async_tool()

        def run_tool(self, name: str) -> Any:
            return async_tool()  # a coroutine that is awaited outside

    runs = instrument(Runs())
    runs.execute_tool("outer")
    await runs.call_tool("outer_async")
    await runs.run_tool("outer_deferred")
    uninstrument(runs)
    costs = [(call.tool_name, call.cost_usd, call.parent_id is not None) for call in calls()]
    assert costs == [
        ("inner", 0.5, True),
        ("outer", None, False),
        ("inner_async", 0.25, True),
        ("outer_async", None, False),
        ("inner_async", 0.25, True),
        ("outer_deferred", None, False),
    ]


def test_a_watched_method_is_left_alone(names: Any) -> None:
    """What `@monitored` watches already is counted by it, and by nobody else."""

    class Mixed:
        @monitored("mine")
        def execute_tool(self, tool_name: str) -> str:
            return tool_name

    mixed = instrument(Mixed())
    mixed.execute_tool("ocr")
    assert names() == ["mine"]
    uninstrument(mixed)


def test_a_module_is_watched_with_all_that_is_public_and_defined_in_it(names: Any) -> None:
    """Functions and methods of every kind; no re-export, no property, nothing with an underscore, no class itself."""
    module = types.ModuleType("made_up")
    source = """
from json import dumps
from functools import lru_cache
def plain(): return 1
again = plain
def gives():
    yield 1
async def waits(): return 1
@lru_cache
def kept(x): return x
def _hidden(): return 1
class Kind:
    def method(self): return 1
    @classmethod
    def of(cls): return cls()
    @staticmethod
    def static(): return 1
    @property
    def value(self): return 1
    def _own(self): return 1
    class Inner:
        def deep(self): return 1
"""
    exec(source, vars(module))
    kind: Any = vars(module)["Kind"]
    before, before_in_kind = dict(vars(module)), dict(vars(kind))
    assert instrument(module) is module
    assert module.again is module.plain
    assert (module.Kind, module.dumps) == (before["Kind"], before["dumps"])
    module.plain()
    list(module.gives())
    module.kept(1)
    module._hidden()
    module.dumps(1)
    thing = module.Kind.of()
    thing.method()
    thing.static()
    assert thing.value == thing._own() == 1
    module.Kind.Inner().deep()
    assert names() == ["plain", "gives", "kept", "Kind.of", "Kind.method", "Kind.static", "Kind.Inner.deep"]
    uninstrument(module)
    assert all(vars(module)[name] is value for name, value in before.items())
    assert all(vars(kind)[name] is value for name, value in before_in_kind.items())


def test_a_dotted_name_is_patched_when_it_is_imported(names: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Whoever imports it gets it watched; what is undone before the import is never patched."""
    (tmp_path / "later_on.py").write_text(
        "class Runner:\n    def go(self, tool_name): return 1\ndef f(): return 2\ndef g(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("later_on:Runner.go", "later_on:f", "later_on:g"):
        assert instrument(name) == name
    uninstrument("later_on:g")
    assert "later_on" not in sys.modules
    from later_on import Runner, f, g  # type: ignore[import-not-found]

    Runner().go("ocr")
    f()
    g()
    assert names() == ["ocr", "f"]
    for name in ("later_on:Runner.go", "later_on:f", "later_on:g"):
        uninstrument(name)
    Runner().go("ocr")
    sys.modules.pop("later_on").f()
    assert names() == []


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        (Orchestrator(), {"methods": ["execute_tol"]}, "did you mean execute_tool"),
        (Orchestrator(), {"methods": "execute_tool"}, r"methods=\['execute_tool'\]"),
        (Orchestrator(), {"tool_name": ""}, "is empty"),
        (object(), {}, "name its own with methods="),
        (None, {}, "give it an orchestrator"),
        (Orchestrator().plan, {}, r"instrument\(obj, methods=\['plan'\]\)"),
        (len, {}, "decorate it with @monitored"),
        ("no name", {}, "write 'package.module'"),
        ("json.decoder.JSONDecoder", {}, "'json.decoder:JSONDecoder'"),
        ("json:dump_s", {}, "did you mean dumps or dump"),
        (dict, {"methods": ["get"]}, "subclass it in Python"),
    ],
)
def test_misuse_is_told_at_once_and_with_its_cure(target: Any, options: Any, said: str) -> None:
    """Nothing is patched, and the message lists what could be meant."""
    with pytest.raises(ConfigurationError, match=said):
        instrument(target, **options)
