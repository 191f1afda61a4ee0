"""An orchestrator is monitored from outside, and restored exactly."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import Usage, instrument, monitored, track, uninstrument
from toolweaver_monitor.errors import ConfigurationError


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
    """Inherits some, and overrides some."""

    @classmethod
    def run_tool(cls, tool: Any) -> Any:
        return super().run_tool(tool)

    async def call_tool(self, name: str, arguments: Any = None) -> Any:
        return await Orchestrator.call_tool(self, name)

    def execute_tool(self, tool_name: str, arguments: Any = None) -> Any:
        return super().execute_tool(tool_name.lower(), arguments)


@pytest.fixture(autouse=True)
def classes_are_as_they_were() -> Iterator[None]:
    """Check after each test that every attribute is the same object as before it."""
    before = {kind: dict(vars(kind)) for kind in (Orchestrator, Careful)}
    yield
    for target in before:
        uninstrument(target)
    for kind, attributes in before.items():
        assert vars(kind).keys() - attributes.keys() <= {"__slotnames__"}  # pickle's
        assert all(vars(kind)[name] is value for name, value in attributes.items())


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


def test_a_watched_method_looks_like_the_method() -> None:
    """Bound to its object, with its signature, name, doc and kind; seen from the class it is the original itself."""
    plain, orchestrator = Orchestrator(), instrument(Orchestrator())
    for name in ("execute_tool", "call_tool", "run_tool", "invoke_tool"):
        method, original = getattr(orchestrator, name), getattr(plain, name)
        assert type(method) is type(original)
        assert inspect.signature(method) == inspect.signature(original)
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(original)
        assert (method.__name__, method.__qualname__) == (original.__name__, original.__qualname__)
    assert orchestrator.execute_tool.__self__ is orchestrator
    assert Orchestrator.execute_tool is Orchestrator.execute_tool.__get__(None, Orchestrator)
    assert pickle.loads(pickle.dumps(orchestrator.execute_tool)).__name__ == "execute_tool"
    uninstrument(orchestrator)


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
    """However often it is requested, a call is one call; each `uninstrument` withdraws only its own request."""
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
    Careful().run_tool("by class")
    Orchestrator().execute_tool("base")
    assert names() == ["ocr", "by class", "base"]
    Careful().execute_tool("OCR")
    assert names() == ["ocr", "OCR"]
    asyncio.run(Careful().call_tool("by the name of the class"))
    assert names() == ["by the name of the class"]
    assert inspect.iscoroutinefunction(Orchestrator.call_tool)
    uninstrument(order[0])
    order[1]().execute_tool("still")
    assert names() == ["still"]


def test_a_call_by_super_is_the_same_call_for_its_own_object_only(names: Any) -> None:
    """Another object's call inside it counts, though its own override, which is not monitored, leads to `super()`, too.

    Seen red: with any override, or one that is patched for another object, taken for one that is patched for this one.
    """

    class Other(Orchestrator):
        def execute_tool(self, tool_name: str, arguments: Any = None) -> Any:
            return super().execute_tool(tool_name, arguments)

    class Delegating(Careful):
        def execute_tool(self, tool_name: str, arguments: Any = None) -> Any:
            return Other().execute_tool(tool_name), super().execute_tool(tool_name)

    for kind in (Orchestrator, Delegating):
        instrument(kind)
    Delegating().execute_tool("ocr")
    assert names() == ["ocr", "ocr"]  # of Other's base, and of Delegating
    uninstrument(Delegating)
    instrument(one := Delegating())
    one.execute_tool("ocr")
    assert names() == ["ocr", "ocr"]
    with track("ocr"):
        Delegating().execute_tool("ocr")
    assert names() == ["ocr", "ocr", "ocr"]  # both of the base, one for each object, and the block
    uninstrument(one)


class Answers:
    """One method of each kind, each of which reports a cost or fails."""

    def execute_tool(self, tool_name: str) -> Any:
        return {"cost": 0.5}

    async def call_tool(self, name: str) -> Any:
        return {"cost": 0.5}

    def run_tool(self, name: str) -> Any:
        yield {"cost": 0.5}

    async def use_tool(self, name: str) -> Any:
        yield {"cost": 0.5}

    def invoke_tool(self, name: str) -> Any:
        raise ValueError(name)


def overriding(*bases: Any) -> Any:
    """Return a class that overrides each method and passes the call on to `super()`."""

    class Overriding(*bases):  # type: ignore[misc]  # made of what it is given
        def execute_tool(self, tool_name: str) -> Any:
            return super().execute_tool(tool_name)

        async def call_tool(self, name: str) -> Any:
            return await super().call_tool(name)

        def run_tool(self, name: str) -> Any:
            yield from super().run_tool(name)

        async def use_tool(self, name: str) -> Any:
            async for each in super().use_tool(name):
                yield each

        def invoke_tool(self, name: str) -> Any:
            return super().invoke_tool(name)

    return Overriding


@pytest.mark.parametrize("order", [(0, 1, 2), (3, 2, 1, 0), (3, 1)])
async def test_a_call_that_super_hands_along_a_diamond_is_one(calls: Any, order: Any) -> None:
    """Of every kind of method, failing ones too; the cost that its result or item reports is read once.

    Seen red: with `is_super_call` always False; with the result of such a call read, or its items; with an override
    looked for in the bases of `owner` and not in those of the object's class.
    """
    base = type("Base", (Answers,), dict(vars(Answers)))
    left, right = overriding(base), overriding(base)
    kinds = (base, left, right, overriding(left, right))
    for each in order:
        instrument(kinds[each])
    thing = kinds[3]()
    thing.execute_tool("function")
    await thing.call_tool("coroutine")
    list(thing.run_tool("generator"))
    async for _ in thing.use_tool("async generator"):
        pass
    with pytest.raises(ValueError, match="failure"):
        thing.invoke_tool("failure")
    for each in order:
        uninstrument(kinds[each])
    assert [(call.tool_name, call.outcome, call.cost_usd, call.parent_id) for call in calls()] == [
        ("function", "success", 0.5, None),
        ("coroutine", "success", 0.5, None),
        ("generator", "success", 0.5, None),
        ("async generator", "success", 0.5, None),
        ("failure", "failure", None, None),
    ]


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


@pytest.mark.parametrize("outermost", [True, False])
def test_money_is_counted_once_however_the_tool_told_it_and_however_deep(calls: Any, outermost: bool) -> None:
    """Read by the tool's own `usage=`, and handed up through two that are monitored from outside."""

    @monitored("inner", usage=lambda result: Usage(cost=result["price"]))
    def tool() -> dict[str, float]:
        return {"price": 0.5, "cost": 0.5}

    class Runs:
        def run_agent(self, agent_name: str) -> Any:
            return self.execute_tool("middle")

        def execute_tool(self, tool_name: str) -> Any:
            return tool()

    runs = instrument(Runs())
    if outermost:
        runs.run_agent("outer")
    else:
        runs.execute_tool("middle")
    uninstrument(runs)
    costs = {call.tool_name: call.cost_usd for call in calls()}
    assert costs == {"inner": 0.5, "middle": None} | ({"outer": None} if outermost else {})


async def test_money_is_counted_once_across_tasks(calls: Any) -> None:
    """The tools run side by side in tasks of their own; each result is read once."""

    @monitored("inner")
    async def tool() -> dict[str, float]:
        await asyncio.sleep(0)
        return {"cost": 0.5}

    class Runs:
        async def call_tool(self, name: str) -> Any:
            both = await asyncio.gather(tool(), tool())
            return both[1]

    runs = instrument(Runs())
    await asyncio.gather(runs.call_tool("a"), runs.call_tool("b"))
    uninstrument(runs)
    found = calls()
    assert sum(call.cost_usd or 0 for call in found) == 2.0
    assert len(found) == 6


def test_a_watched_method_is_left_alone(names: Any) -> None:
    """What `@monitored` monitors already is counted by it alone."""

    class Mixed:
        @monitored("mine")
        def execute_tool(self, tool_name: str) -> str:
            return tool_name

    mixed = instrument(Mixed())
    mixed.execute_tool("ocr")
    assert names() == ["mine"]
    uninstrument(mixed)


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
