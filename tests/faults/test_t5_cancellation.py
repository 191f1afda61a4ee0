"""T5: cancellation at any await of a task, with the same effects as without monitoring."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Monitor, current_call, monitored, setup, track
from toolweaver_monitor._core.context import NOOP_CALL

Watch = Callable[[str], Callable[[Any], Any]]


class Seen:
    """What a program saw of its cancellation."""

    def __init__(self) -> None:
        self.opened = 0
        self.inside: list[BaseException] = []
        self.outside: list[BaseException] = []
        self.told: list[object] = []

    def cancelled(self, error: BaseException) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.told.append((type(error).__name__, error.args, task.cancelling()))


class Resource:
    """Opens and closes with awaits of its own."""

    async def __aenter__(self) -> Resource:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)


Program = Callable[[Watch, Seen], Awaitable[None]]


def a_tool(watch: Watch, seen: Seen, name: str = "tool", inner: Callable[[], Awaitable[object]] | None = None) -> Any:
    """A tool with awaits in its body, in a resource's enter and exit, and in its clean-up."""

    async def tool() -> str:
        seen.opened += 1
        try:
            return await body()
        except BaseException as error:
            seen.inside.append(error)
            raise

    async def body() -> str:
        try:
            await asyncio.sleep(0)
            async with Resource():
                await asyncio.sleep(0)
                if inner is not None:
                    await inner()
        except asyncio.CancelledError as error:
            seen.cancelled(error)
            await asyncio.sleep(0)
            raise
        finally:
            await asyncio.sleep(0)
        return name

    return watch(name)(tool)


async def one(watch: Watch, seen: Seen) -> None:
    await a_tool(watch, seen)()


async def nested(watch: Watch, seen: Seen) -> None:
    await a_tool(watch, seen, "outer", a_tool(watch, seen, "middle", a_tool(watch, seen, "inner")))()


async def under_a_timeout(watch: Watch, seen: Seen) -> None:
    async with asyncio.timeout(60):
        await a_tool(watch, seen)()


async def timed_out(watch: Watch, seen: Seen) -> None:
    async with asyncio.timeout(0):
        await a_tool(watch, seen)()


async def in_a_task_group(watch: Watch, seen: Seen) -> None:
    async with asyncio.TaskGroup() as group:
        for name in ("a", "b", "c"):
            group.create_task(a_tool(watch, seen, name)())
        await asyncio.sleep(0)


async def shielded(watch: Watch, seen: Seen) -> None:
    inner = asyncio.ensure_future(a_tool(watch, seen)())
    try:
        await asyncio.shield(inner)
    finally:
        while not inner.done():  # noqa: ASYNC110 - step by step
            await asyncio.sleep(0)


async def as_a_block(watch: Watch, seen: Seen) -> None:
    async with track("tool") if watch is monitored else Resource():
        seen.opened += 1
        await asyncio.sleep(0)
        async with Resource():
            await asyncio.sleep(0)


async def streamed(watch: Watch, seen: Seen) -> None:
    @watch("tool")
    async def stream() -> AsyncIterator[int]:
        seen.opened += 1
        try:
            for number in range(3):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)

    items = stream()
    try:
        async for _ in items:
            await asyncio.sleep(0)
    finally:
        await items.aclose()


async def promised(watch: Watch, seen: Seen) -> None:
    tool = a_tool(lambda _: lambda function: function, seen)
    await watch("tool")(lambda: tool())()  # noqa: PLW0108 - a plain function that returns a coroutine


async def caught_and_gone_on(watch: Watch, seen: Seen) -> None:
    """A tool that catches its cancellation, takes it back and goes on."""

    @watch("tool")
    async def tool() -> None:
        seen.opened += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            seen.cancelled(error)
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        await asyncio.sleep(0)

    await tool()


PROGRAMS: tuple[Program, ...] = (
    one, nested, under_a_timeout, timed_out, in_a_task_group, shielded, as_a_block, streamed, promised,
    caught_and_gone_on,
)  # fmt: skip
MOST_AWAITS = 60


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup() as found:
        yield found


def unwatched(_: str) -> Callable[[Any], Any]:
    return lambda function: function


def run(program: Program, watch: Watch, step: int, twice: bool) -> tuple[Seen, bool]:
    """Run it, cancel it at its await number `step`, perhaps again two awaits later; whether it had ended before."""
    seen = Seen()
    stray: list[object] = []

    async def whole() -> None:
        try:
            await program(watch, seen)
        except BaseException as error:
            seen.outside.append(error)
            seen.cancelled(error)
            raise
        finally:
            assert current_call() is NOOP_CALL

    async def main() -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
        task = asyncio.create_task(whole())
        for _ in range(step):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel("first")
        if twice:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("second")
        (result,) = await asyncio.gather(task, return_exceptions=True)
        seen.told.append((type(result), task.cancelled(), task.cancelling()))
        return ended

    ended = asyncio.run(main())
    gc.collect(1)
    assert stray == []
    return seen, ended


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_t5_a_task_cancelled_at_any_await_ends_as_without_us(program: Program, twice: bool, monitor: Monitor) -> None:
    """At every await: the same CancelledError object, the same `cancelling()`, the context restored, 1 record each.

    Bodies, `__aenter__` and `__aexit__`, clean-up; under `timeout()`, `TaskGroup` and `shield`; cancelled once, and
    again during the clean-up. Warnings are errors, so no task's exception goes unretrieved. Mutations that turned it
    red: `raise asyncio.CancelledError()` for `raise` in `wrap_coroutine`; no `restore` in `finish_with_error`; the call
    of an async generator published at its first step; an `await asyncio.sleep(0)` before the body.
    """
    for step in range(MOST_AWAITS):
        bare, bare_ended = run(program, unwatched, step, twice)
        before = monitor.summary()["count"]
        seen, ended = run(program, monitored, step, twice)
        assert monitor.active() == []
        assert monitor.summary()["count"] - before == seen.opened, step
        if program is not as_a_block:
            assert (seen.told, ended) == (bare.told, bare_ended), step
        if program in (one, nested, promised, under_a_timeout) and seen.outside and seen.inside:
            assert seen.outside[-1] is seen.inside[-1], step
            assert monitor.metrics.operations[-1]["outcome"] == "cancelled"
        if program is streamed and seen.outside and seen.opened:
            assert monitor.metrics.operations[-1]["outcome"] in ("cancelled", "abandoned"), step
        if bare_ended and ended:
            break
    else:
        raise AssertionError("the program has more awaits than were tried")
    assert step > 3


def test_t5_a_cancelled_monitor_is_still_whole(monitor: Monitor) -> None:
    """`aflush()` cancelled while it waits leaves the monitor usable.

    Mutation that turned it red: `aflush` shutting the monitor down when it is cancelled.
    """

    async def main(monitor: Monitor) -> None:
        task = asyncio.create_task(monitor.aflush(5.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with track("after"):
            pass

    asyncio.run(main(monitor))
    assert monitor.summary()["count"] == 1
    assert monitor.flush()
