"""Count batches of calls: statistics per tool, the last calls and the last errors.

Calls arrive in batches, off the caller's path. What plain successes have in common is counted a batch at a time, with
loops that run in C. Only calls with details are counted one by one.
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
"""Recorded calls that wait to be counted: a reader waits for the counting of at most this many."""


class StatsAggregator:
    """The statistics of every tool, the last calls and the last errors.

    Args:
        max_operations: the number of last calls to keep.
        max_names: the number of tool names that have statistics of their own.
        before_read: called before every read, to deliver the calls that have ended but are not counted yet.
        open_calls: returns the calls that are open right now.
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
        self.lock = locks.new_rlock("statistics")
        self._max_names = max_names
        self._before_read = before_read
        self._dynamic = 0
        self._recorded: deque[ToolCall] = deque()
        locks.after_fork_in_child_weak(self, StatsAggregator.clear)

    def clear(self) -> None:
        """Forget everything. A forked child starts empty, since what was counted before belongs to its parent."""
        self.by_tool = {}
        self.rollup.clear()
        self._dynamic = 0
        for kept in (self.operations, self.last_errors, self._recorded):
            kept.clear()

    def record(self, call: ToolCall) -> None:
        """Add one closed call that did not come over the bus. It is counted at the next read."""
        self._recorded.append(call)
        if len(self._recorded) > MAX_PENDING:
            self.read()

    def add_batch(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        # Outside the lock, which an interrupt in a comprehension would leave held (see tests/unit/test_locks.py).
        detailed = [call for call in calls if call._root_serial or call._details is not None]
        with self.lock:
            groups: defaultdict[str, list[ToolCall]] = defaultdict(list)
            for call in calls:
                groups[call.tool_name].append(call)
            for name, group in groups.items():
                (self.by_tool.get(name) or self._add_tool(name)).count_all(group)
            self.operations.extend(calls)
            if detailed:
                self._add_detailed(detailed)

    def _add_detailed(self, calls: Sequence[ToolCall]) -> None:
        """Count the calls that have details, or a call around or inside them."""
        self.last_errors.extend([call for call in calls if call.outcome in ERROR_OUTCOMES])
        plain: defaultdict[str, list[ToolCall]] = defaultdict(list)
        for call in calls:
            if type(call._details) is CompactDetails and not call._root_serial:
                plain[call.tool_name].append(call)
                self.rollup.roots.append(call)
            else:
                (self.by_tool.get(call.tool_name) or self._add_tool(call.tool_name)).rolled_up += 1
                self.rollup.count(call)
        for name, group in plain.items():
            (self.by_tool.get(name) or self._add_tool(name)).rolled_up += len(group)
            self.rollup.count_plain(name, group)

    def _add_tool(self, name: str) -> ToolStats:
        if name not in declared_names:
            if self._dynamic >= self._max_names:
                stats = self.by_tool.get(OVERFLOW)
                if stats is None:
                    stats = self.by_tool[OVERFLOW] = ToolStats()
                return stats
            self._dynamic += 1
        stats = self.by_tool[name] = ToolStats()
        return stats

    def sync(self) -> None:
        """Count the calls that have ended but are not counted yet.

        A signal handler or `__del__` that reads in the middle of a read on its own thread gets what is counted so far:
        the thread that counts the rest may be waiting for that read.
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
        """Return the live statistics by tool, of all calls that have ended. Hold `lock` to read several values."""
        self.sync()
        with self.lock:
            return dict(self.by_tool)

    def merge(self, other: StatsAggregator) -> None:
        """Add what another aggregator has counted."""
        for name, stats in other.read().items():
            with self.lock:
                (self.by_tool.get(name) or self._add_tool(name)).add(stats)
        with self.lock:
            self.rollup.absorb(other.rollup)
            self.operations.extend(other.operations)
            self.last_errors.extend(other.last_errors)

    def total(self, tools: Iterable[str] | None = None) -> ToolStats:
        """Return the statistics of all tools together, or of the given ones."""
        chosen = [stats for name, stats in self.read().items() if tools is None or name in tools]
        total = ToolStats()
        with self.lock:
            total.add(*chosen)
        return total
