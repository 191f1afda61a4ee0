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
    """With 1,000 tools of which 20 ran, a poll is a small part of one where all did, in time and in bytes."""
    with setup() as monitor:
        feed = _feed_of(monitor._components)
        cursor, _, _ = spend_of(feed, "", 1_000)
        rounds = {}
        for tools in (20, 1_000):
            found = []
            for _ in range(5):
                feed._rests_until = 0.0
                cursor, took, size = spend_of(feed, cursor, tools)
                found.append((took, size))
            rounds[tools] = min(took for took, _ in found), min(size for _, size in found)
    assert rounds[20][0] < rounds[1_000][0] / 3
    assert rounds[20][1] < 12_000 < rounds[1_000][1]


def test_a_page_takes_a_small_part_of_a_core_however_many_tools_run() -> None:
    """Polled twice a second: under 5 % with 1,000 tools that all ran since. Seen red: 9 % without a rest."""
    assert share_of_core(1_000, seconds=3) < 0.05


def share_of_core(tools: int, seconds: int) -> float:
    """Poll twice a second, with 1,000 tools of which so many ran in between; return the CPU time a second."""
    spent = 0.0
    with setup() as monitor:
        feed = _feed_of(monitor._components)
        cursor, _, _ = spend_of(feed, "", 1_000)
        began = time.monotonic()
        for turn in range(1, 2 * seconds + 1):
            cursor, took, _ = spend_of(feed, cursor, tools)
            spent += took
            time.sleep(max(0.0, began + turn / 2 - time.monotonic()))
        return spent / (time.monotonic() - began)


if __name__ == "__main__":
    for tools in (0, 20, 1_000):
        print(f"{tools:,} of 1,000 tools ran between polls: {share_of_core(tools, seconds=20):.2%} of a core")
