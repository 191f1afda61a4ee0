"""T6: deep stacks, generators left to the garbage collector, contexts closed elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from toolweaver_monitor import Monitor, current_call, monitored, setup, track
from toolweaver_monitor._core.context import NOOP_CALL
from toolweaver_monitor._core.sanitize import Diagnostics


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup() as found:
        yield found


def at_depth(left: int, function: Callable[[], object]) -> object:
    """Call it with so many frames left below the interpreter's limit."""
    depth = 0
    frame: object = sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back  # type: ignore[attr-defined]

    def deeper(levels: int) -> object:
        return function() if levels <= 0 else deeper(levels - 1)

    return deeper(sys.getrecursionlimit() - depth - left)


@pytest.mark.parametrize("left", [50, 30, 20, 15, 12, 10, 8, 6, 5, 4, 3])
def test_t6_at_the_recursion_limit_a_tool_runs_or_fails_as_its_own(left: int, monitor: Monitor) -> None:
    """At the limit less 50 all is as ever; nearer to it the caller sees its own result or Python's RecursionError.

    Whichever, each call that was opened is one record, and nothing stays open. Mutation that turned it red: a step of
    twenty frames in a wrapper, between the listing of the call and its `try`.
    """

    @monitored("deep")
    def deep() -> str:
        return "bottom"

    deep()
    mishaps = Diagnostics.internal_errors
    before = monitor.summary()["count"]
    try:
        result = at_depth(left, deep)
    except RecursionError:
        assert left < 50
    else:
        assert result == "bottom"
        assert monitor.summary()["count"] == before + 1
    assert monitor.active() == []
    assert current_call() is NOOP_CALL
    assert Diagnostics.internal_errors == mishaps


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_t6_a_recursive_tool_goes_at_least_half_as_deep(fails: bool, monitor: Monitor) -> None:
    """Watching adds one frame a call: a tool that calls itself gets half as deep as bare, and each level is a record.

    Mutation that turned it red: a second frame a call in `wrap_function`.
    """

    def bare(level: int) -> int:
        return level if level == 0 else bare(level - 1)

    @monitored("recursive")
    def recursive(level: int) -> int:
        if level == 0:
            if fails:
                raise ValueError("at the bottom")
            return 0
        return recursive(level - 1)

    room = sys.getrecursionlimit() // 2 - 120  # pytest's own frames are some 50
    bare(room)
    if fails:
        with pytest.raises(ValueError, match="at the bottom"):
            recursive(room)
    else:
        recursive(room)
    assert monitor.summary()["count"] == room + 1
    assert monitor.active() == []


def test_t6_a_generator_dropped_anywhere_is_one_record(monitor: Monitor) -> None:
    """Collected in this thread, in another one, in another context, or in the middle of another call.

    Mutation that turned it red: GeneratorExit taken for a failure in `outcomes.outcome_of`.
    """

    @monitored("stream")
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    def dropped_by(collect: Callable[[Callable[[], None]], None]) -> None:
        held = [stream()]
        next(held[0])
        collect(held.clear)
        gc.collect()

    def in_a_thread(drop: Callable[[], None]) -> None:
        thread = threading.Thread(target=drop)
        thread.start()
        thread.join(5)

    def in_a_call(drop: Callable[[], None]) -> None:
        with track("around"):
            drop()
            assert current_call().tool_name == "around"

    dropped_by(lambda drop: drop())
    dropped_by(in_a_thread)
    dropped_by(lambda drop: contextvars.copy_context().run(drop))
    dropped_by(in_a_call)
    assert monitor.metrics.by_operation()["stream"]["count"] == 4
    assert {o["outcome"] for o in monitor.metrics.operations if o["operation"] == "stream"} == {"abandoned"}
    assert current_call() is NOOP_CALL


def test_t6_what_is_closed_in_another_task_or_thread_is_one_record(monitor: Monitor) -> None:
    """A block, a generator and an async generator opened in one task and ended in another; no ValueError anywhere.

    Mutation that turned it red: the ValueError of `ContextVar.reset` not caught in `hot_path.restore`.
    """

    @monitored("stream")
    async def stream() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def leave(block: AbstractAsyncContextManager[object]) -> None:
        await block.__aexit__(None, None, None)

    async def elsewhere() -> None:
        block = track("block")
        block.__enter__()
        await asyncio.create_task(leave(block))
        items = stream()
        await anext(items)
        await asyncio.create_task(items.aclose())  # type: ignore[attr-defined]
        left = stream()
        await asyncio.create_task(anext(left))  # type: ignore[arg-type]
        assert [item async for item in left] == [2]

    asyncio.run(elsewhere())
    raised: list[BaseException] = []

    def opened_here_closed_there(error: BaseException | None) -> None:
        threaded = track("block")
        threaded.__enter__().record(tokens=1)

        def leave() -> None:
            try:
                threaded.__exit__(error and type(error), error, None)
            except BaseException as own:  # noqa: BLE001 - there is to be none
                raised.append(own)

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join(5)
        assert current_call().outcome != "open"

    for error in (None, ValueError("in the block")):
        # In a context of its own: the block stays the innermost there, since it was never closed there.
        contextvars.copy_context().run(opened_here_closed_there, error)
    assert raised == []
    found = {name: figures["count"] for name, figures in monitor.metrics.by_operation().items()}
    assert found == {"block": 3, "stream": 2}
    assert monitor.active() == []
    assert current_call() is NOOP_CALL


def test_t6_an_async_generator_left_to_the_loop_is_one_record(monitor: Monitor) -> None:
    """`break` out of `async for`: the loop closes the generator, in a task of its own; `aclose()`: it does so at once.

    Mutation that turned it red: GeneratorExit raised on by `wrap_async_generator` without throwing it into the body.
    """
    ended: list[str] = []

    @monitored("stream")
    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("finally")

    async def main() -> None:
        async for _ in stream():
            break
        gc.collect()
        while not ended:  # noqa: ASYNC110 - the loop's own task
            await asyncio.sleep(0)
        items = stream()
        await anext(items)
        await items.aclose()  # type: ignore[attr-defined]
        assert ended == ["finally", "finally"]

    asyncio.run(asyncio.wait_for(main(), 5))
    assert [operation["outcome"] for operation in monitor.metrics.operations] == ["abandoned", "abandoned"]
