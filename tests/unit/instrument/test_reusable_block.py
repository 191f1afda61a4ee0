"""Blocks that are kept and entered more than once, also at the same time."""

from __future__ import annotations

import asyncio
import contextlib

from toolweaver_monitor import current_call, setup, track


def test_a_kept_block_inside_itself_is_two_calls() -> None:
    """Used again inside itself, it is a call inside a call, and both are closed."""
    monitor = setup()
    block = track("block")
    with block as outer:
        with block as inner:
            assert inner.parent_id == outer.call_id
            assert current_call() is inner
        assert current_call() is outer
    with block:
        pass
    assert monitor.summary()["count"] == 3
    assert monitor.active() == []
    assert current_call().tool_name == ""


async def test_a_kept_block_in_several_tasks_is_a_call_in_each() -> None:
    """Shared by tasks that enter and leave it in any order, each closes its own call, as long as it was open."""
    monitor = setup()
    block = track("block")

    async def use(entered: asyncio.Event, tokens: int) -> None:
        async with block as call:
            entered.set()
            await gate.wait()
            assert current_call() is call
            call.record(tokens=tokens)
        assert call.outcome == "success"

    events = [asyncio.Event() for _ in range(3)]
    gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for index, event in enumerate(events):
            group.create_task(use(event, index))
        for event in events:
            await event.wait()
        gate.set()
    assert monitor.summary()["count"] == 3
    assert sorted(each["tokens"] for each in monitor.metrics.operations) == [0, 1, 2]
    assert monitor.active() == []


def test_a_kept_block_gives_a_call_each_time() -> None:
    """Used one time after the other, each call is its own, and none changes after it has ended."""
    monitor = setup()
    block = track("block")
    with block as first:
        first.record(tokens=1)
    with block as second:
        second.record(tokens=2)
    assert first is not second
    assert (first.tokens, second.tokens) == (1, 2)
    assert [each["tokens"] for each in monitor.metrics.operations] == [1, 2]


async def test_a_block_that_nobody_watched_can_be_watched_later() -> None:
    """Entered before `setup()` it does nothing; the same object opens a call once there is somebody to hear of it."""
    block = track("block")
    async with block as call:
        call.record(tokens=1)
    monitor = setup()
    async with block as call:
        call.record(tokens=2)
    assert [each["tokens"] for each in monitor.metrics.operations] == [2]


async def test_a_block_is_left_by_whatever_awaits_it() -> None:
    """What leaving a block gives can be awaited by hand, by an exit stack, and with a time limit."""
    monitor = setup()
    for leave in (asyncio.wait_for, lambda leaving, _: leaving):
        block = track("block")
        await block.__aenter__()
        assert await leave(block.__aexit__(None, None, None), 10.0) is None
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(track("block"))
    assert (monitor.summary()["count"], monitor.active()) == (3, [])
