"""Count batches of calls at their nodes, and keep the last calls and the last errors.

Calls come in batches, off the caller's path, and are grouped by node: what is the same for all calls of a node is added
once for the group. By tool, by tag, by root and by path are sums over nodes, computed on each read.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.context_tree import ContextTree, Node, TagRedaction, tool_key
from toolweaver_monitor._core.details import CompactDetails
from toolweaver_monitor._core.sanitize import TagValue, scrub_tag_value
from toolweaver_monitor._stats.runs import Runs
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import TotalsByName, UsageTotals
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW

MAX_RECORDED = 1_024
"""Calls counted while the lock is held: a reader waits for at most this many."""
LOCK_S = 0.1
"""How long the drain waits for a reader to ask what ended inside a call. A signal handler may wait for that drain."""
MAX_TAG_VALUES = 10_000
"""The most values of one tag that are counted separately."""
MAX_TAG_KEYS = 64
"""The most keys of tags that are counted separately, beyond those of nodes."""


class StatsAggregator:
    """The statistics of every node, the last calls, and the last errors.

    Args:
        max_operations: how many of the last calls to keep.
        max_names: how many tool names, of calls that did not come over the bus, get statistics of their own.
        before_read: counts what has ended and is not counted yet; called before every read.
        open_calls: returns the calls that are open right now.
    """

    def __init__(
        self,
        max_operations: int = 10_000,
        max_names: int = MAX_NAMES,
        before_read: Callable[[], object] | None = None,
        open_calls: Callable[[], Iterable[ToolCall]] = tuple,
    ) -> None:
        self.operations: deque[ToolCall] = deque(maxlen=max_operations)
        self.last_errors: deque[ToolCall] = deque(maxlen=min(max_operations, 1_000))
        self.lock = locks.new_rlock("statistics")
        self._max_names = max_names
        self._before_read = before_read
        self._open_calls = open_calls
        self._recorded: deque[ToolCall] = deque()
        self.changes = 0
        """How often something was counted, so that a reader sees whether anything was since."""
        self.runs = Runs(self._shift)
        self.clear()
        locks.after_fork_in_child_weak(self, StatsAggregator.clear)

    def clear(self) -> None:
        """Forget everything. A forked child starts from nothing: what was counted before belongs to its parent."""
        self.since_s = time.time()
        """When counting began, in Unix seconds."""
        self.by_node: dict[Node, ToolStats] = {}
        self.by_model = TotalsByName()
        self.unpriced: dict[tuple[str, str], UsageTotals] = {}
        """By tool and model."""
        self._by_tag: dict[str, tuple[TotalsByName, TotalsByName]] = {}
        """What nodes do not tell, to be added and to be taken away: of calls that had no node of their own, and of
        those whose tags came late."""
        self._tree = ContextTree(self._max_names)
        """The places of calls that were not opened by this library, such as those recorded by hand."""
        self.runs.clear()
        for kept in (self.operations, self.last_errors, self._recorded):
            kept.clear()

    # --- counting -------------------------------------------------------------------------------------------------

    def record(self, call: ToolCall) -> None:
        """Count one closed call that did not come over the bus; it is included in the next read."""
        self._recorded.append(call)
        if len(self._recorded) > MAX_RECORDED:
            self.sync()

    def add_batch(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        groups: defaultdict[Node | None, list[ToolCall]] = defaultdict(list)
        for call in calls:
            groups[call._node].append(call)
        for call in groups.pop(None, ()):
            call._node = self._tree.root.child(tool_key(call.tool_name))
            groups[call._node].append(call)
        nested = [call for call in calls if call._root_serial]  # see tests/unit/test_locks.py
        with self.lock:
            self.changes += 1
            alone: list[ToolCall] = []
            without_node: defaultdict[Node, list[ToolCall]] = defaultdict(list)
            for node, group in groups.items():
                if node is None:
                    continue
                if node.counts_at is node:
                    self._count(node, group, alone, runs=len(group) if node.parent is node.tree.root else 0)
                else:
                    without_node[node.counts_at] += group
                    self._count_tags(node, group)
            for node, group in without_node.items():
                self._count(node, group, alone, runs=_count_outermost(group))
            self.operations.extend(calls)
            if nested or alone:
                self.runs.add(nested, alone)

    def _count(self, node: Node, calls: list[ToolCall], alone: list[ToolCall], *, runs: int) -> None:
        """Count the calls of one node.

        Args:
            node: where they count.
            calls: the calls.
            alone: gets those that have a cost or details, and no call around or inside them.
            runs: how many of them are outermost calls.
        """
        stats = self.by_node.get(node)
        if stats is None:
            stats = self.by_node[node] = ToolStats()
        detailed = stats.count(calls, node.key.cost_nanousd, runs=runs)
        if detailed:
            self._count_detailed(node, stats.usage, detailed)
        if runs:
            noted = calls if node.key.cost_nanousd is not None else detailed
            alone += [call for call in noted if not call._root_serial]

    def _count_tags(self, node: Node, calls: list[ToolCall]) -> None:
        """Count calls for their tags that count at another node than their own, which has not all of these tags."""
        place = node.counts_at
        totals = UsageTotals.of(*calls)
        for key, value in node.tags.items():
            if place.tags.get(key) is not value:
                self._shift(key, place.tags.get(key), value, totals)

    def _count_detailed(self, node: Node, usage: UsageTotals, calls: list[ToolCall]) -> None:
        """Add what calls used, to their node and to their models."""
        found: list[Any] = [call._details for call in calls]
        kinds: set[type] = set(map(type, found))
        models: set[str | None] = {None}
        if CompactDetails not in kinds:
            models = {details.model for details in found}
        elif len(kinds) > 1:  # read from the class, the model of a compact one would take five times as long
            models = {None if type(details) is CompactDetails else details.model for details in found}
        for model in models:
            group = calls if len(models) == 1 else [call for call in calls if call.model == model]
            totals = UsageTotals()
            totals.add_details(group, kinds if group is calls else None)
            usage.add(totals)
            if totals.unpriced:
                unpriced = [call for call in group if call._details.lacks_price]  # type: ignore[union-attr]
                self._unpriced(node.key.tool_name, model or "").add(UsageTotals.of(*unpriced))
            if model is not None:
                totals.calls = len(group)
                self.by_model.entry(model).add(totals)
        others = [call for call in calls if call.outcome != "success"]
        if others:
            self.last_errors.extend([call for call in others if call.outcome in ERROR_OUTCOMES])

    def _unpriced(self, tool: str, model: str) -> UsageTotals:
        key = (tool, model)
        if key not in self.unpriced and len(self.unpriced) >= MAX_NAMES:
            key = (OVERFLOW, OVERFLOW)
        totals = self.unpriced.get(key)
        if totals is None:
            totals = self.unpriced[key] = UsageTotals()
        return totals

    def _tables(self, key: str) -> tuple[TotalsByName, TotalsByName]:
        tables = self._by_tag.get(key)
        if tables is None:
            tables = TotalsByName(MAX_TAG_VALUES), TotalsByName(2 * MAX_TAG_VALUES)
            if len(self._by_tag) < MAX_TAG_KEYS:
                self._by_tag[key] = tables
        return tables

    def _shift(self, key: str, old: TagValue | None, new: TagValue, totals: UsageTotals) -> None:
        added, removed = self._tables(key)
        added.entry(tag_text(key, new)).add(totals)
        if old is not None:
            removed.entry(tag_text(key, old)).add(totals)

    def sync(self) -> None:
        """Count all that has ended and is not counted yet.

        A signal handler or `__del__` that reads in the middle of a read on its own thread gets what is counted: the
        thread that counts the rest may be waiting for that read.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # as threading.Condition does
            return
        if self._before_read is not None:
            self._before_read()
        if self._recorded:
            with self.lock:
                recorded = [self._recorded.popleft() for _ in range(len(self._recorded))]
                self.add_batch(recorded)

    def merge(self, other: StatsAggregator) -> None:
        """Take over what another aggregator has counted."""
        other.sync()
        with other.lock, self.lock:
            self.changes += 1
            for node, stats in other.by_node.items():
                mine = self.by_node.get(node)
                if mine is None:
                    mine = self.by_node[node] = ToolStats()  # its own, since others may take over the same
                mine.add(stats)
            self.by_model.merge(other.by_model)
            for (tool, model), totals in other.unpriced.items():
                self._unpriced(tool, model).add(totals)
            for key, tables in other._by_tag.items():
                for table, theirs in zip(self._tables(key), tables, strict=True):
                    table.merge(theirs)
            self.runs.merge(other.runs)
            self.operations.extend(other.operations)
            self.last_errors.extend(other.last_errors)

    def inside(self, call: ToolCall, before: Sequence[ToolCall]) -> tuple[UsageTotals, set[int]] | None:
        """Return the totals of what ended inside a closed call that is not counted yet, and the declared costs in them.

        Args:
            call: the call.
            before: the calls that closed before it and are not counted yet either.

        Returns:
            The costs are nano-dollars of single calls. None if another thread holds the statistics for too long.
        """
        if not self.lock.acquire(timeout=LOCK_S):
            return None
        try:
            parts = self.runs.inside(call, before)
        finally:
            self.lock.release()
        total, declared = UsageTotals(), set()
        for (node, _), totals in parts.items():
            total.add(totals)
            if node.key.cost_nanousd and totals.costed:
                declared.add(node.key.cost_nanousd)
        return total, declared

    # --- reading: hold `lock`, and call `sync` before -------------------------------------------------------------

    def of(self, call: ToolCall) -> UsageTotals | None:
        """Return what a call used so far with everything inside it, or None if that was forgotten."""
        return self.runs.of(call, self._open_calls())

    def by_tool(self) -> dict[str, ToolStats]:
        """Return the statistics of every tool, a copy."""
        found: dict[str, ToolStats] = {}
        for node, stats in self.by_node.items():
            mine = found.get(node.key.tool_name)
            if mine is None:
                mine = found[node.key.tool_name] = ToolStats()
            mine.add(stats)
        return found

    def by_root(self) -> TotalsByName:
        """Return the totals by the tool of the outermost call."""
        found = TotalsByName()
        for node, stats in self.by_node.items():
            found.entry(node.top.key.tool_name).add(stats.usage)
        return found

    def by_tag(self, key: str) -> TotalsByName:
        """Return the totals by the values of a tag. Calls inside open ones count for the tags that these have now."""
        found = TotalsByName(MAX_TAG_VALUES)
        for node, stats in self.by_node.items():
            if key in node.tags:
                found.entry(tag_text(key, node.tags[key])).add(stats.usage)

        def shift(shifted: str, old: TagValue | None, new: TagValue, totals: UsageTotals) -> None:
            if shifted == key:
                found.entry(tag_text(key, new)).add(totals)
                if old is not None:
                    found.entry(tag_text(key, old)).subtract(totals)

        self.runs.open_shifts(self._open_calls(), shift)
        added, removed = self._by_tag.get(key, ({}, {}))
        found.merge(added)
        for value, totals in removed.items():
            found.entry(value).subtract(totals)
        for value in [value for value, totals in found.items() if not totals.calls]:
            del found[value]
        return found

    def tag_keys(self) -> set[str]:
        """Return the keys of all tags seen."""
        keys = set(self._by_tag)
        return keys.union(*(node.tags for node in self.by_node))

    def total(self, tools: Iterable[str] | None = None) -> ToolStats:
        """Return the statistics of all tools together, or of some."""
        total = ToolStats()
        total.add(*(stats for node, stats in self.by_node.items() if tools is None or node.key.tool_name in tools))
        return total


def _count_outermost(calls: Sequence[ToolCall]) -> int:
    """Count the calls that have none around them. Not inside a `with`: see tests/unit/test_locks.py."""
    return len([call for call in calls if call._parent_serial is None])


def tag_text(key: str, value: TagValue) -> str:
    """Return the value of a tag as text, without secrets unless `setup(redact=False)`."""
    return _shown(key, value, TagRedaction.scrub)


@lru_cache(maxsize=1_024, typed=True)
def _shown(key: str, value: TagValue, scrub: Callable[[str, int], str]) -> str:
    return str(scrub_tag_value(key, value, scrub))
