"""Async generators: the whole protocol is kept, in the caller's own task."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import types
import weakref

import pytest


async def test_asend(watched):
    """`asend()` reaches the body, and the body's next item comes back."""

    @watched("tool")
    async def echo():
        received = yield "ready"
        while True:
            received = yield received * 2

    running = echo()
    assert await anext(running) == "ready"
    assert [await running.asend(2), await running.asend("ab")] == [4, "abab"]
    await running.aclose()


async def test_athrow(watched):
    """`athrow()` raises inside the body, which may handle it and continue."""

    @watched("tool")
    async def brave():
        try:
            yield 1
        except KeyError as error:
            yield repr(error)

    running = brave()
    await anext(running)
    assert await running.athrow(KeyError("x")) == "KeyError('x')"
    await running.aclose()


async def test_aclose(watched):
    """`aclose()` runs the body's `finally`, awaits and all, before it returns."""
    ran = []

    @watched("tool")
    async def careful():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ran.append(True)

    running = careful()
    await anext(running)
    await running.aclose()
    assert ran == [True]


async def test_aclose_after_a_return(watched):
    """`aclose()` treats a body that handles it as Python does."""

    @watched("tool")
    async def stubborn():
        with contextlib.suppress(GeneratorExit):
            yield 1

    @watched("deaf")
    async def deaf():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    running = stubborn()
    await anext(running)
    assert await running.aclose() is None
    running = deaf()
    await anext(running)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await running.aclose()


async def test_athrow_generator_exit(watched):
    """`athrow(GeneratorExit)` reaches the body as the same exception, and the body's next item comes back."""
    raised = []

    @watched("tool")
    async def stubborn():
        try:
            yield 1
        except GeneratorExit as error:
            raised.append(error)
            yield 2

    running, exit_ = stubborn(), GeneratorExit()
    await anext(running)
    assert await running.athrow(exit_) == 2
    assert raised == [exit_]
    await running.aclose()


def test_kind(watched):
    """It stays an async generator function, and returns an async generator with the function's name."""

    @watched("tool")
    async def tool():
        yield 1

    assert inspect.isasyncgenfunction(tool)
    running = tool()
    assert type(running) is types.AsyncGeneratorType
    assert running.__name__ == "tool"


async def test_timed_in_full(watched, the_call, stopwatch):
    """It is timed from its first step to its end, not only its creation."""

    @watched("tool")
    async def slow():
        for item in range(3):
            stopwatch.spend()
            yield item

    assert [item async for item in slow()] == [0, 1, 2]
    assert the_call().outcome in ("success", None)
    stopwatch.assert_covers(the_call().duration_s)


async def test_time_to_first_item(watched, the_call, stopwatch):
    """The time to the first item is recorded apart from the whole."""

    @watched("tool")
    async def slow():
        stopwatch.spend()
        yield 1
        after.spend()

    after = type(stopwatch)()
    assert [item async for item in slow()] == [1]
    assert sum(stopwatch.spans) - 1e-6 <= the_call().first_item_s <= the_call().duration_s - sum(after.spans) + 1e-6


async def test_items_are_counted(watched, the_call):
    """Its items are counted."""

    @watched("tool")
    async def tool():
        for letter in "abc":
            yield letter

    assert [letter async for letter in tool()] == ["a", "b", "c"]
    assert the_call().items == 3


async def test_raising(watched, the_call):
    """An exception of the body propagates as the same object, and the call is a failure."""
    error = LookupError("no such page")

    @watched("tool")
    async def tool():
        yield 1
        raise error

    running = tool()
    await anext(running)
    with pytest.raises(LookupError) as caught:
        await anext(running)
    assert caught.value is error
    assert the_call().outcome == "failure"


async def test_dropped_early(watched, the_call):
    """A generator that its consumer drops is ended by the event loop, which runs its `finally`, and recorded."""
    ended = asyncio.Event()

    @watched("tool")
    async def endless():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.set()

    async for _ in endless():
        break
    gc.collect()
    await asyncio.wait_for(ended.wait(), 5)
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    assert the_call().name == "tool"


async def test_abandoned(watched, the_call):
    """A generator that is closed before its end is recorded as abandoned."""

    @watched("tool")
    async def endless():
        while True:
            yield 1

    running = endless()
    await anext(running)
    await running.aclose()
    assert the_call().outcome == "abandoned"


def test_left_to_the_loop(watched, peer, caplog):
    """A generator that is still open when the loop ends is closed by the loop, awaits and all, without a warning."""
    ended = []

    @watched("tool")
    async def endless():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main():
        kept.extend(endless() for _ in range(9))
        for running in kept:
            await anext(running)

    kept = []
    asyncio.run(main())
    assert ended == [True] * 9
    assert not caplog.records
    assert len(peer.seen()) == 9


async def test_closed_in_another_task(watched, the_call):
    """It may be closed in another task than the one it was started in."""
    ended = []

    @watched("tool")
    async def tool():
        try:
            yield 1
        finally:
            ended.append(asyncio.current_task())

    running = tool()
    await anext(running)
    closing = asyncio.create_task(running.aclose())
    await closing
    assert ended == [closing]
    assert the_call().name == "tool"


