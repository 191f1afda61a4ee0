"""Coroutines and other awaitables: they are timed to the end of the await, and cancelled calls are recorded as such."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings

import pytest


async def test_timed_in_full(watched, the_call, stopwatch):
    """A coroutine is timed to the end of its await, not only its creation."""

    @watched("tool")
    async def tool():
        await asyncio.sleep(0)
        stopwatch.spend()
        return "result"

    assert await tool() == "result"
    stopwatch.assert_covers(the_call().duration_s)


def test_kind(watched):
    """It stays a coroutine function for `inspect` and for asyncio, and returns a coroutine with the function's name."""

    @watched("tool")
    async def tool():
        pass

    assert inspect.iscoroutinefunction(tool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert asyncio.iscoroutinefunction(tool)
    running = tool()
    assert inspect.iscoroutine(running)
    assert (running.__name__, running.__qualname__) == ("tool", "test_kind.<locals>.tool")
    running.close()


async def test_runs_in_the_callers_task(watched):
    """It runs in the task that awaits it."""

    @watched("tool")
    async def tool():
        return asyncio.current_task()

    assert await tool() is asyncio.current_task()


async def test_cancelled(watched, the_call):
    """A coroutine that is cancelled is recorded as cancelled: neither failure nor success."""
    started = asyncio.Event()

    @watched("tool")
    async def tool():
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(tool())
    await started.wait()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == ("enough",)
    assert task.cancelled()
    assert the_call().outcome == "cancelled"


async def test_cancelled_from_outside_by_a_timeout(watched, the_call):
    """A coroutine that is cancelled by the caller's own timeout is cancelled, and the caller sees the timeout."""

    @watched("tool")
    async def tool():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await tool()
    assert asyncio.current_task().cancelling() == 0
    assert the_call().outcome == "cancelled"


async def test_timeout(watched, the_call):
    """A coroutine that raises `TimeoutError` is recorded as a timeout, apart from other failures."""

    @watched("tool")
    async def tool():
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await tool()
    assert the_call().outcome == "timeout"


async def test_refuses_to_be_cancelled(watched, the_call):
    """A coroutine that catches its cancellation and returns is a success, as asyncio sees it."""
    started = asyncio.Event()

    @watched("tool")
    async def tool():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved"

    task = asyncio.create_task(tool())
    await started.wait()
    task.cancel()
    assert await task == "saved"
    assert the_call().outcome == "success"


def test_never_awaited(watched, peer):
    """Python warns of a coroutine that is never awaited, once, under its own name, and it is no call."""

    @watched("tool")
    async def tool():
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tool()
        gc.collect()
    (warning,) = caught
    assert str(warning.message) == "coroutine 'test_never_awaited.<locals>.tool' was never awaited"
    assert peer.seen() == []


async def test_function_that_returns_a_coroutine(watched, the_call, stopwatch):
    """A plain function that returns a coroutine is timed to the end of the await, and returns a coroutine."""

    async def work():
        await asyncio.sleep(0)
        stopwatch.spend()
        return "result"

    @watched("tool")
    def tool():
        return work()

    assert not inspect.iscoroutinefunction(tool)
    running = tool()
    assert inspect.iscoroutine(running)
    assert running.__name__ == "work"
    assert await running == "result"
    stopwatch.assert_covers(the_call().duration_s)


async def test_function_that_returns_a_failing_coroutine(watched, the_call):
    """An exception of such a coroutine is the same object, and the call is a failure."""
    error = LookupError("no such page")

    async def work():
        await asyncio.sleep(0)
        raise error

    @watched("tool")
    def tool():
        return work()

    with pytest.raises(LookupError) as caught:
        await tool()
    assert caught.value is error
    assert the_call().outcome == "failure"


async def test_function_whose_coroutine_is_cancelled(watched, the_call):
    """Such a coroutine that is cancelled is recorded as cancelled."""
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    @watched("tool")
    def tool():
        return work()

    task = asyncio.create_task(tool())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert the_call().outcome == "cancelled"


async def test_function_whose_coroutine_calls(watched, the_call):
    """Calls of such a coroutine are part of it."""

    @watched("helper")
    async def helper():
        pass

    async def work():
        await helper()

    @watched("tool")
    def tool():
        return work()

    await tool()
    assert the_call("helper").parent_id == the_call().call_id is not None


def test_function_whose_coroutine_is_never_awaited(watched):
    """Python warns of such a coroutine if it is never awaited, once, under its own name."""

    async def work():
        pass

    @watched("tool")
    def tool():
        return work()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tool()
        gc.collect()
    assert [str(warning.message).split(" was ")[1] for warning in caught] == ["never awaited"]
    assert "work" in str(caught[0].message)


async def test_function_that_returns_a_task(watched, the_call, stopwatch):
    """A plain function that returns a task returns the same task, and is timed until the task is done."""

    async def work():
        await asyncio.sleep(0)
        stopwatch.spend()
        return "result"

    @watched("tool")
    def tool():
        made.append(asyncio.create_task(work()))
        return made[0]

    made = []
    task = tool()
    assert task is made[0]
    assert await task == "result"
    await asyncio.sleep(0)
    stopwatch.assert_covers(the_call().duration_s)


async def test_function_that_returns_a_future(watched, the_call):
    """A plain function that returns a future returns the same future, and ends as the future ends."""
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]

    for name, future in zip(("done", "failed", "dropped"), futures, strict=True):
        assert watched(name)(lambda future=future: future)() is future
    futures[0].set_result("result")
    futures[1].set_exception(LookupError("no such page"))
    futures[2].cancel()
    assert await futures[0] == "result"
    with pytest.raises(LookupError):
        await futures[1]
    await asyncio.sleep(0)
    assert [the_call(name).outcome for name in ("done", "failed", "dropped")] == ["success", "failure", "cancelled"]


async def test_function_whose_future_fails_unseen(watched):
    """The event loop still warns of a future's error that was never retrieved."""
    said = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))

    @watched("tool")
    def tool():
        return loop.create_future()

    tool().set_exception(LookupError("no such page"))
    await asyncio.sleep(0)
    gc.collect()
    assert said == ["Future exception was never retrieved"]


async def test_function_that_returns_an_awaitable(watched, the_call):
    """An awaitable object of the user's own comes back as itself."""

    class Later:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "result"

    @watched("tool")
    def tool():
        made.append(Later())
        return made[0]

    made = []
    later = tool()
    assert later is made[0]
    assert await later == "result"
    assert the_call().outcome == "success"


@pytest.mark.skipif(
    not hasattr(inspect, "markcoroutinefunction"), reason="Python 3.12 has inspect.markcoroutinefunction"
)
async def test_marked_as_a_coroutine_function(watched):
    """A plain function marked as a coroutine function stays marked, and returns the same future."""
    future = asyncio.get_running_loop().create_future()
    future.set_result("result")

    @watched("tool")
    @inspect.markcoroutinefunction
    def tool():
        return future

    assert inspect.iscoroutinefunction(tool)
    assert tool() is future
    assert await tool() == "result"
