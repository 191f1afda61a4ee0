"""The accounts of the calls that wait for a sink."""

from __future__ import annotations

from collections.abc import Sequence

from toolweaver_monitor import ToolCall, setup, track
from toolweaver_monitor._bus.retry import UNAVAILABLE
from toolweaver_monitor._bus.sink_queue import SinkQueue
from toolweaver_monitor.testing.faults import KeepSink


def some(count: int) -> list[ToolCall]:
    return [ToolCall("tool", "success", 0.5, 1.0) for _ in range(count)]


def test_a_sink_that_asks_for_it_is_told_how_many_calls_wait_behind_each_batch() -> None:
    """An attribute `backlog` is enough; nothing else has to be there for it."""

    class Told(KeepSink):
        max_batch = 2
        backlog = -1

        def misbehave(self, _: Sequence[ToolCall], /) -> None:
            told.append(self.backlog)

    told: list[int] = []
    with setup(Told()) as monitor:
        for _ in range(5):
            with track("tool"):
                pass
        assert monitor.flush(10.0)
    assert told == [3, 1, 0]


def test_a_flush_is_reached_once_all_that_had_come_before_it_has_left() -> None:
    """What comes later does not count for it, and merged calls are waited for like any other."""
    queue = SinkQueue("sink", 4, 10**6, merge=lambda _: None)
    queue.offer(some(6))
    assert (len(queue), queue.merged, queue.queued()) == (4, 2, 6)
    assert queue.request_flush(by=1.0) == 1
    assert queue.take(3)
    queue.offer(some(1))
    assert queue.record_delivered(queue.in_flight, 0, merged=2)
    assert queue.reached_flush() == 0
    assert queue.take(1)
    assert queue.record_delivered(queue.in_flight, 0, merged=0)
    assert queue.reached_flush() == 1
    assert queue.request_flush(by=2.0) == 2
    assert queue.reached_flush() == 0
    queue.drop_rest("shutdown")
    assert queue.reached_flush() == 2
    assert queue.stats().dropped_by == {"shutdown": 1}


def test_a_batch_is_offered_once_however_often_the_dispatcher_begins_anew() -> None:
    """One that was killed right after the step takes it again."""
    queue = SinkQueue("sink", 10, 10**6)
    batch = some(2)
    queue.offer(batch)
    queue.offer(batch)
    assert queue.stats().emitted == 2


def test_what_is_given_up_while_the_sink_had_it_is_counted_once() -> None:
    """As dropped: whether the sink took it or failed after all is no matter then."""
    queue = SinkQueue("sink", 10, 10**6)
    queue.offer(some(2))
    assert queue.take(5)
    batch = queue.in_flight
    queue.disable("unavailable", UNAVAILABLE, "off")
    assert queue.record_delivered(batch, 0, 0) is False
    assert queue.record_failed(batch, 0, "OSError", "OSError in sink", UNAVAILABLE, 1) is False
    queue.offer(some(1))
    stats = queue.stats()
    assert (stats.state, stats.last_error) == ("unavailable", "off")
    assert (stats.emitted, stats.delivered, stats.failed, stats.dropped_by) == (3, 0, 0, {"unavailable": 3})
