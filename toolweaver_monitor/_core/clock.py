"""The monotonic clock for durations, and the wall clock as a label.

`perf_counter` never goes back. The wall clock does (NTP, a suspended laptop, an administrator), so its offset is kept
as a short history: the wall-clock start of a call is looked up by its monotonic start, and does not change afterwards.
"""

from __future__ import annotations

import time
from bisect import bisect_right

STEP_S = 0.05  # a smaller difference is jitter between two readings, not a step of the clock
_KEPT = 64

monotonic_s = time.perf_counter

_offsets: list[tuple[float, float]] = [(float("-inf"), time.time() - time.perf_counter())]


def detect_clock_step() -> None:
    """Note whether the wall clock was set since the last check. Called now and then, off the caller's path."""
    now = monotonic_s()
    offset = time.time() - now
    if abs(offset - _offsets[-1][1]) > STEP_S:
        _offsets.append((now, offset))
        del _offsets[1:-_KEPT]


def wall_time_s(monotonic: float) -> float:
    """Return the Unix seconds at a moment of the monotonic clock, given in seconds."""
    offsets = _offsets
    if len(offsets) == 1:
        return monotonic + offsets[0][1]
    return monotonic + offsets[bisect_right(offsets, (monotonic, float("inf"))) - 1][1]
