"""A stand-in for ToolWeaver's own monitor, answering from this library's figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolweaver_monitor import Monitor, current_call, flush, get_monitor
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.integrations.toolweaver._patches import instrument
from toolweaver_monitor.sinks._memory.metrics import summarize

_MOST_CALLED = 5
_RECENT = 100


class UsageMonitor:
    """Takes the place of ToolWeaver's `ToolUsageMonitor`: `Orchestrator(monitoring=UsageMonitor())`.

    Making one is `instrument("toolweaver")`: from then on every run of a tool is counted where it runs, so that what
    ToolWeaver reports here as well is not counted again. The answers have ToolWeaver's keys and this library's figures.

    Args:
        monitor: whose figures are shown. Default: those of the current `setup()`.
    """

    def __init__(self, monitor: Monitor | None = None) -> None:
        instrument()
        self._monitor = monitor

    def log_tool_call(
        self,
        tool_name: str,
        success: bool,
        latency: float,
        error: str | None = None,
        execution_id: str | None = None,
    ) -> None:
        """Do nothing: the call has been counted where it ran, with its cost, its outcome and the calls around it."""

    def log_search_query(self, query: str, num_results: int, latency: float, cache_hit: bool = False) -> None:
        """Do nothing: a search of tools is no run of a tool. Decorate what searches to see it."""

    def log_token_usage(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> None:
        """Record tokens on the call that is running.

        Args:
            input_tokens: tokens sent, without those read from the cache.
            output_tokens: tokens produced.
            cached_tokens: tokens read from the provider's cache.
        """
        current_call().record(
            input_tokens=input_tokens + cached_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens
        )

    def get_tool_metrics(self, tool_name: str) -> dict[str, Any]:
        """Return calls, error rate and latencies in seconds of one tool."""
        return _tool_metrics(tool_name, self._shown().metrics._stats_of(tool_name))

    def get_summary(self) -> dict[str, Any]:
        """Return totals, the tools called most often, tokens, and how often a cache answered."""
        metrics = self._shown().metrics
        total, by_tool = metrics._total(), metrics._by_tool()
        usage = total.usage
        hits, misses = usage.cache_hits, total.calls - usage.cache_hits
        rate = hits / total.calls if total.calls else 0
        most_called = sorted(by_tool.items(), key=lambda item: -item[1].calls)
        return {
            "overview": {
                "total_tool_calls": total.calls,
                "total_errors": total.failures,
                "overall_error_rate": total.failures / total.rated if total.rated else 0,
                "unique_tools": len(by_tool),
                "search_queries": 0,
                "cache_hit_rate": rate,
            },
            "top_tools": [{"tool": name, "calls": stats.calls} for name, stats in most_called[:_MOST_CALLED]],
            "token_usage": {
                "input": usage.input_tokens + usage.unsplit_tokens - usage.cached_tokens,
                "output": usage.output_tokens,
                "cached": usage.cached_tokens,
            },
            "cache_performance": {"hits": hits, "misses": misses, "hit_rate": rate},
        }

    def get_recent_errors(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return the last failed calls, oldest first."""
        failed = [operation for operation in self._shown().metrics.operations if operation["error"]]
        return [_logged(operation) for operation in failed[-limit:]]

    def export_metrics(self, filepath: str) -> None:
        """Write everything to a JSON file.

        Args:
            filepath: where to write it; what is there is replaced.
        """
        metrics = self._shown().metrics
        exported = {
            "exported_at": datetime.now(UTC).isoformat(),
            "summary": self.get_summary(),
            "tool_metrics": {name: _tool_metrics(name, stats) for name, stats in metrics._by_tool().items()},
            "recent_calls": [_logged(operation) for operation in metrics.operations[-_RECENT:]],
            "recent_searches": [],
        }
        Path(filepath).write_text(json.dumps(exported, indent=2))

    def flush(self) -> None:
        """Wait until the sinks have what has been counted; ToolWeaver calls this at the end of every plan."""
        flush()

    def _shown(self) -> Monitor:
        shown = self._monitor or get_monitor()
        if shown is None:
            raise ConfigurationError("there is nothing to show", hint="call setup() first")
        return shown


def _tool_metrics(name: str, stats: ToolStats) -> dict[str, Any]:
    if not stats.calls:
        return {"error": f"No metrics for tool '{name}'"}
    totals = summarize(stats)
    rate = totals["success_rate"]
    return {
        "tool_name": name,
        "total_calls": totals["count"],
        "errors": totals["failures"],
        "error_rate": 0 if rate is None else 1 - rate,
        "success_rate": 0 if rate is None else rate,
        "latency": {
            "min": stats.duration_min_s if stats.executed else None,
            "max": stats.duration_max_s if stats.executed else None,
            "avg": totals["avg_duration_s"],
            "p50": totals["p50_s"],
            "p95": totals["p95_s"],
            "p99": totals["p99_s"],
        },
    }


def _logged(operation: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": datetime.fromtimestamp(operation["timestamp"], UTC).isoformat(),
        "tool_name": operation["operation"],
        "success": operation["success"],
        "latency": operation["duration"],
        "error": operation["error"] or None,
        "execution_id": None,
    }
