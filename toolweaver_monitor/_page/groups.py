"""The calls of a running program by model, or by the value of a tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.context_tree import Node
from toolweaver_monitor._page.figures import error_row, tool_row, usage_row
from toolweaver_monitor._page.history import History
from toolweaver_monitor._stats.aggregator import StatsAggregator, tag_text
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import TotalsByName

MAX_GROUPS = 500
"""Rows that are shown, the most expensive first; of more it is said how many are left out."""


def facets(sources: Sequence[StatsAggregator]) -> list[str]:
    """Return what calls can be grouped by: `tool`, `model` if one is known, and `tag:NAME`."""
    keys: set[str] = set()
    models = False
    for source in sources:
        with source.lock:
            keys |= source.tag_keys()
            models = models or bool(source.by_model)
    return ["tool", *(["model"] if models else []), *sorted(f"tag:{key}" for key in keys)]


def group_of(by: str) -> Callable[[ToolCall], str | None]:
    """Return what tells the group of a call: its tool, its model, or the text of a tag; None for no group."""
    if by == "tool":
        return lambda call: call.tool_name
    if by == "model":
        return lambda call: call.model
    key = by.removeprefix("tag:")
    texts: dict[Node | None, str | None] = {}

    def of_tag(call: ToolCall) -> str | None:
        node = call._node
        if node not in texts:
            texts[node] = tag_text(key, node.tags[key]) if node is not None and key in node.tags else None
        return texts[node]

    return of_tag


def group_rows(
    by: str, sources: Sequence[StatsAggregator], kept: Sequence[ToolCall]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return a row for each group, as `tool_row` with its last error and history, and what is to be said of them.

    Calls, failures, tokens and money are of all calls. Times and history are of the calls that are kept; so is the
    error rate, which is unknown if there were more.

    Returns:
        The rows by name; and `left_out`, how many groups have no row, and `of`, the number of calls that the times are
        of if that is not all.
    """
    exact = TotalsByName()
    counted = 0
    for source in sources:
        with source.lock:
            exact.merge(source.by_model if by == "model" else source.by_tag(by.removeprefix("tag:")))
            counted += sum([stats.usage.calls for stats in source.by_node.values()])
    group = group_of(by)
    calls: dict[str, list[ToolCall]] = {}
    for call in kept:
        name = group(call)
        if name is not None:
            calls.setdefault(name, []).append(call)
    shown = sorted(exact.items(), key=lambda item: (-item[1].cost_nanousd, -item[1].calls))[:MAX_GROUPS]
    history = History(group)
    history.add(kept)
    rows = {}
    for name, usage in shown:
        stats, own = ToolStats(), calls.get(name, [])
        if own:
            stats.count(own, None, runs=0)
        failed = next((call for call in reversed(own) if call.outcome in ERROR_OUTCOMES), None)
        row = tool_row(name, stats) | usage_row(usage) | {"calls": usage.calls, "failed": usage.errors}
        row["rated"] = stats.rated if len(own) == usage.calls else None
        rows[name] = {**row, "last": failed and error_row(failed), "history": history.of(name, 0)}
    of = len(kept) if counted > len(kept) else None
    return rows, {"by": by, "left_out": len(exact) - len(rows), "of": of}
