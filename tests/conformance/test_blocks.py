"""Blocks of code: they can be monitored under a tool's name, by `with` and by `async with`."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest


def test_with(peer, the_call, stopwatch):
    """`with`."""
    with peer.block("tool"):
        stopwatch.spend()
    stopwatch.assert_covers(the_call().duration_s)


async def test_async_with(peer, the_call, stopwatch):
    """`async with`."""
    async with peer.block("tool"):
        await asyncio.sleep(0)
        stopwatch.spend()
    stopwatch.assert_covers(the_call().duration_s)


def test_raising(peer, the_call):
    """An exception of the block propagates as the same object, and the call is a failure."""
    error = LookupError("no such page")
    with pytest.raises(LookupError) as caught, peer.block("tool"):
        raise error
    assert caught.value is error
    assert the_call().outcome == "failure"


async def test_cancelled(peer, the_call):
    """A block that is cancelled is recorded as cancelled."""
    started = asyncio.Event()

    async def work():
        with peer.block("tool"):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert the_call().outcome == "cancelled"


def test_within_a_tool(peer, watched, the_call):
    """A block inside a tool is part of the tool, and a tool inside a block is part of the block."""

    @watched("tool")
    def tool():
        with peer.block("block"):
            inner()

    @watched("inner")
    def inner():
        pass

    tool()
    assert the_call("inner").parent_id == the_call("block").call_id is not None
    assert the_call("block").parent_id == the_call("tool").call_id


def test_left_in_another_thread(peer, the_call):
    """A block may be left in another thread than the one it was entered in."""
    block = peer.block("tool")
    contextvars.Context().run(block.__enter__)  # what a context keeps, no other thread can take out of it
    failed = []

    def leave():
        try:
            block.__exit__(None, None, None)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert failed == []
    assert the_call().name == "tool"
