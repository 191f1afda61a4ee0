"""A deadline of the caller's, where the cancellation says that it is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from toolweaver_monitor import monitored, track
from toolweaver_monitor.testing import ToolRecorder

anyio = pytest.importorskip("anyio")
trio = pytest.importorskip("trio")


@monitored("tool")
async def tool() -> None:
    await anyio.sleep(60)


@monitored("pages")
async def pages() -> AsyncIterator[int]:
    yield 1
    await anyio.sleep(60)


async def outcomes(work: Callable[[], Awaitable[object]]) -> dict[str, str]:
    """Return the outcome of each tool that runs in `work`."""
    with ToolRecorder() as recorder:
        async with track("around"):
            try:
                await work()
            except TimeoutError:
                pass
        return {call.tool_name: call.outcome for call in recorder.calls()}


async def fail_after() -> None:
    with anyio.fail_after(0.01):
        await tool()


async def move_on_after() -> None:
    with anyio.move_on_after(0.01):
        await tool()


async def in_a_task_group() -> None:
    with anyio.fail_after(0.01):
        async with anyio.create_task_group() as group:
            group.start_soon(tool)
            group.start_soon(tool)


async def in_a_block() -> None:
    with anyio.fail_after(0.01):
        async with track("tool"):
            await anyio.sleep(60)


async def cancelled() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(tool)
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def consume() -> None:
    with anyio.fail_after(0.01):
        async for _ in pages():
            pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tool_that_a_deadline_of_anyio_cuts_off_is_a_timeout(backend: str) -> None:
    """It counts in the error rate; the call around the deadline has gone on, and a plain cancellation stays one.

    Seen red: every one of these was cancelled.
    """
    for work in (fail_after, move_on_after, in_a_task_group, in_a_block):
        assert anyio.run(outcomes, work, backend=backend) == {"tool": "timeout", "around": "success"}
    assert anyio.run(outcomes, consume, backend=backend) == {"pages": "timeout", "around": "success"}
    assert anyio.run(outcomes, cancelled, backend=backend) == {"tool": "cancelled", "around": "success"}


def test_a_tool_that_a_deadline_of_trio_cuts_off_is_a_timeout() -> None:
    """Also in a nursery, whose tasks report a group."""

    async def work() -> None:
        with trio.move_on_after(0.01):
            async with track("nursery"), trio.open_nursery() as nursery:
                nursery.start_soon(tool)
                nursery.start_soon(tool)

    assert trio.run(outcomes, work) == {"tool": "timeout", "nursery": "timeout", "around": "success"}


def test_what_asyncio_cancels_is_cancelled_whatever_for() -> None:
    """It does not say why; outcomes.md says so. A message of the program's own is no deadline."""

    async def wait_for() -> None:
        await asyncio.wait_for(tool(), 0.01)

    async def by_hand() -> None:
        task = asyncio.create_task(tool())
        await asyncio.sleep(0.01)
        task.cancel("reason: deadline exceeded")
        await asyncio.wait([task])

    for work in (wait_for, by_hand):
        assert asyncio.run(outcomes(work)) == {"tool": "cancelled", "around": "success"}
