"""One row of the table, and one trace, from the calls that are kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.details import NO_DETAILS
from toolweaver_monitor._page.figures import LiveFigures, ended_at, usage_row
from toolweaver_monitor._page.groups import group_of
from toolweaver_monitor._page.history import PERIOD_S, History
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.totals import UsageTotals
from toolweaver_monitor._text.display import pluralize

CALLS_SHOWN = 10
"""Slowest, most expensive and failed calls of a tool."""
MAX_SPANS = 500
"""Calls of one trace."""
DETAILS_IN_FILE = 200
"""Tools whose details stand in a page that is one file, the busiest first."""
TRACES_IN_FILE = 500
SPANS_IN_FILE = 20_000
"""Calls in all traces of a page that is one file."""
MORE = (
    "cache_write_tokens", "cache_write_1h_tokens", "saved_nanousd", "audio_tokens", "rare_parts", "service_tier",
    "is_repeat",
)  # fmt: skip
"""What few calls have."""


def kept_calls(sources: Iterable[StatsAggregator]) -> list[ToolCall]:
    """Return the latest calls, as many as are kept, oldest first in each source."""
    calls: list[ToolCall] = []
    for source in sources:
        with source.lock:
            calls.extend(source.operations)
    return calls


def row_detail(by: str, name: str, figures: LiveFigures, kept: Sequence[ToolCall]) -> dict[str, Any]:
    """Return what the page shows of one row beside its figures.

    Args:
        by: what the rows are; see `groups.group_of`.
        name: the name of the row.
        figures: those of the program.
        kept: the calls to look among.

    Returns:
        `strip` (see `History.strip`) and `period_s`; `slowest` and `failed` calls; `models` and `tools`: usage by model
        and by tool; `among`: in which calls these were looked for.
    """
    group = group_of(by)
    calls = [call for call in kept if group(call) == name]
    ran = [call for call in calls if call.outcome != "rejected"]
    history = figures.history
    if by != "tool":
        history = History(group)
        history.add(calls)
    return {
        "tool": name,
        "among": f"the last {pluralize(len(calls), 'call')} that are kept in memory",
        "period_s": PERIOD_S,
        "strip": history.strip(name),
        "slowest": [call_row(call) for call in sorted(ran, key=lambda call: -call.duration_s)[:CALLS_SHOWN]],
        "failed": [call_row(call) for call in calls if call.outcome in ERROR_OUTCOMES][: -CALLS_SHOWN - 1 : -1],
        "models": [] if by == "model" else _usage_by("model", calls),
        "tools": [] if by == "tool" else _usage_by("tool", calls),
    }


def _usage_by(by: str, calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    group = group_of(by)
    found: dict[str, UsageTotals] = {}
    for call in calls:
        name = group(call)
        if name is not None:
            found.setdefault(name, UsageTotals()).add(UsageTotals.of(call))
    ranked = sorted(found.items(), key=lambda item: (-item[1].cost_nanousd, -item[1].calls))
    return [{"name": name, "calls": totals.calls, **usage_row(totals)} for name, totals in ranked]


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


def traces_in_file(
    details: Iterable[Mapping[str, Any]], roots: Mapping[str, int], trace_of: Callable[[str, int], Any]
) -> dict[str, Any]:
    """Return the traces of the calls that details list, by the id of the call.

    Args:
        details: as `row_detail` returns them.
        roots: of each call the number of its outermost call.
        trace_of: returns the trace of a call, which has this outermost call.

    Returns:
        Of calls of one trace the first has it, and the others have `of`, the id of the first. Not more than
        `TRACES_IN_FILE`, and of about `SPANS_IN_FILE` calls.
    """
    traces: dict[str, Any] = {}
    first: dict[int, str] = {}
    spans = 0
    for name in (call["id"] for detail in details for call in (*detail["failed"], *detail["slowest"])):
        root = roots[name]
        if root in first:
            traces.setdefault(name, {"of": first[root]})
        elif len(first) < TRACES_IN_FILE and spans < SPANS_IN_FILE:
            first[root] = name
            traces[name] = trace_of(name, root)
            spans += len(traces[name]["calls"])
    return traces


def call_row(call: ToolCall) -> dict[str, Any]:
    """Return a call as plain data. What few calls have is in `more`, under the names that a store gives it."""
    parent = call.parent_id
    details = call._details or NO_DETAILS
    return {
        "id": f"{call.call_id:016x}",
        "parent": None if parent is None else f"{parent:016x}",
        "trace_id": f"{call.trace_id:032x}",
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
        "tags": _tags(call),
        "more": {name: value for name in MORE if (value := getattr(details, name)) != getattr(NO_DETAILS, name)},
    }


def _tags(call: ToolCall) -> dict[str, Any]:
    """Return the tags of a call and of those around it, without secrets."""
    tags: dict[str, Any] = {}
    for node in reversed(list(call._node.upwards()) if call._node is not None else []):
        tags |= node.key.shown_tags()
    return tags
