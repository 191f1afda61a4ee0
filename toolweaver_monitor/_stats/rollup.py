"""Statistics as the columns of a store's roll-ups, and back."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec

from toolweaver_monitor._stats.tool_stats import Counts, ToolStats
from toolweaver_monitor._stats.totals import UsageTotals

LARGEST = 2**62
"""Sums beyond this, which only absurd values reach, would not fit SQLite's integers."""

_decode_buckets = msgspec.json.Decoder(dict[int, int]).decode
_decode_errors = msgspec.json.Decoder(dict[str, int]).decode
_ELSEWHERE = ("runs", "errors", "rejected", "retries_inside")
"""The totals that have no column under their name: those of outcomes, and what only a running program shows."""
_USAGE = tuple(name for name in UsageTotals.__slots__ if name not in _ELSEWHERE)
_read_usage = attrgetter(*_USAGE)


def _encode(counts: Mapping[Any, int]) -> str | None:
    return msgspec.json.encode(counts).decode() if counts else None


def pack(stats: ToolStats, outcomes: tuple[str, ...]) -> dict[str, Any]:
    """Return statistics as the values of a roll-up, by name.

    Args:
        stats: the statistics.
        outcomes: the names of all outcomes, each of which has a value.
    """
    usage = stats.usage
    values: tuple[int, ...] = _read_usage(usage)
    if max(values) > LARGEST:
        values = tuple(min(value, LARGEST) for value in values)
    packed: dict[str, Any] = dict(zip(_USAGE, values, strict=True))
    ended = stats.outcomes.get
    for outcome in outcomes:
        packed[outcome] = ended(outcome, 0)
    packed |= {
        "outermost": usage.runs,
        "items": min(stats.items, LARGEST),
        "duration_sum_s": stats.duration_sum_s,
        "duration_min_s": stats.duration_min_s if stats.buckets else None,
        "duration_max_s": stats.duration_max_s if stats.buckets else None,
        "first_item_sum_s": stats.first_item_sum_s,
        "durations": _encode(stats.buckets),
        "first_items": _encode(stats.first_item_buckets),
        "errors": _encode(stats.errors),
    }
    return packed


def unpack(packed: Mapping[str, Any], outcomes: tuple[str, ...]) -> ToolStats:
    """Return the statistics that a roll-up, or a sum of several, holds. The opposite of `pack`."""
    stats = ToolStats()
    usage = stats.usage
    for name in _USAGE:
        setattr(usage, name, packed[name])
    usage.runs = packed["outermost"]
    stats.outcomes = Counts({outcome: packed[outcome] for outcome in outcomes if packed[outcome]})
    usage.errors, usage.rejected = stats.failures, stats.outcomes["rejected"]
    stats.items = packed["items"]
    stats.duration_sum_s = packed["duration_sum_s"]
    stats.first_item_sum_s = packed["first_item_sum_s"]
    if packed["duration_max_s"] is not None:
        stats.duration_min_s, stats.duration_max_s = packed["duration_min_s"], packed["duration_max_s"]
    if packed["durations"]:
        stats.buckets = Counts(_decode_buckets(packed["durations"]))
    if packed["first_items"]:
        stats.first_item_buckets = Counts(_decode_buckets(packed["first_items"]))
    if packed["errors"]:
        stats.errors = Counts(_decode_errors(packed["errors"]))
    return stats
