"""What the commands on a store show of a group of calls, and of one call, as plain data."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from toolweaver_monitor._core.ids import mix, unmix
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.ledger import read_spent
from toolweaver_monitor._store.reader import StoredCall, StoreReader
from toolweaver_monitor._store.schema import OUTCOMES
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.metrics import summarize

COLUMNS_SHOWN = (
    "name", "calls", "failed", "success_rate", "avg_s", "p50_s", "p95_s", "p99_s", "tokens", "cost_usd", "unpriced",
    "retries", "cache_hits",
)  # fmt: skip


def read_groups(store: StoreReader, by: str, **period: Any) -> dict[str, ToolStats]:
    """Return the statistics of each tool, model, path, run or value of a tag, the most expensive first.

    Args:
        store: the store.
        by: as for `StoreReader.sums`.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.

    Raises:
        ConfigurationError: `by` is unknown.
    """
    groups: dict[str, ToolStats] = {}
    for sums in store.sums(by, **period):
        groups.setdefault(sums.name, ToolStats()).add(unpack(sums.values, OUTCOMES))
    return dict(sorted(groups.items(), key=lambda item: (-item[1].usage.cost_nanousd, -item[1].calls, item[0])))


def read_total(store: StoreReader, **period: Any) -> ToolStats:
    """Return the statistics of all calls."""
    total = ToolStats()
    total.add(*read_groups(store, "all", **period).values())
    return total


def label_of(by: str, name: str) -> str:
    """Return what stands in the place of a name that is empty: `(no customer)`."""
    return name or f"(no {by.removeprefix('tag:')})"


def group_values(by: str, name: str, stats: ToolStats) -> list[Any]:
    """Return what a group adds up to, in the order of `COLUMNS_SHOWN`."""
    totals = summarize(stats)
    usage = stats.usage
    return [
        label_of(by, name), stats.calls, stats.failures, totals["success_rate"], totals["avg_duration_s"],
        totals["p50_s"], totals["p95_s"], totals["p99_s"], usage.tokens, usage.cost_nanousd / NANO, usage.unpriced,
        usage.retries, usage.cache_hits,
    ]  # fmt: skip


def group_row(by: str, name: str, stats: ToolStats) -> dict[str, Any]:
    """Return what a group adds up to, by name."""
    return dict(zip(COLUMNS_SHOWN, group_values(by, name, stats), strict=True))


def error_entry(call: StoredCall) -> dict[str, Any]:
    """Return a failed call as an entry in a list of errors; `trace` names its trace."""
    return {
        "at": call.started_at + call.duration_s,
        "tool_name": call.tool_name,
        "path": call.path,
        "outcome": call.outcome,
        "error_type": call.error_type,
        "error": call.error,
        "tags": call.tags,
        "trace": trace_of(call),
    }


def trace_of(call: StoredCall) -> str:
    """Return the trace id of a call, as logs and spans have it."""
    return f"{mix(call.root):016x}{mix(~call.root):016x}"


def budget_rows(store: StoreReader) -> list[dict[str, Any]]:
    """Return what is spent of the budgets that the store's processes share, in dollars, tokens or calls."""
    return [
        {
            "budget": account.name,
            "per": account.per,
            "unit": account.unit,
            "spent": spent / NANO if account.unit == "usd" else spent,
            "last_rejected_at": refused_at,
        }
        for account, spent, refused_at in read_spent(store, time.time())
    ]


def call_entry(call: StoredCall) -> dict[str, Any]:
    """Return a call with what is known of it; `id` and `parent` are call ids, and `trace` names its trace."""
    found = msgspec.to_builtins(call)
    del found["own_tags"], found["root"]
    found["id"] = f"{mix(call.id):016x}"
    found["parent"] = None if call.parent is None else f"{mix(call.parent):016x}"
    found["trace"] = trace_of(call)
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def read_trace(store: StoreReader, trace: str) -> list[StoredCall]:
    """Return all calls of a trace, in the order in which they started.

    Args:
        store: the store.
        trace: a trace id, or the call id of its outermost call.

    Raises:
        ConfigurationError: it is no such id, or the store has no row of it.
    """
    if not re.fullmatch(r"[0-9a-f]{16}([0-9a-f]{16})?", trace):
        raise ConfigurationError(f"{trace!r} is no trace", hint="give the 32 hexadecimal digits of a call's trace")
    calls = store.trace(unmix(int(trace[:16], 16)))
    if not calls:
        hint = "take one from a call that this store lists; rows that are old are deleted"
        raise ConfigurationError(f"there is no call of the trace {trace}", hint=hint)
    return calls
