"""The figures of a store, in the form in which a page that is one file shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core.ids import mix, unmix
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.detail import CALLS_SHOWN, MAX_SPANS
from toolweaver_monitor._page.feed import DETAILS_IN_FILE, TRACES_IN_FILE
from toolweaver_monitor._page.figures import ERRORS_SHOWN_ALONE, SUMMED, frames, tool_row
from toolweaver_monitor._page.history import PER_CELL, PERIODS
from toolweaver_monitor._stats.path_tree import PathStats
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.reader import ERRORS, StoredCall, StoreReader
from toolweaver_monitor._store.schema import DAY, HOUR, MINUTE, OUTCOMES

LATEST_ROWS = 20_000
"""The latest calls of the store, among which single ones are looked for."""
_LENGTHS_S = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY)


def stored_figures(store: StoreReader, root: PathStats, **period: Any) -> dict[str, Any]:
    """Return what a store holds as `Feed.whole` returns what a program does.

    Args:
        store: the store.
        root: the tree of its paths.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.
    """
    runs = [run for run in store.runs() if period.get("run") in (None, run["run"])]
    began = max(min((run["started_at"] for run in runs), default=0.0), period.get("since") or 0.0)
    ended = min(max((run["last_at"] for run in runs), default=0.0), period.get("until") or float("inf"))
    length_s = next((each for each in _LENGTHS_S if ended - began <= each * (PERIODS - 1)), _LENGTHS_S[-1])
    by_tool = {sums.name: unpack(sums.values, OUTCOMES) for sums in store.sums("tool", **period)}
    history, strips = _over_time(store, length_s, period)
    calls = store.calls(limit=LATEST_ROWS, **period)
    failed = [call for call in calls if call.outcome in ERRORS]
    last = {call.tool_name: _error(call) for call in reversed(failed)}
    rows = [
        {**tool_row(tool, stats), "last": last.get(tool), "history": history.get(tool, [])}
        for tool, stats in by_tool.items()
    ]
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in SUMMED}
    total["cost"] = total["cost_nanousd"] / NANO if total["costed"] else None
    busiest = sorted(rows, key=lambda row: -row["calls"])[:DETAILS_IN_FILE]
    details = _details([row["name"] for row in busiest], calls, strips, length_s)
    return {
        "v": "",
        "full": True,
        "now": round(ended, 3),
        "period_s": length_s,
        "about": {"name": store.path.name, "since": round(began, 3), "closed": True, "runs": len(runs)},
        "total": total,
        "tools": rows,
        "active": [],
        "budgets": [],
        "problems": [],
        "errors": _error_types(by_tool, failed),
        "latest": [_error(call) for call in failed[:ERRORS_SHOWN_ALONE]],
        "unpriced": [[row["name"], None, row["unpriced"]] for row in rows if row["unpriced"]],
        "tree": frames(root),
        "details": details,
        "traces": _traces(details, calls),
    }


def stored_detail(store: StoreReader, tool: str, length_s: int, **period: Any) -> dict[str, Any] | None:
    """Return what the page shows of one tool beside its row; None if the store has no call of it.

    Args:
        store: the store.
        tool: its name.
        length_s: seconds of a period of the latency strip.
        **period: as for `stored_figures`.
    """
    _, strips = _over_time(store, length_s, {**period, "tool": tool})
    if not strips:
        return None
    calls = store.calls(tool=tool, limit=LATEST_ROWS, **period)
    return _details([tool], calls, strips, length_s)[tool]


def stored_trace(store: StoreReader, call_id: str) -> dict[str, Any] | None:
    """Return the calls under the outermost call of one of the latest; None if it is not among them.

    Args:
        store: the store.
        call_id: 16 hexadecimal digits.
    """
    query = "SELECT root FROM call_rows WHERE id = ? AND seq > ?"
    try:
        wanted = (unmix(int(call_id, 16) % 2**64), store.last_seq() - LATEST_ROWS)
        roots = [root for (root,) in store.rows(query, wanted)]
    except (ValueError, OverflowError):  # no id
        return None
    return _trace(call_id, store.trace(roots[0])) if roots else None


def _trace(call_id: str, spans: Sequence[StoredCall]) -> dict[str, Any]:
    left_out = max(0, len(spans) - MAX_SPANS)
    return {"chosen": call_id, "left_out": left_out, "calls": list(map(_call, spans[:MAX_SPANS]))}


def _over_time(
    store: StoreReader, length_s: int, period: Mapping[str, Any]
) -> tuple[dict[str, list[list[Any]]], dict[str, list[list[int]]]]:
    """Return the history and the latency strip of each tool."""
    history: dict[str, list[list[Any]]] = {}
    strips: dict[str, list[list[int]]] = {}
    for sums in store.sums("tool", every=length_s, **period):
        stats = unpack(sums.values, OUTCOMES)
        at = (sums.at or 0) // length_s
        history.setdefault(sums.name, []).append([at, stats.calls, stats.failures, stats.usage.cost_nanousd / NANO])
        cells: Counter[int] = Counter()
        for bucket, count in stats.buckets.items():
            cells[bucket // PER_CELL] += count
        strips.setdefault(sums.name, []).extend([at, cell, count] for cell, count in sorted(cells.items()))
    return history, strips


def _error_types(by_tool: Mapping[str, ToolStats], failed: Sequence[StoredCall]) -> list[dict[str, Any]]:
    """Return the types of errors, the most frequent first; see `LiveFigures.error_types`."""
    counts: Counter[str] = Counter()
    for stats in by_tool.values():
        counts.update(stats.errors)
    kept: dict[str, list[StoredCall]] = {}
    for call in failed:
        kept.setdefault(call.error_type or "", []).append(call)
    found = []
    for kind, count in counts.most_common():
        calls = kept.get(kind, [])
        found.append(
            {
                "type": kind,
                "count": count,
                "tools": [tool for tool, stats in by_tool.items() if kind in stats.errors],
                "first": _ended_at(calls[-1]) if len(calls) == count else None,
                "last": _ended_at(calls[0]) if calls else None,
                "text": calls[0].error if calls else "",
            }
        )
    return found


def _details(
    tools: Iterable[str], calls: Sequence[StoredCall], strips: Mapping[str, list[list[int]]], length_s: int
) -> dict[str, dict[str, Any]]:
    by_tool: dict[str, list[StoredCall]] = {}
    for call in calls:
        by_tool.setdefault(call.tool_name, []).append(call)
    details: dict[str, dict[str, Any]] = {}
    for tool in tools:
        kept = by_tool.get(tool, [])
        slowest = sorted(kept, key=lambda call: -call.duration_s)[:CALLS_SHOWN]
        failed = [call for call in kept if call.outcome in ERRORS][:CALLS_SHOWN]
        details[tool] = {
            "tool": tool,
            "kept": len(kept),
            "period_s": length_s,
            "strip": strips.get(tool, []),
            "slowest": list(map(_call, slowest)),
            "failed": list(map(_call, failed)),
            "models": [],
        }
    return details


def _traces(details: Mapping[str, Any], calls: Sequence[StoredCall]) -> dict[str, Any]:
    """Return the traces of the calls that the details list."""
    by_root: dict[int, list[StoredCall]] = {}
    roots: dict[str, int] = {}
    for call in calls:
        by_root.setdefault(call.root, []).append(call)
        roots[f"{mix(call.id):016x}"] = call.root
    traces: dict[str, Any] = {}
    for detail in details.values():
        for shown in (*detail["failed"], *detail["slowest"]):
            if len(traces) < TRACES_IN_FILE:
                spans = sorted(by_root[roots[shown["id"]]], key=lambda call: call.started_at)
                traces[shown["id"]] = _trace(shown["id"], spans)
    return traces


def _ended_at(call: StoredCall) -> float:
    return round(call.started_at + call.duration_s, 3)


def _error(call: StoredCall) -> dict[str, Any]:
    ends = {"type": call.error_type, "text": call.error, "outcome": call.outcome, "at": _ended_at(call)}
    return {"tool": call.tool_name, "id": f"{mix(call.id):016x}", **ends}


def _call(call: StoredCall) -> dict[str, Any]:
    """Return a call as `detail.call_row` does."""
    return {
        "id": f"{mix(call.id):016x}",
        "parent": None if call.parent is None else f"{mix(call.parent):016x}",
        "tool": call.tool_name,
        "started": round(call.started_at, 6),
        "at": _ended_at(call),
        "duration": call.duration_s,
        "cost": call.cost_usd,
        "first_item": call.first_item_s,
        **{name: getattr(call, name) for name in _SAME},
    }


_SAME = (
    "outcome", "error_type", "error", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_source",
    "model", "provider", "attempt", "cached", "items", "arguments", "result", "tags",
)  # fmt: skip
