"""Calls by tool and period of a quarter of a minute, for as long as the latest calls reach back."""

from __future__ import annotations

from collections.abc import Iterable
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


class Period:
    """The calls of one tool that ended in one period."""

    __slots__ = ("calls", "cells", "cost_nanousd", "failed")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.cost_nanousd = 0
        self.cells: dict[int, int] = {}


class History:
    """The last periods of every tool; what is older is forgotten."""

    def __init__(self) -> None:
        self.by_tool: dict[str, dict[int, Period]] = {}

    def add(self, calls: Iterable[ToolCall]) -> None:
        """Count calls in the periods in which they ended."""
        for call in calls:
            at = int(wall_time_s(call._opened_at + call.duration_s)) // PERIOD_S
            periods = self.by_tool.get(call.tool_name)
            if periods is None:
                periods = self.by_tool[call.tool_name] = {}
            period = periods.get(at)
            if period is None:
                period = periods[at] = Period()
                if len(periods) > PERIODS:
                    del periods[min(periods)]
            period.calls += 1
            period.failed += call.outcome in ERROR_OUTCOMES
            period.cost_nanousd += call._cost_nanousd or 0
            if call.outcome != "rejected":
                cell = histogram.bucket_of(call.duration_s) // PER_CELL
                period.cells[cell] = period.cells.get(cell, 0) + 1

    def of(self, tool: str, since: int) -> list[list[Any]]:
        """Return the number, calls, failed calls and dollars of each period of a tool that is not before `since`."""
        periods = self.by_tool.get(tool, {})
        wanted = sorted([at for at in periods if at >= since])
        return [[at, (of := periods[at]).calls, of.failed, of.cost_nanousd / NANO] for at in wanted]

    def strip(self, tool: str) -> list[list[int]]:
        """Return the latency of a tool over time, as the number of a period, a cell, and its calls.

        Cell `c` holds the durations up to `2 ** ((c + 1) / 2)` seconds.
        """
        return [
            [at, cell, calls]
            for at, period in sorted(self.by_tool.get(tool, {}).items())
            for cell, calls in sorted(period.cells.items())
        ]
