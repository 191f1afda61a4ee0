"""Calls by tool and period of a quarter of a minute, for as long as the latest calls reach back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.clock import wall_time_s
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats import histogram

PERIOD_S = 15
PERIODS = 60
"""How many periods are kept: a quarter of an hour."""
PER_CELL = 4
"""Buckets of the histogram in one cell of a latency strip: half an octave."""
SHARES = (0.50, 0.95, 0.99)


class Period:
    """The calls of one tool that ended in one period."""

    __slots__ = ("buckets", "calls", "cost_nanousd", "failed")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.cost_nanousd = 0
        self.buckets: dict[int, int] = {}


class History:
    """The last periods of every tool, and of all calls together; what is older is forgotten.

    Args:
        group: returns the name under which a call counts instead of its tool, or None if it does not count.
    """

    def __init__(self, group: Callable[[ToolCall], str | None] = lambda call: call.tool_name) -> None:
        self._group = group
        self._periods: dict[str, dict[int, Period]] = {}
        self._total: dict[int, Period] = {}

    def add(self, calls: Iterable[ToolCall]) -> None:
        """Count calls in the periods in which they ended."""
        group, bucket_of = self._group, histogram.bucket_of
        for call in calls:
            name = group(call)
            if name is None:
                continue
            duration_s, outcome = call.duration_s, call.outcome
            at = int(wall_time_s(call._opened_at + duration_s)) // PERIOD_S
            failed, cost = outcome in ERROR_OUTCOMES, call._cost_nanousd
            bucket = None if outcome == "rejected" else bucket_of(duration_s)
            periods = self._periods.get(name)
            if periods is None:
                periods = self._periods[name] = {}
            for of in (periods, self._total):
                period = of.get(at)
                if period is None:
                    period = of[at] = Period()
                    if len(of) > PERIODS:
                        del of[min(of)]
                period.calls += 1
                period.failed += failed
                if cost:
                    period.cost_nanousd += cost
                if bucket is not None:
                    period.buckets[bucket] = period.buckets.get(bucket, 0) + 1

    def of(self, name: str, since: int) -> list[list[Any]]:
        """Return the number, calls, failed calls and dollars of each period of a tool that is not before `since`."""
        periods = self._periods.get(name, {})
        wanted = sorted([at for at in periods if at >= since])
        return [[at, (of := periods[at]).calls, of.failed, of.cost_nanousd / NANO] for at in wanted]

    def total(self, since: int) -> list[list[Any]]:
        """Return the same of all calls, each with three percentiles of latency: see `over_time`."""
        return [
            over_time(at, period.calls, period.failed, period.cost_nanousd, period.buckets)
            for at, period in _since(self._total, since)
        ]

    def strip(self, name: str) -> list[list[int]]:
        """Return the latency of a tool over time: see `cells`."""
        return [cell for at, period in _since(self._periods.get(name, {}), 0) for cell in cells(at, period.buckets)]


def over_time(at: int, calls: int, failed: int, cost_nanousd: int, buckets: Mapping[int, int]) -> list[Any]:
    """Return a period as its number, calls, failed calls, dollars, and the percentiles of latency in seconds."""
    times: list[Any] = [None] * len(SHARES)
    if buckets:
        times = histogram.percentiles(buckets, SHARES, 0.0, float("inf"))
    return [at, calls, failed, cost_nanousd / NANO, *times]


def cells(at: int, buckets: Mapping[int, int]) -> list[list[int]]:
    """Return the latency in a period, as the number of the period, a cell, and its calls.

    Cell `c` holds the durations up to `2 ** ((c + 1) / 2)` seconds.
    """
    found: Counter[int] = Counter()
    for bucket, calls in buckets.items():
        found[bucket // PER_CELL] += calls
    return [[at, cell, calls] for cell, calls in sorted(found.items())]


def _since(periods: Mapping[int, Period], since: int) -> list[tuple[int, Period]]:
    """Return the periods that are not before one, in order."""
    return sorted([(at, period) for at, period in periods.items() if at >= since], key=itemgetter(0))
