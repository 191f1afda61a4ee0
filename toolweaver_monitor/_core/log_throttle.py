"""Limit how often a log message repeats."""

from __future__ import annotations

import time

LOG_INTERVAL_S = 60.0


class LogThrottle:
    """A gate that opens at most once every `interval_s` seconds.

    It takes no lock: two threads at the same moment may both pass, which costs a second line.
    """

    __slots__ = ("_last_s", "interval_s")

    def __init__(self, interval_s: float = LOG_INTERVAL_S) -> None:
        self.interval_s = interval_s
        self._last_s = float("-inf")

    def ready(self, now_s: float | None = None) -> bool:
        """Return whether a message may be logged now; if so, start a new interval.

        Args:
            now_s: seconds of `time.monotonic()`; now if not given.
        """
        now_s = time.monotonic() if now_s is None else now_s
        if now_s - self._last_s < self.interval_s:
            return False
        self._last_s = now_s
        return True
