"""The base of the in-memory sinks, which count nothing themselves: each is a view of statistics."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, TypeGuard

from toolweaver_monitor._core.call import TOOL_ERROR, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import (
    MAX_ERROR_CHARS,
    Diagnostics,
    nanodollars,
    plain_number,
    plain_text,
    token_count,
)
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.path_tree import PathTree
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._text.names import UNNAMED, safe_name
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor._text.safe_repr import error_text, type_name
from toolweaver_monitor.errors import ConfigurationError

MAX_DURATION_S = 1e9


class ManualRecorder(Protocol):
    """Takes calls that are recorded by hand to all sinks. Each method returns False if it does not take the call."""

    def hand_in(self, call: ToolCall, waits: bool = False) -> bool:
        """Send an ended call to all sinks."""

    def add_cost(self, told: ToolCall) -> bool:
        """Add a cost to the call of the same tool that was handed in right before."""

    def add_outcome(self, told: ToolCall) -> bool:
        """Add an outcome to the call of the same tool that was handed in right before."""


class InMemorySink:
    """A sink that shows statistics: its own, filled by hand or by `write`, and those that `setup()` shares with it."""

    name = "memory"
    _sees_calls = False
    """Whether it must see every call: buckets of its own and labels cannot be read from the statistics."""

    @suggest_keywords()
    def __init__(self, max_operations: int = 10_000) -> None:
        self._own = StatsAggregator(validate_max_operations(max_operations))
        self._shared: StatsAggregator | None = None
        self._by_hand: ManualRecorder | None = None
        """Where calls that are recorded by hand go. None without `setup()`: they are counted here."""

    def __repr__(self) -> str:
        tools = self._by_tool().values()
        calls = sum(stats.calls for stats in tools)
        return f"<{type(self).__name__}: {pluralize(calls, 'call')} of {pluralize(len(tools), 'tool')}>"

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        self._own.add_batch(calls)

    def flush(self) -> None:
        """Do nothing, since every read is complete."""

    def close(self) -> None:
        """Do nothing, since nothing is open. What was counted can still be read."""

    def _observe(self, calls: Sequence[ToolCall]) -> None:
        """Look at a batch of closed calls, if the sink needs to see every call. `setup()` subscribes it."""

    def _attach(self, shared: StatsAggregator, by_hand: ManualRecorder | None = None) -> None:
        """Show these statistics as well. What was shared before stays counted. `setup()` calls it."""
        self._by_hand = by_hand
        earlier, self._shared = self._shared, shared
        if earlier is not None and earlier is not shared:
            self._own.merge(earlier)

    def _sources(self) -> list[StatsAggregator]:
        """Return the statistics shown, once every ended call is counted."""
        sources = [self._own] if self._shared is None else [self._shared, self._own]
        for source in sources:
            source.sync()
        return sources

    def _by_tool(self) -> dict[str, ToolStats]:
        """Return a copy of the statistics of each tool."""
        by_tool: dict[str, ToolStats] = {}
        for source in self._sources():
            with source.lock:
                for tool, stats in source.by_tool().items():
                    if tool in by_tool:
                        by_tool[tool].add(stats)
                    else:
                        by_tool[tool] = stats
        return by_tool

    def _tree(self) -> PathTree:
        """Return the calling context of all calls."""
        tree = PathTree()
        for source in self._sources():
            with source.lock:
                tree.add(source.by_node)
        return tree

    def _total(self) -> ToolStats:
        """Return the statistics of all tools together."""
        total = ToolStats()
        for source in self._sources():
            with source.lock:
                total.add(source.total())
        return total

    def _stats_of(self, tool_name: str) -> ToolStats:
        """Return the statistics of one tool; empty ones for a tool that has not run."""
        stats = ToolStats()
        for source in self._sources():
            with source.lock:
                stats.add(source.total({tool_name}))
        return stats


def validate_max_operations(value: object, name: str = "max_operations") -> int:
    """Return the number of calls to keep.

    Raises:
        ConfigurationError: `value` is not a whole number from 1 up.
    """
    if type(value) is not int or value < 1:
        raise ConfigurationError(
            f"{name}={value!r} keeps no calls",
            hint="give a whole number from 1 up, such as 10_000 (totals stay all-time whatever it is)",
        )
    return min(value, sys.maxsize)  # no list can hold more, so this keeps all


def make_call(
    operation: object,
    *,
    duration_s: object = 0.0,
    tokens: object = 0,
    cost: object = None,
    success: object = True,
    error: object = "",
) -> ToolCall:
    """Return a closed call made of values recorded by hand. Invalid values are left out and counted as invalid."""
    seconds = plain_number(duration_s)
    if seconds is not None and 0 <= seconds < MAX_DURATION_S:
        duration = float(seconds)
    else:
        Diagnostics.invalid_values += 1
        duration = 0.0
    success = is_true(success)
    if not isinstance(operation, str) or not operation.strip():
        Diagnostics.invalid_values += 1
        operation = UNNAMED
    call = ToolCall(
        safe_name(operation),
        "success" if success else "failure",
        duration,
        monotonic_s() - duration,
    )
    count, nanousd = token_count(tokens), nanodollars(cost)
    if count or nanousd is not None or not success:
        call._details = CallDetails(
            unsplit_tokens=count,
            cost_nanousd=nanousd,
            cost_source=None if nanousd is None else "reported",
            error_type=None if success else type_name(error) if _is_exception(error) else TOOL_ERROR,
            raw_error="" if success else scrub(_text_of_error(error)),
            redacted=True,
        )
    return call


def is_true(value: object) -> bool:
    """Return whether a value is true. One that does not tell, such as an array, is invalid and counted as false."""
    try:
        return bool(value)
    except Exception:  # noqa: BLE001 - nothing that is recorded by hand raises
        Diagnostics.invalid_values += 1
        return False


def _text_of_error(error: object) -> str:
    """Return the text of an error recorded by hand, which may be text or the exception itself."""
    if _is_exception(error):
        return error_text(error)
    return "" if error is None else plain_text(error, MAX_ERROR_CHARS)


def _is_exception(error: object) -> TypeGuard[BaseException]:
    """Return True for a real exception, whatever its `__class__` claims."""
    return issubclass(type(error), BaseException)
