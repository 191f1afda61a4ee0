"""A read sees every call that ended before it."""

from __future__ import annotations

import asyncio
import itertools
import threading

from toolweaver_monitor import monitored, setup

THREADS, TASKS, CALLS = 4, 5, 500


def test_a_summary_right_after_a_call_includes_it_every_time() -> None:
    """10,000 awaited calls from several tasks in each of several threads, each followed by a read.

    A read counts all calls that had ended before it, on every thread; so it must show at least as many as had been
    numbered by then. Mutation: give `Bus.drain` nothing to do; the first read is behind.
    """
    monitor = setup()
    numbers = itertools.count(1)  # `next` is atomic
    behind: list[tuple[int, int]] = []

    @monitored("tool")
    async def tool() -> dict[str, float]:
        await asyncio.sleep(0)
        return {"cost": 0.01}

    async def in_a_task() -> None:
        for _ in range(CALLS):
            await tool()
            ended = next(numbers)
            seen = monitor.summary()
            if seen["count"] < ended or round(seen["total_cost_usd"] * 100) < ended:
                behind.append((seen["count"], ended))

    async def in_several_tasks() -> None:
        await asyncio.gather(*(in_a_task() for _ in range(TASKS)))

    threads = [threading.Thread(target=lambda: asyncio.run(in_several_tasks())) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert behind == []
    summary = monitor.summary()
    assert (summary["count"], summary["total_cost_usd"]) == (10_000, 100.0)
