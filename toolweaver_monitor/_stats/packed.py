"""Statistics in a form that another process can read, and add to its own.

Sums of seconds are rounded to 2**-20 s, about a microsecond. So rounded they add up without any further rounding, in
every order, as far as 2**33 s: a sum over processes never falls because a process has ended.
"""

from __future__ import annotations

import msgspec

from toolweaver_monitor._stats.tool_stats import MAX_ERROR_TYPES, Counts, ToolStats
from toolweaver_monitor._stats.totals import UsageTotals
from toolweaver_monitor._text.names import OVERFLOW

PARTS_OF_A_SECOND = 2.0**20
LARGEST_COUNT = 2**62
"""Beyond this, which only absurd values reach, a sum would not fit the format."""
_USAGE_FIELDS = UsageTotals.__slots__


class PackedStats(msgspec.Struct, array_like=True, gc=False):
    """The statistics of a group of calls, as `ToolStats`."""

    usage: list[int]
    outcomes: dict[str, int]
    duration_sum_s: float
    duration_min_s: float
    duration_max_s: float
    buckets: dict[int, int]
    first_item_sum_s: float
    first_item_buckets: dict[int, int]
    items: int
    errors: dict[str, int]


def round_s(seconds: float) -> float:
    """Return seconds rounded so that sums of them are exact."""
    return round(seconds * PARTS_OF_A_SECOND) / PARTS_OF_A_SECOND


def pack_stats(stats: ToolStats) -> PackedStats:
    """Return statistics in their packed form."""
    return PackedStats(
        usage=[min(getattr(stats.usage, name), LARGEST_COUNT) for name in _USAGE_FIELDS],
        outcomes=stats.outcomes,
        duration_sum_s=round_s(stats.duration_sum_s),
        duration_min_s=stats.duration_min_s,
        duration_max_s=stats.duration_max_s,
        buckets=stats.buckets,
        first_item_sum_s=round_s(stats.first_item_sum_s),
        first_item_buckets=stats.first_item_buckets,
        items=min(stats.items, LARGEST_COUNT),
        errors=stats.errors,
    )


def unpack_stats(packed: PackedStats) -> ToolStats:
    """Return statistics of their own. The opposite of `pack_stats`."""
    stats = ToolStats()
    for name, value in zip(_USAGE_FIELDS, packed.usage, strict=True):
        setattr(stats.usage, name, value)
    stats.outcomes = Counts(packed.outcomes)
    stats.duration_sum_s, stats.first_item_sum_s = packed.duration_sum_s, packed.first_item_sum_s
    stats.duration_min_s, stats.duration_max_s = packed.duration_min_s, packed.duration_max_s
    stats.buckets, stats.first_item_buckets = Counts(packed.buckets), Counts(packed.first_item_buckets)
    stats.items = packed.items
    stats.errors = Counts(packed.errors)
    return stats


def add_capped(mine: ToolStats, other: ToolStats) -> None:
    """Add statistics of another process; types of errors beyond the cap are counted as `__overflow__`."""
    room = MAX_ERROR_TYPES - len(mine.errors)
    if len(other.errors) > room:
        errors: Counts[str] = Counts()
        for kind, count in other.errors.items():
            if kind not in mine.errors:
                room -= 1
            errors[kind if kind in mine.errors or room >= 0 else OVERFLOW] += count
        other.errors = errors
    mine.add(other)
