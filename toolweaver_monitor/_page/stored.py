"""The figures of a store, in the form in which the page shows them: live, or as one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core.context_tree import ContextTree, Node, tool_key
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.detail import DETAILS_IN_FILE
from toolweaver_monitor._page.figures import ERRORS_SHOWN_ALONE, SUMMED, error_types, frames, tool_row
from toolweaver_monitor._page.history import PERIODS, cells, over_time
from toolweaver_monitor._page.stored_calls import (
    Period,
    detail,
    details_in_file,
    error_row,
    group_of,
    latest_calls,
    traces_of,
)
from toolweaver_monitor._stats.path_tree import PathTree
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.reader import ERRORS, StoredCall, StoreReader
from toolweaver_monitor._store.schema import DAY, HOUR, MINUTE, OUTCOMES

ROWS_SHOWN = 1_000
"""Rows of the table that are neither tools nor few, such as customers: the most expensive."""
_LENGTHS_S = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY)
"""Seconds of one bar of a figure over time. A store has no shorter sums than hours of what is older than six hours, nor
shorter ones than days of what is older than a month."""


def live_figures(store: StoreReader, by: str, **period: Any) -> dict[str, Any]:
    """Return what a page shows of a period while programs go on writing.

    Args:
        store: the store.
        by: what the rows are, as for `StoreReader.sums`.
        **period: `since`, `until` and `run`, as there.
    """
    failed = latest_calls(store, outcomes=ERRORS, **period)
    return _figures(store, by, failed, period)


def stored_figures(store: StoreReader, **period: Any) -> dict[str, Any]:
    """Return what a store holds as `Feed.whole` returns what a program does, with details and traces."""
    calls = latest_calls(store, **period)
    figures = _figures(store, "tool", [call for call in calls if call.outcome in ERRORS], period)
    length_s, _, ended = _span(store, period)
    strips = {name: strip(found) for name, found in _over_time(store, "tool", length_s, period).items()}
    busiest = sorted(figures["tools"], key=lambda row: -row["calls"])[:DETAILS_IN_FILE]
    details = details_in_file([row["name"] for row in busiest], calls, strips, length_s)
    about = {"name": store.path.name, "closed": True, **figures["stored"]}
    live: dict[str, Any] = {"active": [], "budgets": [], "problems": []}
    traces = traces_of(details.values(), calls)
    return {
        "v": "", "full": True, "now": round(ended, 3), **figures, **live, "about": about, "details": details,
        "traces": traces,
    }  # fmt: skip


def live_detail(store: StoreReader, by: str, name: str, **period: Any) -> dict[str, Any]:
    """Return what a page shows of one row beside its figures; see `detail.row_detail`. Empty if there is none.

    Args:
        store: the store.
        by: what the rows are.
        name: the name of the row.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.
    """
    length_s, _, _ = _span(store, period)
    over = _over_time(store, by, length_s, period).get(name, [])
    if not over:
        return {}
    own = name.rpartition("run ")[2] if by == "run" else name
    return {**detail(store, by, own, period), "tool": name, "period_s": length_s, "strip": strip(over)}


def _figures(store: StoreReader, by: str, failed: Sequence[StoredCall], period: Period) -> dict[str, Any]:
    length_s, began, _ = _span(store, period)
    total, times = ToolStats(), []
    for sums in store.sums("all", every=length_s, **period):
        stats = unpack(sums.values, OUTCOMES)
        total.add(stats)
        usage = stats.usage
        times.append(
            over_time((sums.at or 0) // length_s, stats.calls, stats.failures, usage.cost_nanousd, stats.buckets)
        )
    summed = {name: value for name, value in tool_row("", total).items() if name in SUMMED or name == "cost"}
    by_tool = _sums_by("tool", store, period)
    groups = by_tool if by == "tool" else _sums_by(by, store, period)
    rows = _rows(store, by, groups, failed, length_s, period)
    return {
        "period_s": length_s,
        "stored": {"since": round(began, 3), "runs": len(_runs(store, period))},
        "facets": ["tool", *(["model"] if store.models() else []), "run", *(f"tag:{name}" for name in store.tags())],
        "total": summed,
        "over_time": times,
        "tools": rows,
        "groups": {"by": by, "left_out": len(groups) - len(rows), "of": None},
        "errors": error_types({tool: stats.errors for tool, stats in by_tool.items()}, failed[::-1]),
        "latest": [error_row(call) for call in failed[:ERRORS_SHOWN_ALONE]],
        "unpriced": [[tool, None, stats.usage.unpriced] for tool, stats in by_tool.items() if stats.usage.unpriced],
        "tree": frames(read_tree(store, **period).root),
    }


def _runs(store: StoreReader, period: Period) -> list[dict[str, Any]]:
    """Return the runs of which a period may have calls."""
    since, until = period.get("since") or 0.0, period.get("until") or float("inf")
    return [
        run
        for run in store.runs()
        if period.get("run") in (None, run["run"]) and run["last_at"] >= since and run["started_at"] < until
    ]


def _span(store: StoreReader, period: Period) -> tuple[int, float, float]:
    """Return the seconds of one bar of a figure, and when the period began and ended."""
    runs = _runs(store, period)
    began = max(min((run["started_at"] for run in runs), default=0.0), period.get("since") or 0.0)
    ended = min(max((run["last_at"] for run in runs), default=0.0), period.get("until") or float("inf"))
    span = ended - began
    least = MINUTE if span <= 6 * HOUR else HOUR if span <= 30 * DAY else DAY
    length_s = next((each for each in _LENGTHS_S if each >= least and span <= each * PERIODS), _LENGTHS_S[-1])
    return length_s, began, ended


def _namer(by: str, store: StoreReader) -> Callable[[str], str]:
    """Return what names a group for people."""
    if by != "run":
        return lambda name: name or "(none)"
    names = {str(run["run"]): f"{run['program']} {run['pid']}, run {run['run']}" for run in store.runs()}
    return lambda name: names.get(name, f"run {name}")


def _sums_by(by: str, store: StoreReader, period: Period) -> dict[str, ToolStats]:
    found: dict[str, ToolStats] = {}
    name_of = _namer(by, store)
    for sums in store.sums(by, **period):
        found.setdefault(name_of(sums.name), ToolStats()).add(unpack(sums.values, OUTCOMES))
    return found


def _over_time(store: StoreReader, by: str, length_s: int, period: Period) -> dict[str, list[tuple[int, ToolStats]]]:
    """Return the statistics of each group, period by period."""
    found: dict[str, list[tuple[int, ToolStats]]] = {}
    name_of = _namer(by, store)
    for sums in store.sums(by, every=length_s, **period):
        found.setdefault(name_of(sums.name), []).append(((sums.at or 0) // length_s, unpack(sums.values, OUTCOMES)))
    return found


def strip(found: Iterable[tuple[int, ToolStats]]) -> list[list[int]]:
    """Return the latency of one group over time, as `History.strip` does."""
    return [cell for at, stats in found for cell in cells(at, stats.buckets)]


def _rows(
    store: StoreReader,
    by: str,
    groups: Mapping[str, ToolStats],
    failed: Sequence[StoredCall],
    length_s: int,
    period: Period,
) -> list[dict[str, Any]]:
    times = _over_time(store, by, length_s, period)
    name_of = _namer(by, store)
    last = {name_of(group): error_row(call) for call in reversed(failed) if (group := group_of(call, by)) is not None}
    shown = sorted(groups.items(), key=lambda item: (-item[1].usage.cost_nanousd, -item[1].calls))
    return [
        {
            **tool_row(name, stats),
            "last": last.get(name),
            "history": [
                [at, each.calls, each.failures, each.usage.cost_nanousd / NANO] for at, each in times.get(name, [])
            ],
        }
        for name, stats in (shown if by == "tool" else shown[:ROWS_SHOWN])
    ]


def read_tree(store: StoreReader, **period: Any) -> PathTree:
    """Return the calling context of a store's calls.

    Args:
        store: the store.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.
    """
    sums = {each.series: each for each in store.sums("path", **period)}
    names = store.paths()
    root = ContextTree().root
    nodes: dict[int, Node] = {0: root}

    def place(series: int) -> Node:
        waiting: list[int] = []
        while series not in nodes:
            waiting.append(series)
            series = names[series][0]
        for each in reversed(waiting):
            parent, name = names[each]
            nodes[each] = nodes[parent].child(tool_key(name))
        return nodes[waiting[0] if waiting else series]

    found: dict[Node, ToolStats] = {}
    for series, each in sums.items():
        if series is not None:
            found.setdefault(place(series), ToolStats()).add(unpack(each.values, OUTCOMES))
    tree = PathTree()
    tree.add(found)
    return tree
