"""What failed, how often, and how did it fail last? The in-memory errors."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.display import DEFAULT_ROWS, escape, pad, rank_rows, table, width
from toolweaver_monitor._text.names import safe_name
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink, make_call, validate_max_operations

LATEST = 10
"""Errors shown one by one in a report."""


class ErrorTracker(InMemorySink):
    """Error rates, error types and the latest errors; also works on its own, without `setup()`.

    Args:
        max_errors: how many of the latest errors `errors` keeps; rates and counts are all-time.

    Raises:
        ConfigurationError: `max_errors` is no whole number from 1 up.
    """

    name = "errors"

    def __init__(self, max_errors: int = 1_000) -> None:
        super().__init__(max_operations=validate_max_operations(max_errors, "max_errors"))

    def record_call(self, tool_name: str, success: bool, error: str | BaseException = "") -> None:
        """Count one call by hand.

        Never raises; what makes no sense is left out and counted, as in `MetricsCollector.record`.

        Args:
            tool_name: the tool; anything that is not a name becomes `unnamed`.
            success: whether it succeeded.
            error: what went wrong, if not: its text, or the exception itself; secrets are taken out.
        """
        self._own.record(make_call(tool_name, success=success, error=error))

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The latest errors, oldest first: tool_name, error_type, error, outcome, timestamp (Unix seconds)."""
        return [as_error(call) for call in self._latest()]

    @property
    def total_calls(self) -> dict[str, int]:
        """Calls by tool, of every outcome."""
        return {tool: tally.calls for tool, tally in self._by_tool().items()}

    def error_rate(self, tool_name: str) -> float:
        """Failures and timeouts as a share (0..1) of the calls that were not cancelled, rejected or abandoned.

        0.0 for a tool never seen.

        Raises:
            ConfigurationError: that is no name; a function is not the name of its tool.
        """
        if not isinstance(tool_name, str):
            raise ConfigurationError(f"{tool_name!r} is not a tool's name; give its text, such as error_rate('ocr')")
        tally = self._stats_of(safe_name(tool_name))
        return tally.failures / tally.judged if tally.judged else 0.0

    def report(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Print error rates, error types and the latest errors with when they were.

        Args:
            limit: how many tools and types to show, those that failed most; None for all.

        Returns:
            What is printed.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self.text(limit)
        print(text)
        return text

    def text(self, limit: int | None = DEFAULT_ROWS) -> str:
        """What `report` prints."""
        lines = ["Errors"]
        failed = {tool: tally for tool, tally in self._by_tool().items() if tally.failures}
        shown, more = rank_rows(failed, lambda tally: tally.failures, limit)
        if not failed:
            return "\n".join([*lines, "  no tool has failed"])
        rows = [["tool", "failed", "of", "rate"]]
        rows += [[escape(n), f"{t.failures:,}", f"{t.judged:,}", f"{t.failures / t.judged:.1%}"] for n, t in shown]
        lines += [*table(rows), *more]
        kinds: Counter[str] = Counter()
        for tally in failed.values():
            kinds.update(tally.errors)
        said = [f"{escape(kind)} {count:,}" for kind, count in kinds.most_common(limit)]
        said += [f"{len(kinds) - len(said):,} more"] if len(kinds) > len(said) else []
        lines.append("  by type: " + ", ".join(said))
        lines.append("  latest:")
        latest = self._latest()[-LATEST:]
        columns = max((width(escape(call.tool_name)) for call in latest), default=0)
        for call in reversed(latest):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started_at))
            what = ": ".join(escape(part) for part in (call.error_type, call.error) if part)
            lines.append(f"    {when}  {pad(escape(call.tool_name), columns)}  {what}")
        return "\n".join(lines)

    def _latest(self) -> list[ToolCall]:
        calls: list[ToolCall] = []
        for source in self._sources():
            with source.lock:
                calls.extend(source.last_errors)
        calls.sort(key=lambda call: call._opened_at + call.duration_s)
        return calls[-(self._own.last_errors.maxlen or len(calls)) :]


def as_error(call: ToolCall) -> dict[str, Any]:
    """A failed call as an entry of `errors`."""
    return {
        "tool_name": call.tool_name,
        "error_type": call.error_type,
        "error": call.error,
        "outcome": call.outcome,
        "timestamp": call.started_at,
    }
