"""What a poll costs the program that is watched."""

from __future__ import annotations

import time

from toolweaver_monitor import setup, track
from toolweaver_monitor._page.feed import Feed
from toolweaver_monitor._runtime.page import _feed_of


def spend_of(feed: Feed, cursor: str, tools: int) -> tuple[str, float, int]:
    """Run so many tools, poll, and return the new cursor, the seconds of CPU time and the bytes of the answer."""
    for number in range(tools):
        with track(f"tool_{number}") as call:
            call.record(cost=0.001, tokens=5)
    feed._program.sources()
    started = time.thread_time()
    cursor, answer = feed.poll(cursor)
    return cursor, time.thread_time() - started, len(answer or b"")


def test_a_poll_costs_what_has_changed_and_not_what_there_is() -> None:
    """With 1,000 tools of which 20 ran, a poll is a small part of one where all did, in time and in bytes.

    Run as a program it prints the milliseconds.
    """
    with setup() as monitor:
        feed = _feed_of(monitor._components)
        cursor, _, _ = spend_of(feed, "", 1_000)
        rounds = {}
        for tools in (20, 1_000):
            found = []
            for _ in range(5):
                cursor, took, size = spend_of(feed, cursor, tools)
                found.append((took, size))
            rounds[tools] = min(took for took, _ in found), min(size for _, size in found)
        cursor, _, nothing = spend_of(feed, cursor, 0)
    assert rounds[20][0] < rounds[1_000][0] / 3
    assert rounds[20][1] < 12_000 < rounds[1_000][1]
    assert nothing == 0
    for tools, (took, size) in rounds.items():
        print(f"{tools:,} of 1,000 tools: {took * 1e3:.1f} ms, {size:,} bytes")


if __name__ == "__main__":
    test_a_poll_costs_what_has_changed_and_not_what_there_is()
