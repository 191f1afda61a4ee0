"""In-memory errors: error rates, error types and the latest errors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import DEFAULT_ROWS, escape, html_table, pad, rank_rows, table, width
from toolweaver_monitor._text.names import safe_name
from toolweaver_monitor._text.reportable import Reportable
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink, make_call, validate_max_operations

LATEST = 10
"""Errors shown one by one in a report."""


class CallCounts(dict[str, int]):
    """Calls by tool."""

    def __missing__(self, tool: str) -> int:
        return 0


class ErrorTracker(InMemorySink, Reportable):
    """Error rates, error types and the latest errors. Also works on its own, without `setup()`.

    Its report shows the tools and the error types that failed most, and the latest errors with their times.

    Args:
        max_errors: how many of the latest errors are kept; rates and counts are all-time.

    Raises:
        ConfigurationError: `max_errors` is not a whole number from 1 up.
    """

    _meant: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("rate", "rates", "success_rate"), 'errors.error_rate("ocr")'),
        **dict.fromkeys(("by_tool", "by_type", "recent"), "errors.errors, by tool, or errors.latest"),
    }
    """What to write instead of a name that one guesses."""

    name = "errors"

    def __init__(self, max_errors: int = 1_000) -> None:
        super().__init__(max_operations=validate_max_operations(max_errors, "max_errors"))

    def record_call(self, tool_name: str, success: bool, error: str | BaseException = "") -> None:
        """Count one call by hand.

        Right after `MetricsCollector.record` of the same tool and setup it is the outcome of that call; of two the
        failure stands. Otherwise only this tracker counts it. Never raises. Invalid values are left out and counted, as
        in `MetricsCollector.record`.

        Args:
            tool_name: the tool; anything that is not a name becomes `unnamed`.
            success: whether the call succeeded.
            error: if it did not, what went wrong: a text or the exception itself. Secrets are removed.
        """
        call = make_call(tool_name, success=success, error=error)
        if self._by_hand is None or not self._by_hand.add_outcome(call):
            self._own.record(call)

    @property
    def errors(self) -> dict[str, list[dict[str, Any]]]:
        """The latest errors of each tool that has failed, oldest first; each entry is as in `latest`."""
        by_tool: dict[str, list[dict[str, Any]]] = {}
        for error in self.latest:
            by_tool.setdefault(error["tool_name"], []).append(error)
        return by_tool

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The latest errors of all tools, oldest first.

        Each has tool_name, error_type, error, outcome, timestamp (Unix seconds), call_id, trace_id and tags.
        """
        return [error_as_dict(call) for call in self._latest()]

    @property
    def total_calls(self) -> dict[str, int]:
        """Calls of every outcome, by tool; 0 for a tool that has not run."""
        return CallCounts({tool: stats.calls for tool, stats in self._by_tool().items()})

    def error_rate(self, tool_name: str) -> float:
        """Return failures and timeouts as a share (0..1) of the calls that succeeded, failed or timed out.

        Returns:
            0.0 for a tool that has not run.

        Raises:
            ConfigurationError: `tool_name` is not text; a function is not the name of its tool.
        """
        if not isinstance(tool_name, str):
            raise ConfigurationError(
                f"{tool_name!r} is not a tool's name", hint="give its text, such as error_rate('ocr')"
            )
        stats = self._stats_of(safe_name(tool_name))
        return stats.failures / stats.rated if stats.rated else 0.0

    def _repr_html_(self) -> str:
        """Return a table of the tools for a notebook, those that failed most first."""
        shown, _ = rank_rows(self._by_tool(), lambda stats: stats.failures, None)
        rows = [[name, f"{stats.failures:,}", f"{stats.rated:,}", _rate(stats)] for name, stats in shown]
        return html_table([["tool", "failed", "of", "rate"], *rows])

    def to_dict(self) -> dict[str, Any]:
        """Return the error rates, the calls and the latest errors by tool, as plain values."""
        calls = self.total_calls
        return {
            "error_rates": {tool: self.error_rate(tool) for tool in calls},
            "total_calls": dict(calls),
            "errors": self.errors,
        }

    def _text(self, limit: int | None = DEFAULT_ROWS, *, failed_only: bool = False) -> str:
        lines = ["Errors"]
        by_tool = {tool: stats for tool, stats in self._by_tool().items() if stats.failures or not failed_only}
        shown, more = rank_rows(by_tool, lambda stats: stats.failures, limit)
        if not by_tool:
            return "\n".join([*lines, "  no tool has failed" if failed_only else "  no tool has run"])
        rows = [["tool", "failed", "of", "rate"]]
        rows += [[escape(name), f"{tool.failures:,}", f"{tool.rated:,}", _rate(tool)] for name, tool in shown]
        lines += [*table(rows), *more]
        kinds: Counter[str] = Counter()
        for stats in by_tool.values():
            kinds.update(stats.errors)
        if not kinds:
            return "\n".join([*lines, "  no tool has failed"])
        names = [f"{escape(kind)} {count:,}" for kind, count in kinds.most_common(limit)]
        names += [f"{len(kinds) - len(names):,} more"] if len(kinds) > len(names) else []
        lines.append("  by type: " + ", ".join(names))
        lines.append("  latest:")
        latest = self._latest()[-LATEST:]
        columns = max((width(escape(call.tool_name)) for call in latest), default=0)
        for call in reversed(latest):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started_at))
            text = ": ".join(escape(part) for part in (call.error_type, call.error) if part)
            lines.append(f"    {when}  {pad(escape(call.tool_name), columns)}  {text}")
        return "\n".join(lines)

    def _latest(self) -> list[ToolCall]:
        calls: list[ToolCall] = []
        for source in self._sources():
            with source.lock:
                calls.extend(source.last_errors)
        calls.sort(key=lambda call: call._opened_at + call.duration_s)
        return calls[-(self._own.last_errors.maxlen or len(calls)) :]


def _rate(stats: ToolStats) -> str:
    return f"{stats.failures / stats.rated:.1%}" if stats.rated else ""


def error_as_dict(call: ToolCall) -> dict[str, Any]:
    """Return a failed call as an entry of `ErrorTracker.latest`."""
    return {
        "tool_name": call.tool_name,
        "error_type": call.error_type,
        "error": call.error,
        "outcome": call.outcome,
        "timestamp": call.started_at,
        "call_id": f"{call.call_id:016x}",
        "trace_id": f"{call.trace_id:032x}",
        "tags": dict(call.tags),
    }
