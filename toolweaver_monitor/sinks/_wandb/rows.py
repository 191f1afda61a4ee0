"""What numbers does W&B get for a call, and for many calls merged into one row?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._core.sanitize import NANO

STEP = "toolweaver/call"
"""The step metric of our own: how many calls had been logged when the row was written."""
ERRORS_TABLE = "toolweaver/errors"
MAX_TOOLS = 2_000
OVERFLOW = "overflow"
"""Where tools beyond `MAX_TOOLS` go together: names may come from a model, and each costs W&B a chart."""

SUMMARY = {
    "summary/total_operations": "total_operations",
    "summary/success_rate": "success_rate",
    "summary/total_cost": "total_cost_usd",
    "summary/avg_duration": "avg_duration_s",
}
"""Key in the run's summary -> key of `MetricsCollector.summary()`."""

Row = dict[str, float]

_UNSAFE = re.compile(r"[^\w\-/: @]")  # "." nests, "*" is a wildcard, quotes and control characters break charts


class Keys:
    """A W&B key prefix for each tool: safe, and never the same for two tools."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._taken: set[str] = {OVERFLOW}

    def of(self, tool_name: str) -> str:
        """The prefix under which this tool's numbers are logged."""
        key = self._keys.get(tool_name)
        return key if key is not None else self._new(tool_name)

    def _new(self, tool_name: str) -> str:
        if len(self._keys) >= MAX_TOOLS:
            return OVERFLOW
        key = safe = _UNSAFE.sub("_", tool_name[:128]).strip("/ ").lstrip("_") or "tool"  # "_" marks W&B's own keys
        again = 1
        while key in self._taken:
            again += 1
            key = f"{safe}-{again}"
        self._taken.add(key)
        self._keys[tool_name] = key
        return key


def row_of(key: str, call: ToolCall) -> Row:
    """One call as one row: seconds if it ran, dollars where they are known, tokens, and 1 for a success."""
    details = call._details or NO_DETAILS
    row: Row = {f"{key}/tokens": details.tokens, f"{key}/status": 1 if call.outcome == "success" else 0}
    if call.outcome != "rejected":
        row[f"{key}/duration"] = call.duration_s
    if details.cost_nanousd is not None:
        row[f"{key}/cost"] = details.cost_nanousd / NANO
    return row


class MergedStats:
    """Many calls of one tool, added up. Nothing is lost but which call had what."""

    __slots__ = (
        "calls", "cost_nanousd", "failures", "longest_s", "ran", "seconds", "shortest_s", "successes", "tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = self.ran = self.successes = self.failures = self.tokens = 0
        self.cost_nanousd: int | None = None
        self.seconds = self.longest_s = 0.0
        self.shortest_s = float("inf")

    def add(self, call: ToolCall) -> None:
        """Count one call."""
        seconds = call.duration_s
        self.calls += 1
        if call.outcome != "rejected":
            self.ran += 1
            self.seconds += seconds
            self.shortest_s = min(self.shortest_s, seconds)
            self.longest_s = max(self.longest_s, seconds)
        if call.outcome == "success":
            self.successes += 1
        elif call.is_error:
            self.failures += 1
        details = call._details
        if details is not None:
            self.tokens += details.tokens
            if details.cost_nanousd is not None:
                self.cost_nanousd = details.cost_nanousd + (self.cost_nanousd or 0)

    def row(self, key: str) -> Row:
        """All of them as one row. Cost and tokens are sums, so the sum over all rows is the sum over all calls."""
        row: Row = {
            f"{key}/calls": self.calls,
            f"{key}/successes": self.successes,
            f"{key}/failures": self.failures,
            f"{key}/tokens": self.tokens,
        }
        if self.ran:
            row[f"{key}/duration_sum"] = self.seconds
            row[f"{key}/duration_min"] = self.shortest_s
            row[f"{key}/duration_max"] = self.longest_s
        if self.cost_nanousd is not None:
            row[f"{key}/cost"] = self.cost_nanousd / NANO
        return row


def merge_into(sums: dict[str, MergedStats], calls: Iterable[ToolCall]) -> None:
    """Add calls to the sums of their tools; beyond `MAX_TOOLS` tools, to those of `OVERFLOW`."""
    for call in calls:
        held = sums.get(call.tool_name)
        if held is None:
            name = call.tool_name if len(sums) < MAX_TOOLS else OVERFLOW
            held = sums.setdefault(name, MergedStats())
        held.add(call)


class Totals:
    """What this run was given, for its summary when nobody gives one."""

    def __init__(self) -> None:
        self.calls = self.ran = self.successes = self.failures = self.cost_nanousd = 0
        self.seconds = 0.0

    def add(self, sums: MergedStats) -> None:
        """Count what one tool's calls add up to."""
        self.calls += sums.calls
        self.ran += sums.ran
        self.successes += sums.successes
        self.failures += sums.failures
        self.seconds += sums.seconds
        self.cost_nanousd += sums.cost_nanousd or 0

    def summary(self) -> dict[str, Any]:
        """With the keys that `MetricsCollector.summary()` has."""
        judged = self.successes + self.failures
        return {
            "total_operations": self.calls,
            "success_rate": self.successes / judged if judged else None,
            "total_cost_usd": self.cost_nanousd / NANO,
            "avg_duration_s": self.seconds / self.ran if self.ran else None,
        }


def summary_row(summary: Mapping[str, Any]) -> Row:
    """The figures of a summary that W&B gets; what is unknown is left out.

    Four always; `summary/unpriced_calls` where some are, and limit, spent and rejections of each budget there is.
    """
    row: Row = {
        key: summary[name]
        for key, name in SUMMARY.items()
        if isinstance(summary.get(name), int | float) and not isinstance(summary[name], bool)
    }
    if summary.get("unpriced_calls"):
        row["summary/unpriced_calls"] = summary["unpriced_calls"]
    for budget in summary.get("budgets", ()):
        row |= {f"budget/{budget['name']}/{figure}": budget[figure] for figure in ("limit", "spent", "rejections")}
    return row
