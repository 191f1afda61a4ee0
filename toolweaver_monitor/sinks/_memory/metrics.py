"""In-memory metrics: counts, durations, tokens and costs by tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict, cast

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO, plain_number
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import format_seconds, html_table, rank_rows
from toolweaver_monitor._text.guesses import AnswersGuesses, GuessedKeys
from toolweaver_monitor._text.names import safe_name
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink, make_call

MAX_HTML_ROWS = 100
PERCENTILES = (0.50, 0.95, 0.99)


class Summary(TypedDict):
    """All-time totals over every tool, or over one; plain values, ready for JSON.

    Attributes:
        count: calls of every outcome.
        total_operations: the same number as `count`.
        successes: calls that succeeded.
        failures: calls that failed, timeouts included.
        success_rate: from 0 to 1; None until a call has succeeded or failed.
        total_cost_usd: dollars, without calls of unknown cost.
        avg_duration_s: seconds; calls that a budget rejected did not run and do not count for any duration.
        total_tokens: input, output and unsplit tokens together.
        p50_s, p95_s, p99_s: percentiles of the duration in seconds, within 4.5 %.
        unpriced_calls: calls of unknown cost that used tokens or a model.
    """

    count: int
    total_operations: int
    successes: int
    failures: int
    success_rate: float | None
    total_cost_usd: float
    avg_duration_s: float
    total_tokens: int
    p50_s: float
    p95_s: float
    p99_s: float
    unpriced_calls: int


class MetricsCollector(InMemorySink, AnswersGuesses):
    """Counts, durations, tokens and costs of every tool. Also works on its own, without `setup()`.

    Totals and percentiles are all-time. `operations` keeps only the last calls, so memory stays flat.

    Args:
        max_operations: how many of the last calls `operations` keeps.

    Raises:
        ConfigurationError: `max_operations` is not a whole number from 1 up.
    """

    _meant: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("avg_latency", "avg_duration", "average"), 'summary("ocr")["avg_duration_s"]'),
        **dict.fromkeys(("success_rate", "error_rate"), 'summary("ocr")["success_rate"]'),
        **dict.fromkeys(("total_cost", "costs"), 'summary("ocr")["total_cost_usd"]'),
        **dict.fromkeys(("percentile", "p95"), 'summary("ocr")["p95_s"]'),
        "report": "monitor.report()",
    }
    """What to write instead of a name that one guesses."""

    name = "metrics"

    def record(
        self,
        operation: str,
        duration: float,
        tokens: int = 0,
        cost: float | None = 0.0,
        success: bool = True,
        error: str = "",
    ) -> None:
        """Count one call by hand.

        The collector of a setup hands it to all sinks and to the budgets, which never refuse it. Another one counts it
        for itself. Never raises, since it runs in the middle of the program's work. An invalid value (negative, NaN,
        text) is left out and the call is still counted; `health()["invalid"]` shows how many there were.

        Args:
            operation: the tool; anything that is not a name becomes `unnamed`.
            duration: seconds.
            tokens: tokens used.
            cost: dollars.
            success: whether it succeeded.
            error: if it did not, what went wrong. Secrets are removed.
        """
        told = None if plain_number(cost) == 0 else cost
        call = make_call(operation, duration_s=duration, tokens=tokens, cost=told, success=success, error=error)
        if self._by_hand is None or not self._by_hand.hand_in(call, waits=True):
            self._own.record(call)

    @property
    def operations(self) -> list[dict[str, Any]]:
        """The last calls, oldest first.

        Each has operation, duration (seconds), tokens, cost (dollars, 0.0 if unknown), success, error, timestamp (Unix
        seconds), outcome, error_type (None for a call that did not fail), model (None if it is not known) and tags.
        """
        calls: list[ToolCall] = []
        for source in self._sources():
            with source.lock:
                calls.extend(source.operations)
        if self._shared is not None and self._own.operations:
            calls.sort(key=lambda call: call._opened_at + call.duration_s)
        return [operation_as_dict(call) for call in calls[-(self._own.operations.maxlen or len(calls)) :]]

    def summary(self, operation: str | None = None) -> Summary:
        """Return all-time totals over every tool, or over one.

        Args:
            operation: the name of a tool; one that has not run has a count of 0.

        Returns:
            The totals. `summary()["tools"]` gives those of each tool; it is worked out when asked for, and is neither
            printed nor a part of the JSON.

        Raises:
            ConfigurationError: `operation` is not text; a function is not the name of its tool.
        """
        if operation is None:
            totals = GuessedKeys(summarize(self._total()), {"tools": self.by_operation})
        elif isinstance(operation, str):
            totals = GuessedKeys(summarize(self._stats_of(safe_name(operation))))
        else:
            raise ConfigurationError(
                f"{operation!r} is not a tool's name", hint="give its text, such as summary('ocr')"
            )
        return cast("Summary", totals)

    def _repr_html_(self) -> str:
        """Return a table of the tools for a notebook, the busiest first."""
        shown, _ = rank_rows(self._by_tool(), lambda stats: stats.calls, MAX_HTML_ROWS)
        rows = [["tool", "calls", "failed", "average", "p95", "tokens", "cost"]]
        for tool, stats in shown:
            totals = summarize(stats)
            counts = [f"{totals['count']:,}", f"{totals['failures']:,}"]
            times = [format_seconds(totals["avg_duration_s"]), format_seconds(totals["p95_s"])]
            cost = f"${totals['total_cost_usd']:,.4f}" if stats.usage.costed else "-"
            rows.append([tool, *counts, *(times if stats.executed else "--"), f"{totals['total_tokens']:,}", cost])
        return html_table(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the totals, and those of each tool, as plain values."""
        return {"summary": dict(self.summary()), "tools": self.by_operation()}

    def by_operation(self) -> dict[str, Summary]:
        """Return the same totals as `summary()` for each tool."""
        return {tool: summarize(stats) for tool, stats in sorted(self._by_tool().items())}

    def cost_by_operation(self) -> dict[str, float]:
        """Return the dollars spent on each tool, the most expensive first."""
        by_tool = {tool: stats.usage.cost_nanousd for tool, stats in self._by_tool().items()}
        most_expensive_first = sorted(by_tool.items(), key=lambda item: -item[1])
        return {tool: nanousd / NANO for tool, nanousd in most_expensive_first}


