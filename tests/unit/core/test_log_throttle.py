"""How often a message is let through."""

from __future__ import annotations

from toolweaver_monitor._core.log_throttle import LogThrottle


def test_a_message_is_let_through_once_an_interval() -> None:
    """The first at once, the next only when the interval is over.

    Seen red: with `<=` for `<`; with the time of a message that was held back remembered.
    """
    throttle = LogThrottle(60.0)
    assert [throttle.ready(now_s) for now_s in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert throttle.ready()
