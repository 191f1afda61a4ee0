"""T1: whatever a tool raises reaches its caller as it was raised, and is one record."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from types import TracebackType
from typing import Any

import hostile
import pytest

from toolweaver_monitor import Monitor, monitored, setup, track

traceback_of = BaseException.__dict__["__traceback__"].__get__
TOLD = ("args", "__cause__", "__context__", "__suppress_context__")


SLEEPS = "str sleeps"
BY_STR = {"str", "repr of an argument"}
"""What of theirs `str()` runs."""


@pytest.fixture
def monitor(request: pytest.FixtureRequest) -> Iterator[Monitor]:
    with setup(error_text=getattr(request, "param", "str")) as found:
        yield found


def fails(error: BaseException) -> None:
    """Raise it while another is being handled, so that it has a context."""
    try:
        raise LookupError("earlier")  # noqa: TRY301 - the context of the other
    except LookupError:
        raise error  # noqa: B904 - its cause is part of the test


def plain(error: BaseException) -> None:
    fails(error)


async def coroutine(error: BaseException) -> None:
    fails(error)


def generator(error: BaseException) -> Iterator[int]:
    yield 1
    fails(error)


async def async_generator(error: BaseException) -> AsyncIterator[int]:
    yield 1
    fails(error)


def driven(coroutine: Any) -> Any:
    """Run a coroutine that never waits, without a loop that has opinions of its own on what it raises."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def call(function: Callable[..., Any], error: BaseException) -> None:
    function(error)


def await_(function: Callable[..., Any], error: BaseException) -> None:
    driven(function(error))


def exhaust(function: Callable[..., Any], error: BaseException) -> None:
    stream = function(error)
    assert next(stream) == 1
    next(stream)


def exhaust_async(function: Callable[..., Any], error: BaseException) -> None:
    stream = function(error)
    assert driven(stream.__anext__()) == 1
    driven(stream.__anext__())


def block(function: Callable[..., Any], error: BaseException) -> None:
    with nullcontext() if function is plain else track("tool"):
        fails(error)


async def _async_block(function: Callable[..., Any], error: BaseException) -> None:
    async with nullcontext() if function is coroutine else track("tool"):
        fails(error)


def async_block(function: Callable[..., Any], error: BaseException) -> None:
    driven(_async_block(function, error))


WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sync": (call, plain),
    "async": (await_, coroutine),
    "generator": (exhaust, generator),
    "async generator": (exhaust_async, async_generator),
    "with": (block, plain),
    "async with": (async_block, coroutine),
}
"""How to run a function that raises, and the function; for a block only whether it is monitored says which block."""


def caught(run: Callable[[], object]) -> BaseException:
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - whatever comes
        return error
    raise AssertionError("nothing was raised")


def said_by(error: BaseException) -> dict[str, Any]:
    """What it carries, read past whatever it does to keep us from it."""
    told = {name: BaseException.__dict__[name].__get__(error) for name in TOLD}
    own = BaseException.__dict__["__dict__"].__get__(error)
    return told | {"notes": own.get("__notes__"), "own": sorted(own)}


def frames_of(error: BaseException) -> list[tuple[str, int]]:
    """Where it came from, innermost last, as functions and lines; only those of this file."""
    found: list[tuple[str, int]] = []
    traceback: TracebackType | None = traceback_of(error)
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == __file__:
            found.append((traceback.tb_frame.f_code.co_name, traceback.tb_lineno))
        traceback = traceback.tb_next
    return found


@pytest.mark.parametrize("inside", [False, True], ids=["outermost", "inside"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "monitor"),
    [(kind, source) for kind in hostile.EXCEPTIONS for source in ("str", "args") if (kind, source) != (SLEEPS, "str")],
    indirect=["monitor"],
)
def test_t1_an_exception_reaches_its_caller_as_it_was_raised(
    kind: str, way: str, inside: bool, monitor: Monitor, request: pytest.FixtureRequest
) -> None:
    """Identity, traceback, cause, context, notes and arguments are as without us, and there is exactly 1 record.

    38 kinds x 6 ways, as the outermost call and, which is driven by other lines, inside one. Only `str()` of them is
    run, and no code of theirs with `setup(error_text="args")`. The `__str__` that sleeps for 10 seconds is tried with
    that setting alone: nothing can bound it, so without the setting it delays its own call.
    Where Python itself replaces an exception (StopIteration in a generator) the bare function is the measure. Mutations
    that turned it red: `"str"` for `bus.policy.error_text` in `note_error`; `Exception` for `BaseException` in
    `error_text`; `raise error from None` at each of the two ends of `wrap_function`, and of `wrap_coroutine`; no
    `finish_with_error` in `wrap_generator`.
    """
    drive, function = WAYS[way]
    source = request.node.callspec.params["monitor"]
    bare_raised = hostile.EXCEPTIONS[kind]()
    hostile.touched.clear()
    bare = caught(lambda: drive(function, bare_raised))
    by_python = set(hostile.touched)  # CPython asks a metaclass as it raises
    raised = hostile.EXCEPTIONS[kind]()
    before = said_by(raised)
    hostile.touched.clear()

    with track("around") if inside else nullcontext():
        watched = caught(lambda: drive(monitored("tool")(function), raised))

    assert set(hostile.touched) <= by_python | (BY_STR if source == "str" else set())
    assert (watched is raised) == (bare is bare_raised)
    assert type.__dict__["__name__"].__get__(type(watched)) == type.__dict__["__name__"].__get__(type(bare))
    assert frames_of(watched)[-1] == frames_of(bare)[-1]
    if watched is raised:
        after = said_by(watched)
        assert type(after.pop("__context__")) is LookupError
        before.pop("__context__")
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] or after[name] == before[name] for name in after)
    summary = monitor.metrics.by_operation()["tool"]
    assert summary["count"] == 1
    assert summary["successes"] == 0
    record = next(each for each in monitor.metrics.operations if each["operation"] == "tool")
    assert len(record["error"]) <= 256
    assert record["error"].isprintable() or "\n" in record["error"]


def test_t1_there_are_enough_kinds() -> None:
    """The contract asks for 20 kinds of exception in 6 ways.

    Seen red: with every second of the kinds left out; with one of the ways left out.
    """
    assert len(hostile.EXCEPTIONS) >= 20
    assert len(WAYS) == 6
    assert all(inspect.isfunction(function) for _, function in WAYS.values())


def test_t1_passing_through_nested_monitors_is_one_record_for_each(monitor: Monitor) -> None:
    """The same exception, caught and raised again on its way, adds nothing.

    Mutation that turned it red: `finish_with_error` appending the call to the inbox again.
    """
    raised = ValueError("once")

    @monitored("inner")
    def inner() -> None:
        try:
            raise raised
        except ValueError:  # noqa: TRY203 - as people write it
            raise

    @monitored("outer")
    def outer() -> None:
        try:
            inner()
        except ValueError as error:  # noqa: TRY203
            raise error  # noqa: TRY201

    assert caught(outer) is raised
    assert {name: found["count"] for name, found in monitor.metrics.by_operation().items()} == {"inner": 1, "outer": 1}
