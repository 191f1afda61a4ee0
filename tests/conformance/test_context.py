"""Context: a call knows the call that it is a part of."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sent


@pytest.fixture
def helper(watched):
    @watched("helper")
    def helper(*_):
        return threading.get_ident()

    return helper


@pytest.fixture
def assert_inside(peer):
    """Assert that every call of the helper is a part of the one call of the tool, and of its trace."""

    def assert_inside(times: int = 1) -> None:
        (tool,) = [call for call in peer.seen() if call.name == "tool"]
        helpers = [call for call in peer.seen() if call.name == "helper"]
        assert tool.call_id is not None
        assert [call.parent_id for call in helpers] == [tool.call_id] * times
        assert {call.trace_id for call in helpers} == {tool.trace_id}

    return assert_inside


def test_nesting(watched, helper, assert_inside, the_call):
    """A call inside a call has it as its parent, and their trace is one; the outermost has none."""

    @watched("tool")
    def tool():
        helper()
        helper()

    tool()
    assert_inside(2)
    assert the_call().parent_id is None


def test_ids(watched, peer):
    """IDs have the sizes of W3C's, are never zero, and no two calls have the same."""
    tool = watched("tool")(lambda: None)
    for _ in range(50):
        tool()
    calls = peer.seen()
    assert len({call.call_id for call in calls}) == 50
    assert all(0 < call.call_id < 2**64 and 0 < call.trace_id < 2**128 for call in calls)


async def test_gather(watched, helper, assert_inside):
    """Through `asyncio.gather`."""

    async def work():
        await asyncio.sleep(0)
        helper()

    @watched("tool")
    async def tool():
        await asyncio.gather(work(), work(), work())

    await tool()
    assert_inside(3)


async def test_task_group(watched, helper, assert_inside):
    """Through `asyncio.TaskGroup`."""

    async def work():
        await asyncio.sleep(0)
        helper()

    @watched("tool")
    async def tool():
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(work())

    await tool()
    assert_inside(3)


async def test_concurrent_calls(watched, peer):
    """A hundred calls at once, each with one inside: none becomes part of another."""

    @watched("helper")
    async def helper():
        await asyncio.sleep(0)

    @watched("tool")
    async def tool():
        await asyncio.sleep(0)
        await helper()

    await asyncio.gather(*(tool() for _ in range(100)))
    tools = {call.call_id: call.trace_id for call in peer.seen() if call.name == "tool"}
    helpers = {call.parent_id: call.trace_id for call in peer.seen() if call.name == "helper"}
    assert len(tools) == 100
    assert helpers == tools


async def test_to_thread(watched, helper, assert_inside):
    """Through `asyncio.to_thread`."""

    @watched("tool")
    async def tool():
        assert await asyncio.to_thread(helper) != threading.get_ident()

    await tool()
    assert_inside()


async def test_run_in_executor(peer, watched, helper, assert_inside):
    """Through `loop.run_in_executor`, with the library's own way to pass a call on."""

    @watched("tool")
    async def tool():
        with peer.carrying(ThreadPoolExecutor(1)) as pool:
            assert await asyncio.get_running_loop().run_in_executor(pool, helper) != threading.get_ident()

    await tool()
    assert_inside()


def test_thread_pool(peer, watched, helper, assert_inside):
    """Through `ThreadPoolExecutor.submit` and `map`, with the library's own way to pass a call on."""

    @watched("tool")
    def tool():
        with peer.carrying(ThreadPoolExecutor(1)) as pool:
            assert pool.submit(helper).result(30) != threading.get_ident()
            assert len(list(pool.map(helper, range(2)))) == 2

    tool()
    assert_inside(3)


def test_copied_context(watched, helper, assert_inside):
    """Through a thread that is given a copy of the context."""

    @watched("tool")
    def tool():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(helper,))
        thread.start()
        thread.join()

    tool()
    assert_inside()


def test_fresh_thread(watched, helper, the_call):
    """A thread that is given no context starts without a parent."""

    @watched("tool")
    def tool():
        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()

    tool()
    assert the_call("helper").parent_id is None
    assert the_call("helper").call_id is not None


def test_after_a_failure(watched, helper, the_call):
    """After a call has failed, the next one is not part of it."""

    @watched("tool")
    def tool():
        raise LookupError

    with pytest.raises(LookupError):
        tool()
    helper()
    assert the_call("helper").parent_id is None
    assert the_call("helper").call_id is not None


async def test_task_that_outlives_its_call(watched, helper, the_call):
    """Calls of a task that outlives the call that started it are still part of that call."""

    async def work():
        await go.wait()
        helper()

    @watched("tool")
    async def tool():
        return asyncio.create_task(work())

    go = asyncio.Event()
    task = await tool()
    go.set()
    await task
    assert the_call("helper").parent_id == the_call().call_id is not None


def test_saying_from_any_depth(watched, the_call):
    """A helper in another module, at any depth, records on the innermost open call."""

    def far_down(depth):
        if depth:
            far_down(depth - 1)
        else:
            sent.say_from_afar(customer="acme")

    @watched("inner")
    def inner():
        far_down(20)

    @watched("tool")
    def tool():
        inner()
        sent.say_from_afar(customer="other")

    tool()
    assert the_call("inner").said["customer"] == "acme"
    assert the_call("tool").said["customer"] == "other"


def test_saying_outside_any_call(watched, peer):
    """Recording outside any call does no harm."""
    sent.say_from_afar(customer="acme")
    watched("tool")(lambda: None)()
    assert "customer" not in peer.seen()[0].said
