"""The rows that W&B gets: one per call, or one per tool for merged calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from toolweaver_monitor._core.call import UNRATED_OUTCOMES, ToolCall
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.sanitize import NANO

STEP = "toolweaver/call"
"""The step metric of this library: how many calls had been logged when the row was written."""
ERRORS_TABLE = "toolweaver/errors"
MAX_TOOLS = 2_000
OVERFLOW_KEY = "overflow"
"""The key shared by all tools beyond `MAX_TOOLS`: a model may make names up, and each name costs W&B a chart."""

SUMMARY_KEYS = {
    "summary/total_operations": "total_operations",
    "summary/success_rate": "success_rate",
    "summary/total_cost": "total_cost_usd",
    "summary/avg_duration": "avg_duration_s",
}
"""Key in the run's summary -> key of `MetricsCollector.summary()`."""

Row = dict[str, float]

_UNSAFE = re.compile(r"[^\w\-/: @]")  # "." nests, "*" is a wildcard, quotes and control characters break charts


class ToolKeys:
    """A safe W&B key prefix for each tool, different for any two tools."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._taken: set[str] = {OVERFLOW_KEY}

    def get(self, tool_name: str) -> str:
        """Return the prefix of this tool's metrics."""
        key = self._keys.get(tool_name)
        return key if key is not None else self._add(tool_name)

    def _add(self, tool_name: str) -> str:
        if len(self._keys) >= MAX_TOOLS:
            return OVERFLOW_KEY
        key = safe = _UNSAFE.sub("_", tool_name[:128]).strip("/ ").lstrip("_") or "tool"  # "_" marks W&B's own keys
        number = 1
        while key in self._taken:
            number += 1
            key = f"{safe}-{number}"
        self._taken.add(key)
        self._keys[tool_name] = key
        return key


def to_row(key: str, call: ToolCall) -> Row:
    """Return the row of a call: tokens, seconds if it ran, dollars if known.

    Its status is 1 for a success and 0 for a failure or a timeout; a call that ended in another way has none.
    """
    details = call._details or NO_DETAILS
    row: Row = {f"{key}/tokens": details.tokens}
    if call.outcome not in UNRATED_OUTCOMES:
        row[f"{key}/status"] = 1 if call.outcome == "success" else 0
    if call.outcome != "rejected":
        row[f"{key}/duration"] = call.duration_s
    if details.cost_nanousd is not None:
        row[f"{key}/cost"] = details.cost_nanousd / NANO
    return row


class MergedStats:
    """Statistics of several calls of one tool. Only the values of each single call are lost."""

    __slots__ = (
        "calls", "cost_nanousd", "executed", "failures", "max_s", "min_s", "seconds", "successes", "tokens", "unpriced",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = self.executed = self.successes = self.failures = self.tokens = self.unpriced = 0
        self.cost_nanousd: int | None = None
        self.seconds = self.max_s = 0.0
        self.min_s = float("inf")

    def add(self, call: ToolCall) -> None:
        """Count a call."""
        seconds = call.duration_s
        self.calls += 1
        if call.outcome != "rejected":
            self.executed += 1
            self.seconds += seconds
            self.min_s = min(self.min_s, seconds)
            self.max_s = max(self.max_s, seconds)
        if call.outcome == "success":
            self.successes += 1
        elif call.is_error:
            self.failures += 1
        details = call._details
        if details is not None:
            self.tokens += details.tokens
            if details.cost_nanousd is not None:
                self.cost_nanousd = details.cost_nanousd + (self.cost_nanousd or 0)
            elif details.lacks_price:
                self.unpriced += 1

    def add_stats(self, other: MergedStats) -> None:
        """Count the calls of other statistics."""
        self.calls += other.calls
        self.executed += other.executed
        self.successes += other.successes
        self.failures += other.failures
        self.tokens += other.tokens
        self.unpriced += other.unpriced
        self.seconds += other.seconds
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)
        if other.cost_nanousd is not None:
            self.cost_nanousd = other.cost_nanousd + (self.cost_nanousd or 0)

    def as_summary(self) -> dict[str, Any]:
        """Return the totals under the keys of `MetricsCollector.summary()`."""
        rated = self.successes + self.failures
        return {
            "total_operations": self.calls,
            "success_rate": self.successes / rated if rated else None,
            "total_cost_usd": (self.cost_nanousd or 0) / NANO,
            "unpriced_calls": self.unpriced,
            "avg_duration_s": self.seconds / self.executed if self.executed else None,
        }

    def as_row(self, key: str) -> Row:
        """Return one row for all calls. Cost and tokens are sums, so adding up all rows gives the sum of all calls."""
        row: Row = {
            f"{key}/calls": self.calls,
            f"{key}/successes": self.successes,
            f"{key}/failures": self.failures,
            f"{key}/tokens": self.tokens,
        }
        if self.executed:
            row[f"{key}/duration_sum"] = self.seconds
            row[f"{key}/duration_min"] = self.min_s
            row[f"{key}/duration_max"] = self.max_s
        if self.cost_nanousd is not None:
            row[f"{key}/cost"] = self.cost_nanousd / NANO
        return row


def merge_into(stats: dict[str, MergedStats], calls: Iterable[ToolCall]) -> None:
    """Add calls to the statistics of their tools; beyond `MAX_TOOLS` tools, to those of `OVERFLOW_KEY`."""
    for call in calls:
        of_tool = stats.get(call.tool_name)
        if of_tool is None:
            name = call.tool_name if len(stats) < MAX_TOOLS else OVERFLOW_KEY
            of_tool = stats.setdefault(name, MergedStats())
        of_tool.add(call)


def to_summary_row(summary: Mapping[str, Any]) -> Row:
    """Return what the run's summary holds of a summary; unknown values are left out.

    These are the four values of `SUMMARY_KEYS`, the number of unpriced calls if there are any, and the limit, the
    amount spent and the rejections of each budget.
    """
    row: Row = {
        key: summary[name]
        for key, name in SUMMARY_KEYS.items()
        if isinstance(summary.get(name), int | float) and not isinstance(summary[name], bool)
    }
    if summary.get("unpriced_calls"):
        row["summary/unpriced_calls"] = summary["unpriced_calls"]
    for budget in summary.get("budgets", ()):
        row |= {f"budget/{budget['name']}/{value}": budget[value] for value in ("limit", "spent", "rejections")}
    return row
