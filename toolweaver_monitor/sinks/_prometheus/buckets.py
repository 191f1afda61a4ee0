"""Counts in buckets of the user's choice: `PrometheusExporter(buckets=[0.1, 0.5, 1, 5])`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from toolweaver_monitor._core import config, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.names import OVERFLOW, declared_names
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._prometheus.families import OwnCounts


class BucketCounts:
    """The durations and the times to the first item of every tool, counted call by call as batches come in.

    At most `max_names` tools whose names are not written in the code are told apart; the rest is `__overflow__`.

    Args:
        bounds: the upper bounds of durations, in seconds.
        first_item_bounds: those of times to the first item.
        max_names: the most such tools.
    """

    def __init__(self, bounds: tuple[float, ...], first_item_bounds: tuple[float, ...], max_names: int) -> None:
        self._bounds, self._first_item_bounds = bounds, first_item_bounds
        self._max_names = max_names
        self.by_tool: dict[str, OwnCounts] = {}
        self._dynamic_names = 0
        locks.after_fork_in_child_weak(self, BucketCounts._forget)

    def _forget(self) -> None:
        self.by_tool.clear()
        self._dynamic_names = 0

    def count(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls, without those that were rejected: they did not run."""
        for call in calls:
            if call.outcome == "rejected":
                continue
            row = self.by_tool.get(call.tool_name)
            if row is None:
                none = [0] * (len(self._bounds) + 1), [0] * (len(self._first_item_bounds) + 1)
                row = self.by_tool.setdefault(self._name(call.tool_name), none)
            row[0][bisect_left(self._bounds, call.duration_s)] += 1
            if call.first_item_s is not None:
                row[1][bisect_left(self._first_item_bounds, call.first_item_s)] += 1

    def _name(self, tool: str) -> str:
        if tool in declared_names:
            return tool
        if self._dynamic_names >= self._max_names:
            return OVERFLOW
        self._dynamic_names += 1
        return tool


def validate_buckets(buckets: Iterable[float] | None, name: str = "buckets") -> tuple[float, ...] | None:
    """Return upper bounds of buckets in seconds, or None.

    Raises:
        ConfigurationError: there are none, they do not rise, or one is not a positive number.
    """
    try:
        return None if buckets is None else config.rising_bounds(buckets)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"{name}={buckets!r} are not bucket bounds", hint="give seconds from low to high, such as [0.1, 0.5, 1, 5]"
        ) from None
