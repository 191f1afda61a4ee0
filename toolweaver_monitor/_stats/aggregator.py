"""Count batches of calls: statistics per tool, the last calls and the last errors.

Calls come in batches, off the caller's path. What is common to plain successes is counted by the batch with loops
that run in C; only calls that carry details are counted one by one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._core.details import CompactDetails
from toolweaver_monitor._stats.rollup import Rollup
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW, declared_names

MAX_PENDING = 1_024
"""Calls counted while the lock is held: a reader waits for at most this many."""


class StatsAggregator:
    """The tallies of every tool, the last calls, and the last errors.

    Args:
        max_operations: how many of the last calls to keep.
        max_names: how many tool names get a tally of their own.
        before_read: brings in what has ended and is not counted yet; called before every read.
        open_calls: gives the calls that are open right now.
    """

    def __init__(
        self,
        max_operations: int = 10_000,
        max_names: int = MAX_NAMES,
        before_read: Callable[[], object] | None = None,
        open_calls: Callable[[], Iterable[ToolCall]] = tuple,
    ) -> None:
        self.by_tool: dict[str, ToolStats] = {}
        self.rollup = Rollup(open_calls)
        self.operations: deque[ToolCall] = deque(maxlen=max_operations)
        self.last_errors: deque[ToolCall] = deque(maxlen=min(max_operations, 1_000))
        self.lock = locks.new_rlock("tallies")
        self._max_names = max_names
        self._before_read = before_read
        self._dynamic = 0
        self._recorded: deque[ToolCall] = deque()
        locks.after_fork_in_child_weak(self, StatsAggregator.clear)

    def clear(self) -> None:
        """Forget everything. A forked child starts from nothing: what was counted before it is its parent's."""
        self.by_tool = {}
        self.rollup.clear()
        self._dynamic = 0
        for kept in (self.operations, self.last_errors, self._recorded):
            kept.clear()

    def record(self, call: ToolCall) -> None:
        """Count one closed call that did not come over the bus; it is brought in at the next read."""
        self._recorded.append(call)
        if len(self._recorded) > MAX_PENDING:
            self.read()

    def add_batch(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        noted = [
            call for call in calls if call._root_serial or call._details is not None
        ]  # see tests/unit/test_locks.py
        with self.lock:
            groups: defaultdict[str, list[ToolCall]] = defaultdict(list)
            for call in calls:
                groups[call.tool_name].append(call)
            for name, group in groups.items():
                (self.by_tool.get(name) or self._new(name)).count_all(group)
            self.operations.extend(calls)
            if noted:
                self._add_detailed(noted)

    def _add_detailed(self, calls: Sequence[ToolCall]) -> None:
        """Count those that something was said of, or that have a call around or inside them."""
        self.last_errors.extend([call for call in calls if call.outcome in ERROR_OUTCOMES])
        plain: defaultdict[str, list[ToolCall]] = defaultdict(list)
        for call in calls:
            if type(call._details) is CompactDetails and not call._root_serial:
                plain[call.tool_name].append(call)
                self.rollup.roots.append(call)
            else:
                (self.by_tool.get(call.tool_name) or self._new(call.tool_name)).rolled_up += 1
                self.rollup.count(call)
        for name, group in plain.items():
            (self.by_tool.get(name) or self._new(name)).rolled_up += len(group)
            self.rollup.count_plain(name, group)

    def _new(self, name: str) -> ToolStats:
        if name not in declared_names:
            if self._dynamic >= self._max_names:
                tally = self.by_tool.get(OVERFLOW)
                if tally is None:
                    tally = self.by_tool[OVERFLOW] = ToolStats()
                return tally
            self._dynamic += 1
        tally = self.by_tool[name] = ToolStats()
        return tally

    def sync(self) -> None:
        """Count all that has ended and is not counted yet.

        A signal handler or `__del__` that reads in the middle of a read on its own thread gets what is counted: who
        counts the rest may be waiting for that read.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]
            return
        if self._before_read is not None:
            self._before_read()
        if self._recorded:
            with self.lock:
                recorded = [self._recorded.popleft() for _ in range(len(self._recorded))]
                self.add_batch(recorded)

    def read(self) -> dict[str, ToolStats]:
        """The tallies by tool, everything that has ended included. They are live: hold `lock` to read several."""
        self.sync()
        with self.lock:
            return dict(self.by_tool)

    def merge(self, other: StatsAggregator) -> None:
        """Take over what other tallies have counted."""
        for name, tally in other.read().items():
            with self.lock:
                (self.by_tool.get(name) or self._new(name)).add(tally)
        with self.lock:
            self.rollup.absorb(other.rollup)
            self.operations.extend(other.operations)
            self.last_errors.extend(other.last_errors)

    def total(self, tools: Iterable[str] | None = None) -> ToolStats:
        """One tally of all tools, or of some."""
        asked = [tally for name, tally in self.read().items() if tools is None or name in tools]
        total = ToolStats()
        with self.lock:
            total.add(*asked)
        return total
