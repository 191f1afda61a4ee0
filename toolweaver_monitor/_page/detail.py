"""One tool, and one trace, from the calls that are kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._page.figures import LiveFigures, ended_at, usage_row
from toolweaver_monitor._page.history import PERIOD_S
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.totals import UsageTotals

CALLS_SHOWN = 10
"""Slowest, dearest and failed calls of a tool."""
MAX_SPANS = 500
"""Calls of one trace."""


def kept_calls(sources: Iterable[StatsAggregator]) -> list[ToolCall]:
    """Return the latest calls, as many as are kept, oldest first in each source."""
    calls: list[ToolCall] = []
    for source in sources:
        with source.lock:
            calls.extend(source.operations)
    return calls


def tool_detail(tool: str, figures: LiveFigures, kept: Sequence[ToolCall]) -> dict[str, Any]:
    """Return what the page shows of one tool beside its row.

    Returns:
        `strip` (see `History.strip`) and `period_s`; `slowest` and `failed` calls; `models`: usage by model; `kept`:
        among how many calls these were looked for.
    """
    calls = [call for call in kept if call.tool_name == tool]
    ran = [call for call in calls if call.outcome != "rejected"]
    models: dict[str, UsageTotals] = {}
    for call in calls:
        if call.model is not None:
            models.setdefault(call.model, UsageTotals()).add(UsageTotals.of(call))
    ranked = sorted(models.items(), key=lambda item: -item[1].cost_nanousd)
    return {
        "tool": tool,
        "kept": len(calls),
        "period_s": PERIOD_S,
        "strip": figures.history.strip(tool),
        "slowest": [call_row(call) for call in sorted(ran, key=lambda call: -call.duration_s)[:CALLS_SHOWN]],
        "failed": [call_row(call) for call in calls if call.outcome in ERROR_OUTCOMES][: -CALLS_SHOWN - 1 : -1],
        "models": [{"name": name, "calls": totals.calls, **usage_row(totals)} for name, totals in ranked],
    }


def trace(call_id: str, kept: Sequence[ToolCall]) -> dict[str, Any] | None:
    """Return the calls under the outermost call of one, in the order in which they started; None if it is not kept.

    Args:
        call_id: 16 hexadecimal digits.
        kept: the calls to look among.
    """
    chosen = next((call for call in reversed(kept) if f"{call.call_id:016x}" == call_id), None)
    if chosen is None:
        return None
    root = chosen._root_serial
    spans = sorted([call for call in kept if call._root_serial == root], key=lambda call: call._opened_at)
    return {
        "chosen": call_id,
        "left_out": max(0, len(spans) - MAX_SPANS),
        "calls": list(map(call_row, spans[:MAX_SPANS])),
    }


def call_row(call: ToolCall) -> dict[str, Any]:
    """Return a call as plain data."""
    parent = call.parent_id
    return {
        "id": f"{call.call_id:016x}",
        "parent": None if parent is None else f"{parent:016x}",
        "tool": call.tool_name,
        "started": round(call.started_at, 6),
        "at": ended_at(call),
        "duration": call.duration_s,
        "outcome": call.outcome,
        "error_type": call.error_type,
        "error": call.error,
        "tokens": call.tokens,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cached_tokens": call.cached_tokens,
        "cost": call.cost_usd,
        "cost_source": call.cost_source,
        "model": call.model,
        "provider": call.provider,
        "attempt": call.attempt,
        "cached": call.cached,
        "first_item": call.first_item_s,
        "items": call.items,
        "arguments": call.arguments,
        "result": call.result,
        "tags": dict(call.tags),
    }
