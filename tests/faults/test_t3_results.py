"""T3: a result may do anything when touched; it is never touched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolweaver_monitor import monitored, setup, shutdown, track

touched: list[str] = []

NAMES = (
    "get", "items", "keys", "usage", "model", "cost", "tokens_used", "__getitem__", "__len__", "__bool__", "__eq__",
    "__iter__", "__repr__", "__str__", "__getattr__", "__getattribute__", "__class__", "__await__", "__contains__",
    "__float__", "__index__", "__dict__", "__call__", "__format__", "__ne__", "__instancecheck__",
)  # fmt: skip
RAISED = (
    ValueError, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError, RecursionError, StopIteration,
    StopAsyncIteration, BaseException,
)  # fmt: skip
BASES = (object, dict, list, str, int, float, Exception)
MODULES = ("app", "openai.types", "anthropic.types", "google.genai.types", "litellm", "langchain_core", "mcp")
KEYS = (
    "usage",
    "cost",
    "tokens_used",
    "total_tokens",
    "input_tokens",
    "model",
    "provider",
    "cached",
    "metadata",
    "data",
)


def trap(name: str, manner: Any) -> Callable[..., Any]:
    """Return a method that must not be called, and that misbehaves if it is."""

    def spring(self: object, *_: object) -> Any:
        touched.append(name)
        if manner == "sleep":
            time.sleep(10)
        if manner == "recurse":
            return spring(self)
        raise manner

    return spring


@st.composite
def kinds(draw: st.DrawFn) -> type:
    """A class that answers any look at it with an exception, ten seconds of sleep or an endless recursion."""
    manner = draw(st.sampled_from((*RAISED, "sleep", "recurse")))
    traps: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)):
        is_field = not name.startswith("__") or name in ("__class__", "__dict__")
        traps[name] = property(trap(name, manner)) if is_field else trap(name, manner)
    if "__eq__" in traps:
        traps["__hash__"] = trap("__hash__", manner)
    return type("Hostile", (draw(st.sampled_from(BASES)),), {"__module__": draw(st.sampled_from(MODULES)), **traps})


@st.composite
def results(draw: st.DrawFn) -> object:
    """Such an object, or a plain dict or list that holds some in the place of usage."""
    made = draw(kinds())()
    shape = draw(st.sampled_from(("itself", "values", "values", "nested", "list", "class")))
    if shape == "values":
        return dict.fromkeys(draw(st.sets(st.sampled_from(KEYS), min_size=1)), made)
    if shape == "nested":
        return {draw(st.sampled_from(KEYS)): {draw(st.sampled_from(KEYS)): made}, "tokens_used": 3}
    return {"itself": made, "list": [made], "class": type(made)}[shape]


def by_def(result: object) -> object:
    return monitored("tool")(lambda: result)()


def by_async_def(result: object) -> object:
    @monitored("tool")
    async def tool() -> object:
        return result

    try:
        tool().send(None)
    except StopIteration as end:
        return end.value


def by_generator(result: object) -> object:
    @monitored("tool")
    def tool() -> Iterator[object]:
        yield result

    (found,) = tool()
    return found


def by_async_generator(result: object) -> object:
    @monitored("tool")
    async def tool() -> AsyncIterator[object]:
        yield result

    async def first() -> object:
        return [item async for item in tool()]

    try:
        first().send(None)
    except StopIteration as end:
        return end.value[0]


def by_record(result: object) -> object:
    with track("tool", tag=result) as call:
        call.record(tokens=result, cost=result, model=result, provider=result, more=result)  # type: ignore[arg-type]
        call.fail(result)  # type: ignore[arg-type]
    return result


WAYS = (by_def, by_async_def, by_generator, by_async_generator, by_record)


@pytest.fixture(scope="module", autouse=True, params=[False, True], ids=["plain", "capture"])
def monitor(request: pytest.FixtureRequest) -> Iterator[None]:
    setup(capture=request.param)
    yield
    shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left_set_up() -> None:
    """Override the fixture that ends each test's setup: here all share one."""


def check(result: object, way: Callable[[object], object]) -> None:
    touched.clear()
    assert way(result) is result
    assert touched == []


@given(result=results(), way=st.sampled_from(WAYS))
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_t3_a_result_comes_back_as_it_was_and_untouched(result: object, way: Callable[[object], object]) -> None:
    """The object returned is identical, nothing is raised, and no line of the result's code runs.

    Also with `capture=True`, and for values given to `record()`, `fail()` and tags. Mutations that turned it red:
    `result == 1` in `hot_path.finish`, in `wrap_function` and in `wrap_coroutine`; `isinstance(value, str)` in
    `sanitize.plain_text`; `getattr(thing, "usage", None)` in `_usage.fields.read_fields`.
    """
    check(result, way)


@pytest.mark.slow
@given(result=results(), way=st.sampled_from(WAYS))
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_t3_10_000_results(result: object, way: Callable[[object], object]) -> None:
    """As above, 10,000 times.

    Seen red as `test_t3_a_result_comes_back_as_it_was_and_untouched`, whose check it shares.
    """
    check(result, way)


@given(kind=kinds())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_t3_an_extractor_is_the_only_one_to_touch_a_result_and_does_so_once(kind: type) -> None:
    """With `cost=` or `usage=` there is one call into the user's code for each result, the extractor's.

    Mutation that turned it red: `call_extractor` calling the function twice.
    """
    results: list[object] = []
    result = kind()
    touched.clear()
    tool = monitored("tool", cost=lambda found: results.append(found) or 0.1, usage=False)(lambda: result)
    assert tool() is result
    assert len(results) == 1
    assert results[0] is result
    assert touched == []