def summarize(stats: ToolStats) -> Summary:
    """Return the totals that `MetricsCollector.summary` shows."""
    p50_s, p95_s, p99_s = histogram.percentiles(stats.buckets, PERCENTILES, stats.duration_min_s, stats.duration_max_s)
    usage, executed, successes, failures = stats.usage, stats.executed, stats.outcomes["success"], stats.failures
    return {
        "count": usage.calls,
        "total_operations": usage.calls,
        "successes": successes,
        "failures": failures,
        "success_rate": successes / (successes + failures) if successes or failures else None,
        "total_cost_usd": usage.cost_nanousd / NANO,
        "avg_duration_s": stats.duration_sum_s / executed if executed else 0.0,
        "total_tokens": usage.tokens,
        "p50_s": p50_s,
        "p95_s": p95_s,
        "p99_s": p99_s,
        "unpriced_calls": usage.unpriced,
    }


def operation_as_dict(call: ToolCall) -> dict[str, Any]:
    """Return a call as an entry of `MetricsCollector.operations`."""
    return {
        "operation": call.tool_name,
        "duration": call.duration_s,
        "tokens": call.tokens,
        "cost": call.cost_usd or 0.0,
        "success": call.outcome == "success",
        "error": call.error,
        "timestamp": call.started_at,
        "outcome": call.outcome,
        "error_type": call.error_type,
        "model": call.model,
        "tags": dict(call.tags),
    }
