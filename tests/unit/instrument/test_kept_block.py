"""What if the object that `track()` gave is kept, and used more than once at a time?"""

from __future__ import annotations

import asyncio

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
