"""The interval between two log messages."""

from __future__ import annotations

from toolweaver_monitor._core.log_throttle import LogThrottle


def test_a_message_is_let_through_once_an_interval() -> None:
    """The first at once, the next only when the interval is over.

    Seen red: with `<=` for `<`; with the time of a message that was held back remembered.
    """
    throttle = LogThrottle(60.0)
    moments = (0.0, 1.0, 59.9, 60.0, 61.0, 120.0)
    assert [now_s for now_s in moments if throttle.ready(now_s)] == [0.0, 60.0, 120.0]
    assert throttle.ready()
