"""Limit how often a log message repeats."""

from __future__ import annotations

import time

LOG_INTERVAL_S = 60.0


class LogThrottle:
    """A gate that opens at most once a minute, for one of the threads that come at the same moment.

    It takes no lock, so that a signal handler can log.
    """

    __slots__ = ("_claims", "_last_s")

    def __init__(self) -> None:
        self._last_s = float("-inf")
        self._claims: dict[float, float] = {}
        """When the first thread came after the interval that began at the key."""

    def ready(self, now_s: float | None = None) -> bool:
        """Return whether a message may be logged now; if so, start a new interval.

        Args:
            now_s: seconds of `time.monotonic()`; now if not given.
        """
        now_s = time.monotonic() if now_s is None else now_s
        last_s = self._last_s
        if now_s - last_s < LOG_INTERVAL_S:
            return False
        claimed_s = self._claims.setdefault(last_s, now_s)
        if claimed_s is not now_s and now_s - claimed_s < LOG_INTERVAL_S:
            return False
        self._claims = {last_s: claimed_s}  # kept for threads that have just read `last_s`
        self._last_s = now_s
        return True
