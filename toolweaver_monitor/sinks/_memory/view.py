"""What do the in-memory sinks share? They count nothing themselves: each is a view of tallies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeGuard

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import MAX_ERROR_CHARS, Diagnostics, nanodollars, plain_text, token_count
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.names import UNNAMED, safe_name
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor._text.safe_repr import error_text, type_name
from toolweaver_monitor.errors import ConfigurationError

MAX_DURATION_S = 1e9


class InMemorySink:
    """A sink that shows tallies: its own, filled by hand or by `write`, and those that `setup()` shares with it."""

    name = "view"

    def __init__(self, max_operations: int = 10_000) -> None:
        self._own = StatsAggregator(validate_max_operations(max_operations))
        self._shared: StatsAggregator | None = None

    def __repr__(self) -> str:
        tallies = self._by_tool().values()
        calls = sum(tally.calls for tally in tallies)
        return f"<{type(self).__name__}: {pluralize(calls, 'call')} of {pluralize(len(tallies), 'tool')}>"

    def _attach(self, tallies: StatsAggregator | None) -> None:
        """Show these tallies, too; what was shared before stays counted. `setup()` calls it."""
        earlier, self._shared = self._shared, tallies
        if earlier is not None and earlier is not tallies:
            self._own.merge(earlier)

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        self._own.add_batch(calls)

    def flush(self) -> None:
        """Nothing is kept back: every read is complete."""

    def close(self) -> None:
        """Nothing is held; what was counted can still be read."""

    def _sources(self) -> list[StatsAggregator]:
        """The tallies shown, everything that has ended brought in."""
        sources = [self._own] if self._shared is None else [self._shared, self._own]
        for source in sources:
            source.sync()
        return sources

    def _by_tool(self) -> dict[str, ToolStats]:
        """A copy of the tally of each tool."""
        found: dict[str, ToolStats] = {}
        for source in self._sources():
            with source.lock:
                for tool, tally in source.by_tool.items():
                    if tool in found:
                        found[tool].add(tally)
                    else:
                        found[tool] = tally.copy()
        return found

    def _total(self) -> ToolStats:
        """One tally of all tools."""
        total = ToolStats()
        for source in self._sources():
            total.add(source.total())
        return total

    def _stats_of(self, tool_name: str) -> ToolStats:
        """The tally of one tool; an empty one for a tool never seen."""
        found = ToolStats()
        for source in self._sources():
            with source.lock:
                if tool_name in source.by_tool:
                    found.add(source.by_tool[tool_name])
        return found


def validate_max_operations(value: object, name: str = "max_operations") -> int:
    """How many calls to keep.

    Raises:
        ConfigurationError: it is no whole number from 1 up.
    """
    if type(value) is not int or value < 1:
        raise ConfigurationError(
            f"{name}={value!r} keeps no calls; give a whole number from 1 up, such as 10_000 "
            "(totals stay all-time whatever it is)"
        )
    return min(value, sys.maxsize)  # more than any list can hold is all of them


def make_call(
    operation: object,
    *,
    duration_s: object = 0.0,
    tokens: object = 0,
    cost: object = None,
    success: bool = True,
    error: object = "",
) -> ToolCall:
    """A closed call made of figures make_call by hand; what cannot be counted is left out and counted as invalid."""
    if isinstance(duration_s, int | float) and 0 <= duration_s < MAX_DURATION_S:
        duration = float(duration_s)
    else:
        Diagnostics.invalid_values += 1
        duration = 0.0
    if not isinstance(operation, str) or not operation.strip():
        Diagnostics.invalid_values += 1
        operation = UNNAMED
    call = ToolCall(
        safe_name(operation),
        "success" if success else "failure",
        duration,
        monotonic_s() - duration,
    )
    count, nano = token_count(tokens), nanodollars(cost)
    if count or nano is not None or not success:
        call._details = CallDetails(
            unsplit_tokens=count,
            cost_nanousd=nano,
            cost_source=None if nano is None else "reported",
            error_type=None if success else type_name(error) if is_exception(error) else "ToolFailed",
            raw_error="" if success else scrub(said(error)),
            redacted=True,
        )
    return call


def said(error: object) -> str:
    """The text of an error given by hand, be it text or the exception itself."""
    if is_exception(error):
        return error_text(error)
    return "" if error is None else plain_text(error, MAX_ERROR_CHARS)


def is_exception(error: object) -> TypeGuard[BaseException]:
    """Whether it really is an exception, whatever it says of its class."""
    return issubclass(type(error), BaseException)
