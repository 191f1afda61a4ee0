"""What one worker has counted, as bytes, and the sum of what several have."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import msgspec

from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.packed import PackedStats, add_capped, pack_stats, unpack_stats
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.names import OVERFLOW, declared_names
from toolweaver_monitor.sinks._prometheus.families import OwnCounts, Snapshot

BUDGET_KEYS = ("name", "unit", "account", "limit", "spent", "rejections")
SINK_KEYS = ("delivered", "failed_by", "dropped_by", "queued")


class Tallies(msgspec.Struct, array_like=True):
    """What one worker, or all that are gone, have counted; the fields are those of `Snapshot`."""

    tools: dict[str, PackedStats]
    active: dict[str, int] = {}
    declared: dict[str, bool] = {}
    budgets: list[dict[str, Any]] = []
    sinks: dict[str, dict[str, Any]] = {}
    labels: tuple[str, ...] = ()
    labelled: list[tuple[list[str], PackedStats]] = []
    bounds: tuple[float, ...] = ()
    first_item_bounds: tuple[float, ...] = ()
    own_buckets: dict[str, OwnCounts] | None = None


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Tallies).decode


def pack_snapshot(snapshot: Snapshot) -> Tallies:
    """Return the counts of a process in a form that another one can read and add to its own."""
    return Tallies(
        tools={tool: pack_stats(stats) for tool, stats in snapshot.tools.items()},
        active=dict(snapshot.active),
        declared=dict(snapshot.declared),
        budgets=[{key: each.get(key) for key in BUDGET_KEYS} for each in snapshot.budgets],
        sinks={name: {key: counts[key] for key in SINK_KEYS} for name, counts in snapshot.sinks.items()},
        labels=snapshot.labels,
        labelled=[(list(row), pack_stats(stats)) for row, stats in snapshot.labelled.items()],
        bounds=snapshot.bounds,
        first_item_bounds=snapshot.first_item_bounds,
        own_buckets=None if snapshot.own_buckets is None else dict(snapshot.own_buckets),
    )


class MergedTallies:
    """The sum of what several workers have counted.

    Whatever is capped is admitted in the order in which it comes, so what is shown by name stays by name: the departed
    come first, and `admit` reserves with them the names that others have.

    Args:
        like: the snapshot of the process that merges, whose labels and buckets all are shown with.
    """

    def __init__(self, like: Snapshot) -> None:
        self._like = like
        self.tools: dict[str, ToolStats] = {}
        self.rows: dict[tuple[str, ...], ToolStats] = {}
        self.own_buckets: dict[str, OwnCounts] = {}
        self.budgets: dict[tuple[str, str], dict[str, Any]] = {}
        self.sinks: dict[str, dict[str, Any]] = {}
        self.active: Counter[str] = Counter()
        self.declared: dict[str, bool] = {}
        self._dynamic = 0
        """Tools whose names are not written in the code."""
        self._told_apart = 0
        """Rows with values of labels."""

    def copy(self, like: Snapshot) -> MergedTallies:
        """Return the same sums, to be added to and shown like another snapshot."""
        twin = MergedTallies(like)
        twin.tools = {tool: stats.copy() for tool, stats in self.tools.items()}
        twin.rows = {row: stats.copy() for row, stats in self.rows.items()}
        twin.own_buckets = {tool: ([*counts[0]], [*counts[1]]) for tool, counts in self.own_buckets.items()}
        twin.budgets = dict(self.budgets)
        twin.sinks = deepcopy(self.sinks)
        twin._dynamic, twin._told_apart = self._dynamic, self._told_apart
        return twin

    def add(self, tallies: Tallies, *, living: bool = False) -> None:
        """Add what a worker has counted.

        Args:
            tallies: its counts.
            living: whether calls of it may be open, and calls wait for its sinks.
        """
        for tool, packed in tallies.tools.items():
            add_capped(self._stats_of(tool), unpack_stats(packed))
        for values, packed in self._rows_of(tallies):
            add_capped(self._row(values), unpack_stats(packed))
        if self._like.own_buckets is not None:
            self._add_own_buckets(tallies)
        for budget in tallies.budgets:
            self._add_budget(budget)
        for name, counts in tallies.sinks.items():
            self._add_sink(name, counts, living)
        if living:
            self.active.update(tallies.active)
            for tool, has_cost in tallies.declared.items():
                self.declared[tool] = self.declared.get(tool, False) or has_cost

    def _name(self, tool: str) -> str:
        if tool in self.tools or tool in declared_names or tool == OVERFLOW:
            return tool
        if self._dynamic >= self._like.max_names:
            return OVERFLOW
        self._dynamic += 1
        return tool

    def _stats_of(self, tool: str) -> ToolStats:
        return self.tools.setdefault(self._name(tool), ToolStats())

    def _rows_of(self, tallies: Tallies) -> Iterator[tuple[tuple[str, ...], PackedStats]]:
        """Yield the rows of a worker by the labels of this one; a worker without any has those of its tools."""
        labels = self._like.labels
        if not labels:
            return
        if not tallies.labels:
            for tool, packed in tallies.tools.items():
                yield (tool, *[""] * len(labels)), packed
        for (tool, *values), packed in tallies.labelled:
            found = dict(zip(tallies.labels, values, strict=True))
            yield (tool, *[found.get(label, "") for label in labels]), packed

    def _row(self, row: tuple[str, ...]) -> ToolStats:
        row = (self._name(row[0]), *row[1:])
        over = (OVERFLOW,) * (len(row) - 1)
        if row not in self.rows and any(row[1:]) and row[1:] != over:
            if self._told_apart >= self._like.max_names:
                return self._row((row[0], *over))
            self._told_apart += 1
        return self.rows.setdefault(row, ToolStats())

    def _add_own_buckets(self, tallies: Tallies) -> None:
        """Add counts by buckets of the user's choice; those of a worker with others are regrouped, within 5 %."""
        like, theirs = self._like, tallies.own_buckets
        bounds = like.bounds, like.first_item_bounds
        is_alike = theirs is not None and (tallies.bounds, tallies.first_item_bounds) == bounds
        for tool, packed in tallies.tools.items():
            if theirs is not None and is_alike:
                counts = theirs.get(tool)
            else:
                counts = _regroup(packed.buckets, bounds[0]), _regroup(packed.first_item_buckets, bounds[1])
            if counts is None:
                continue
            none = [0] * (len(bounds[0]) + 1), [0] * (len(bounds[1]) + 1)
            mine = self.own_buckets.setdefault(self._name(tool), none)
            for own, more in zip(mine, counts, strict=True):
                own[:] = [count + each for count, each in zip(own, more, strict=True)]

    def _add_budget(self, budget: Mapping[str, Any]) -> None:
        """Add the rejections of a budget. What is spent is common to all, and the last one knows best."""
        key, budget = self._place(budget)
        earlier = self.budgets.get(key)
        rejections = budget["rejections"] + (earlier["rejections"] if earlier is not None else 0)
        self.budgets[key] = {**budget, "rejections": rejections}

    def _place(self, budget: Mapping[str, Any]) -> tuple[tuple[str, str], Mapping[str, Any]]:
        """Return the key of a budget, and what is kept of it: of accounts beyond the cap their rejections only."""
        key = budget["name"], budget["unit"]
        if key in self.budgets or budget["account"] is None or len(self.budgets) < self._like.max_names:
            return key, budget
        rest = {**budget, "name": OVERFLOW, "account": OVERFLOW, "limit": 0.0, "spent": 0.0}
        return (OVERFLOW, budget["unit"]), rest

    def _add_sink(self, name: str, counts: Mapping[str, Any], living: bool) -> None:
        mine = self.sinks.setdefault(name, {"delivered": 0, "failed_by": {}, "dropped_by": {}, "queued": 0})
        mine["delivered"] += counts["delivered"]
        mine["queued"] += counts["queued"] if living else 0
        for key in ("failed_by", "dropped_by"):
            for reason, count in counts[key].items():
                mine[key][reason] = mine[key].get(reason, 0) + count

    def admit(self, others: MergedTallies) -> bool:
        """Reserve what others have and this has not, with counts of 0. Return whether there was any."""
        found = False
        for mine, theirs in ((self.tools, others.tools), (self.rows, others.rows)):
            found |= _admit_stats(mine, theirs)
        for key, budget in map(self._place, others.budgets.values()):
            if key not in self.budgets:
                self.budgets[key] = {**budget, "rejections": 0}
                found = True
        return found

    def tallies(self) -> Tallies:
        """Return the sums as those of one worker."""
        return Tallies(
            tools={tool: pack_stats(stats) for tool, stats in self.tools.items()},
            budgets=list(self.budgets.values()),
            sinks=self.sinks,
            labels=self._like.labels,
            labelled=[(list(row), pack_stats(stats)) for row, stats in self.rows.items()],
            bounds=self._like.bounds,
            first_item_bounds=self._like.first_item_bounds,
            own_buckets=self.own_buckets if self._like.own_buckets is not None else None,
        )

    def snapshot(self) -> Snapshot:
        """Return the sums as one process would have counted them."""
        return self._like._replace(
            tools=self.tools,
            active=self.active,
            declared=self.declared,
            budgets=list(self.budgets.values()),
            sinks=self.sinks,
            labelled=self.rows,
            own_buckets=self.own_buckets if self._like.own_buckets is not None else None,
        )


def _admit_stats(mine: dict[Any, ToolStats], theirs: Mapping[Any, ToolStats]) -> bool:
    found = False
    for key, stats in theirs.items():
        known = mine.get(key)
        if known is None:
            known = mine[key] = ToolStats()
            found = True
        for kind in stats.errors.keys() - known.errors.keys():
            known.errors[kind] = 0
            found = True
    return found


def _regroup(buckets: Mapping[int, int], bounds: tuple[float, ...]) -> list[int]:
    counts = [0] * (len(bounds) + 1)
    for bucket, count in buckets.items():
        counts[bisect_left(bounds, histogram.upper_bound_s(bucket))] += count
    return counts
