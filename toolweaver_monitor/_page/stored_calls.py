"""Single calls of a store, in the form in which the page shows them: details of a row, and traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core.ids import mix, unmix
from toolweaver_monitor._page.detail import CALLS_SHOWN, MAX_SPANS, MORE, traces_in_file
from toolweaver_monitor._page.figures import ended_at
from toolweaver_monitor._store.reader import ERRORS, StoredCall, StoreReader

Period = Mapping[str, Any]
"""`since`, `until` and `run`, as for `StoreReader.sums`; each may be missing."""

LATEST_ROWS = 20_000
"""The latest calls of the store, among which single ones are looked for."""
LATEST_OF_ROW = 2_000
"""The latest calls of a row of the table that are grouped by model or by tool."""


def latest_calls(store: StoreReader, **chosen: Any) -> list[StoredCall]:
    """Return those of the latest calls that `StoreReader.calls` would return, the newest first."""
    return store.calls(after=-LATEST_ROWS, **{"limit": LATEST_ROWS, **chosen})


def group_of(call: StoredCall, by: str) -> str | None:
    """Return the name of the group that a call belongs to, as `StoreReader.sums` has it; None for no group."""
    if by.startswith("tag:"):
        value = call.tags.get(by.removeprefix("tag:"))
        return None if value is None else str(value)
    return str(call.run) if by == "run" else call.model if by == "model" else call.tool_name


def detail(store: StoreReader, by: str, name: str, period: Period) -> dict[str, Any]:
    """Return what the page shows of one row beside its figures; see `detail.row_detail`.

    Args:
        store: the store.
        by: what the rows are.
        name: the name of the row, as `group_of` returns it.
        period: of which calls.
    """
    chosen: dict[str, Any] = dict(period)
    if by.startswith("tag:"):
        chosen["tags"] = {by.removeprefix("tag:"): name}
    else:
        chosen[by] = int(name) if by == "run" else name
    calls = latest_calls(store, **{**chosen, "limit": LATEST_OF_ROW})
    return {
        "among": f"the latest {LATEST_ROWS:,} calls of the store",
        "slowest": list(map(call_row, latest_calls(store, **chosen, order="slowest", limit=CALLS_SHOWN))),
        "failed": list(map(call_row, latest_calls(store, **chosen, outcomes=ERRORS, limit=CALLS_SHOWN))),
        "models": [] if by == "model" else _usage_by("model", calls),
        "tools": [] if by == "tool" else _usage_by("tool", calls),
    }


def _usage_by(by: str, calls: Iterable[StoredCall]) -> list[dict[str, Any]]:
    found: dict[str, list[StoredCall]] = {}
    for call in calls:
        name = group_of(call, by)
        if name is not None:
            found.setdefault(name, []).append(call)
    rows = []
    for name, group in found.items():
        costs = [call.cost_usd for call in group if call.cost_usd is not None]
        rows.append(
            {
                "name": name,
                "calls": len(group),
                "tokens": sum([call.tokens for call in group]),
                "cost": sum(costs) if costs else None,
                "unpriced": len([call for call in group if call.cost_usd is None and (call.tokens or call.model)]),
            }
        )
    return sorted(rows, key=lambda row: (-(row["cost"] or 0), -row["calls"]))


def details_in_file(
    tools: Iterable[str], calls: Sequence[StoredCall], strips: Mapping[str, list[list[int]]], length_s: int
) -> dict[str, Any]:
    """Return the details of several tools, from calls that have been read."""
    by_tool: dict[str, list[StoredCall]] = {}
    for call in calls:
        by_tool.setdefault(call.tool_name, []).append(call)
    details = {}
    for tool in tools:
        own = by_tool.get(tool, [])
        slowest = sorted(own, key=lambda call: -call.duration_s)[:CALLS_SHOWN]
        failed = [call for call in own if call.outcome in ERRORS][:CALLS_SHOWN]
        details[tool] = {
            "among": f"the latest {LATEST_ROWS:,} calls of the store",
            "period_s": length_s,
            "strip": strips.get(tool, []),
            "slowest": list(map(call_row, slowest)),
            "failed": list(map(call_row, failed)),
            "models": _usage_by("model", own),
            "tools": [],
        }
    return details


def traces_of(details: Iterable[Mapping[str, Any]], calls: Sequence[StoredCall]) -> dict[str, Any]:
    """Return the traces of the calls that the details list; see `detail.traces_in_file`."""
    by_root: dict[int, list[StoredCall]] = {}
    roots: dict[str, int] = {}
    for call in calls:
        by_root.setdefault(call.root, []).append(call)
        roots[call_id(call)] = call.root
    return traces_in_file(details, roots, lambda name, root: _trace(name, by_root[root]))


def trace(store: StoreReader, chosen: str) -> dict[str, Any]:
    """Return the calls under the outermost call of one, as `detail.trace` does; empty if it is not found.

    Args:
        store: the store.
        chosen: the id of the call, 16 hexadecimal digits.
    """
    query = "SELECT root FROM call_rows WHERE id = ? AND seq > ?"
    try:
        number = unmix(int(chosen, 16) % 2**64)
        roots = [root for of in store.stores for (root,) in of.rows(query, (number, of.last_seq() - LATEST_ROWS))]
    except (ValueError, OverflowError):  # no id
        return {}
    return _trace(chosen, store.trace(roots[0])) if roots else {}


def _trace(chosen: str, calls: Sequence[StoredCall]) -> dict[str, Any]:
    spans = sorted(calls, key=lambda call: call.started_at)
    left_out = max(0, len(spans) - MAX_SPANS)
    return {"chosen": chosen, "left_out": left_out, "calls": list(map(call_row, spans[:MAX_SPANS]))}


def call_id(call: StoredCall) -> str:
    """Return the `call_id` of a call as text."""
    return f"{mix(call.id):016x}"


def error_row(call: StoredCall) -> dict[str, Any]:
    """Return a failed call as plain data."""
    ends = {"type": call.error_type, "text": call.error, "outcome": call.outcome, "at": ended_at(call)}
    return {"tool": call.tool_name, "id": call_id(call), **ends}


def call_row(call: StoredCall) -> dict[str, Any]:
    """Return a call as `detail.call_row` does."""
    return {
        "id": call_id(call),
        "parent": None if call.parent is None else f"{mix(call.parent):016x}",
        "trace_id": f"{mix(call.root) << 64 | mix(~call.root):032x}",
        "tool": call.tool_name,
        "started": round(call.started_at, 6),
        "at": ended_at(call),
        "duration": call.duration_s,
        "cost": call.cost_usd,
        "first_item": call.first_item_s,
        **{name: getattr(call, name) for name in _SAME},
        "more": {name: value for name, value in call.more.items() if name in MORE},
    }


_SAME = (
    "outcome", "error_type", "error", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_source",
    "model", "provider", "attempt", "cached", "items", "arguments", "result", "tags",
)  # fmt: skip
