"""`aflush` and `async with` under an event loop that is not asyncio's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolweaver_monitor import monitored, setup
from toolweaver_monitor.testing.faults import KeepSink, SlowSink


@monitored("tool")
async def tool() -> None:
    pass


async def use(sink: KeepSink) -> bool:
    async with setup(sink) as monitor:
        await tool()
        return await monitor.aflush()


def test_under_a_loop_that_nobody_knows_they_do_their_work_at_once() -> None:
    """A coroutine that somebody drives by hand ends the monitor like any other."""
    sink = KeepSink()
    with pytest.raises(StopIteration) as end:
        use(sink).send(None)
    assert end.value.value is True
    assert (len(sink.calls), sink.closes) == (1, 1)


def test_trio_goes_on_while_they_wait(require_package: Callable[..., None]) -> None:
    """Another task of Trio's has its turns while a slow sink is waited for."""
    require_package("trio", "pip install trio")
    import trio

    sink, turns = SlowSink(batch_s=0.5), 0

    async def beat() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.005)
            turns += 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            assert await use(sink)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert (len(sink.calls), sink.closes) == (1, 1)
    assert turns > 10  # of 100; held up, it has 2 or 3


def test_a_block_that_trio_cancels_still_delivers(require_package: Callable[..., None]) -> None:
    """`async with setup()` in a scope that is cancelled ends the monitor all the same, and the cancelling goes on."""
    require_package("trio", "pip install trio")
    import trio

    sink, reached = KeepSink(), []

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with setup(sink):
                await tool()
                scope.cancel()
                await trio.sleep(10)
                reached.append("after it")

    trio.run(main)
    assert (len(sink.calls), sink.closes, reached) == (1, 1, [])
