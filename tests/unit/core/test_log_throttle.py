"""The interval between two log messages."""

from __future__ import annotations

from toolweaver_monitor._core.log_throttle import LogThrottle


def test_a_message_is_let_through_once_an_interval() -> None:
    """The first at once, the next only when the interval is over.

    Seen red: with `<=` for `<`; with the time of a message that was held back remembered.
    """
    throttle = LogThrottle()
    moments = (0.0, 1.0, 59.9, 60.0, 61.0, 120.0)
    assert [now_s for now_s in moments if throttle.ready(now_s)] == [0.0, 60.0, 120.0]
    assert throttle.ready()


def test_of_threads_that_come_at_once_one_passes() -> None:
    """Two threads that drop calls at the same moment write one line.

    Each interval is tried by a thread that is stopped between its look at the clock and its claim.
    Seen red: without the claim, both pass.
    """
    throttle = LogThrottle()
    passed: list[bool] = []

    class Stopped(float):
        was_stopped = False

        def __sub__(self, last_s: float) -> float:
            if not self.was_stopped:
                self.was_stopped = True
                passed.append(throttle.ready(float(self)))  # another thread
            return float(self) - last_s

    passed.append(throttle.ready(Stopped(0.0)))
    passed.append(throttle.ready(Stopped(60.0)))
    assert passed == [True, False, True, False]


def test_a_claim_that_was_broken_off_holds_for_one_interval() -> None:
    """A signal that raises between the claim and its end silences the log for an interval, not for good."""
    throttle = LogThrottle()
    throttle._claims[float("-inf")] = 1.0
    assert not throttle.ready(2.0)
    assert throttle.ready(61.0)