async def test_stepped_in_many_tasks(watched, the_call):
    """It may be stepped in another task and context each time."""

    @watched("tool")
    async def tool():
        for item in range(5):
            await asyncio.sleep(0)
            yield item

    running = tool()
    items = [await asyncio.create_task(anext(running), context=contextvars.Context()) for _ in range(5)]
    assert items == [0, 1, 2, 3, 4]
    assert [item async for item in running] == []
    assert the_call().outcome in ("success", None)


async def test_steps_run_in_the_callers_task(watched):
    """Each step runs in the task that requested it."""

    @watched("tool")
    async def tool():
        while True:
            yield asyncio.current_task()

    running = tool()
    assert await anext(running) is asyncio.current_task()
    other = asyncio.create_task(anext(running))
    assert await other is other
    await running.aclose()


async def test_timeout_in_the_body(watched, the_call):
    """`asyncio.timeout` around the body's items ends one that hangs, and the call is a timeout."""

    @watched("tool")
    async def tool():
        async with asyncio.timeout(0.02):
            yield 1
            await asyncio.Event().wait()

    running = tool()
    assert await anext(running) == 1
    with pytest.raises(TimeoutError):
        await anext(running)
    assert the_call().outcome == "timeout"


async def test_task_group_in_the_body(watched):
    """A task group that the body holds open over an item works as it does without the decorator."""

    @watched("tool")
    async def tool():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "from the group"))
            yield 1
            yield await task

    assert [item async for item in tool()] == [1, "from the group"]


async def test_cancelled_within_a_step(watched, the_call):
    """A generator whose consumer is cancelled while it waits for an item is cancelled, not failed."""
    started = asyncio.Event()

    @watched("tool")
    async def tool():
        yield 1
        started.set()
        await asyncio.Event().wait()

    async def consume():
        async for _ in tool():
            pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert the_call().outcome == "cancelled"


async def test_no_two_steps_at_once(watched):
    """A second step requested while one runs is rejected, as Python does."""
    started = asyncio.Event()

    @watched("tool")
    async def tool():
        started.set()
        await asyncio.sleep(0.01)
        yield 1

    running = tool()
    first = asyncio.create_task(anext(running))
    await started.wait()
    with pytest.raises(RuntimeError, match="already running"):
        await anext(running)
    assert await first == 1
    await running.aclose()


async def test_no_leak_to_the_consumer(watched, the_call):
    """Calls of the consumer between two items are not part of the generator."""

    @watched("helper")
    async def helper():
        pass

    @watched("tool")
    async def tool():
        yield 1
        yield 2

    running = tool()
    await anext(running)
    await helper()
    await running.aclose()
    assert the_call("helper").parent_id is None
    assert the_call("helper").call_id is not None


async def test_consumer_keeps_its_parent(watched, peer, the_call):
    """Calls of the consumer between two items are part of the call that the consumer is part of."""

    @watched("helper")
    async def helper():
        pass

    @watched("tool")
    async def tool():
        yield 1

    @watched("outer")
    async def outer():
        async for _ in tool():
            await helper()

    await outer()
    assert the_call("helper").parent_id == the_call("tool").parent_id == the_call("outer").call_id is not None


async def test_inside_the_body(watched, the_call):
    """Calls of the body are part of the generator, before and after each item."""

    @watched("first")
    async def first():
        await asyncio.sleep(0)

    @watched("last")
    async def last():
        await asyncio.sleep(0)

    @watched("tool")
    async def tool():
        await first()
        yield 1
        await last()

    assert [item async for item in tool()] == [1]
    assert the_call("first").parent_id == the_call("last").parent_id == the_call().call_id is not None


async def test_context_variables_of_the_users(watched):
    """A context variable that the body sets is visible and stays set exactly as it is without the decorator."""
    own = contextvars.ContextVar("own", default="outside")

    async def tool():
        own.set("body")
        yield own.get()
        yield own.get()

    async def run(function):
        running = function()
        seen = [(await anext(running), own.get())]
        own.set("consumer")
        seen.append((await anext(running), own.get()))
        await running.aclose()
        return seen

    assert await asyncio.create_task(run(watched("tool")(tool))) == await asyncio.create_task(run(tool))


async def test_items_are_let_go(watched):
    """An item is freed as soon as its consumer drops it: the memory of a stream is not held twice."""

    class Chunk:
        pass

    @watched("tool")
    async def tool():
        yield Chunk()
        yield Chunk()

    running = tool()
    item = weakref.ref(await anext(running))
    gc.collect()
    assert item() is None
    await running.aclose()


async def test_context_manager(watched, the_call, stopwatch):
    """Under `contextlib.asynccontextmanager` it covers the whole `async with` block, and may suppress the block's
    exception.
    """

    @contextlib.asynccontextmanager
    @watched("tool")
    async def tool():
        try:
            yield "resource"
        except ZeroDivisionError:
            pass

    async with tool() as resource:
        stopwatch.spend()
        assert resource == "resource"
        1 / 0  # noqa: B018
    stopwatch.assert_covers(the_call().duration_s)
