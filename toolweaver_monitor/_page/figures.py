"""The statistics of a program as plain data, tool by tool. Only what has changed is worked out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolweaver_monitor._core.call import ENDED, ToolCall
from toolweaver_monitor._core.context_tree import Node
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.history import SHARES, History
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.path_tree import PathStats, PathTree
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import UsageTotals

if TYPE_CHECKING:
    from toolweaver_monitor._store.reader import StoredCall

MAX_PATHS = 2_000
"""Paths of the flame graph; of more, those that cost or took most."""
ERRORS_SHOWN_ALONE = 20
"""Errors that are shown one by one."""
SUMMED = (
    "calls", "failed", "rated", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_nanousd", "costed",
    "unpriced", "retries", "cache_hits", "rejected",
)  # fmt: skip
"""What the total is the sum of."""


class Program(NamedTuple):
    """What the page reads of a running program."""

    sources: Callable[[], list[StatsAggregator]]
    """The statistics, with every call counted that has ended."""
    open_calls: Callable[[], Iterable[ToolCall]]
    budgets: Callable[[], Iterable[Mapping[str, Any]]]
    problems: Callable[[], list[str]]
    """What is wrong, one sentence each."""
    closed: Callable[[], bool]
    about: Mapping[str, Any]
    """The program's `name`, `pid` and `host`, whether it `is_joined` with other workers, and the Unix seconds `since`
    which it is monitored."""
    store: Path | None = None
    """The store that the program writes to, which has its history and that of others."""
    watched: Callable[[], list[dict[str, Any]]] = list
    """What `instrument()` monitors, as in `health()`."""


class LiveFigures:
    """The statistics of a running program, brought up to date by `update`.

    Args:
        sources: returns the statistics, with every call counted that has ended.
    """

    def __init__(self, sources: Callable[[], list[StatsAggregator]]) -> None:
        self._sources = sources
        self.history = History()
        self.rows: dict[str, dict[str, Any]] = {}
        """The figures of each tool, without its last error and its history."""
        self.total = dict.fromkeys(SUMMED, 0)
        self._errors: dict[str, dict[str, int]] = {}
        """Of the tools that have failed, the errors by type."""
        self.last_errors: dict[str, ToolCall] = {}
        self.latest_errors: list[ToolCall] = []
        self.unpriced: dict[tuple[str, str], int] = {}
        self._nodes: dict[str, list[tuple[StatsAggregator, Node]]] = {}
        self._marks: dict[tuple[int, Node], int] = {}
        self._counted: dict[int, int] = {}

    def update(self) -> set[str]:
        """Count what has ended since the last time, and return the tools that it changed."""
        changed: set[str] = set()
        for source in self._sources():
            with source.lock:
                found = self._changed_in(source)
                new = self._new_calls(source) if found else []
            changed |= found
            self.history.add(new)
        if changed:
            self._sum_up(changed)
        return changed

    def _changed_in(self, source: StatsAggregator) -> set[str]:
        """Return the tools of the nodes that have counted calls. The lock of the source is held."""
        key, marks, changed = id(source), self._marks, set()
        for node, stats in source.by_node.items():
            calls = stats.usage.calls
            mark = marks.get((key, node))
            if mark != calls:
                marks[key, node] = calls
                tool = node.key.tool_name
                changed.add(tool)
                if mark is None:
                    self._nodes.setdefault(tool, []).append((source, node))
        return changed

    def _new_calls(self, source: StatsAggregator) -> list[ToolCall]:
        """Return the calls that ended since the last time, as far as they are kept. The lock of the source is held."""
        counted = sum([stats.usage.calls for stats in source.by_node.values()])
        new = counted - self._counted.get(id(source), 0)
        self._counted[id(source)] = counted
        return list(islice(reversed(source.operations), new))

    def _sum_up(self, changed: set[str]) -> None:
        total = self.total
        for tool in changed:
            earlier, row = self.rows.get(tool), self._row_of(tool)
            self.rows[tool] = row
            if earlier is None:
                for name in SUMMED:
                    total[name] += row[name]
            else:
                for name in SUMMED:
                    if row[name] != earlier[name]:
                        total[name] += row[name] - earlier[name]
        errors: list[ToolCall] = []
        unpriced: Counter[tuple[str, str]] = Counter()
        for source in self._sources():
            with source.lock:
                errors.extend(source.last_errors)
                unpriced.update({key: totals.calls for key, totals in source.unpriced.items()})
        errors.sort(key=lambda call: call._opened_at + call.duration_s)
        self.latest_errors = errors
        self.last_errors = {call.tool_name: call for call in errors}
        self.unpriced = unpriced

    def _row_of(self, tool: str) -> dict[str, Any]:
        """Return the figures of a tool: of its node, or of its nodes together."""
        nodes = self._nodes[tool]
        source, node = nodes[0]
        if len(nodes) == 1:
            with source.lock:
                stats = source.by_node[node]
                row = tool_row(tool, stats)
                if stats.errors:
                    self._errors[tool] = dict(stats.errors)
            return row
        together = ToolStats()
        for source, node in nodes:
            with source.lock:
                together.add(source.by_node[node])
        if together.errors:
            self._errors[tool] = dict(together.errors)
        return tool_row(tool, together)

    def tree(self) -> dict[str, Any]:
        """Return where calls, time and money went, by the path of tools; see `frame`."""
        tree = PathTree()
        for source in self._sources():
            with source.lock:
                tree.add(source.by_node)
        return frames(tree.root)

    def row(self, tool: str, since: int = 0) -> dict[str, Any]:
        """Return the figures of a tool.

        Args:
            tool: its name.
            since: the first period of its history to return.
        """
        last = self.last_errors.get(tool)
        ends = None if last is None else error_row(last)
        return {**self.rows[tool], "last": ends, "history": self.history.of(tool, since)}

    def error_types(self) -> list[dict[str, Any]]:
        """Return the types of errors, the most frequent first.

        Returns:
            For each `type`, `count` (all-time), `tools`, `text` and `last` of the latest one, and `first`: Unix
            seconds, None if the first one is no longer among the errors that are kept.
        """
        return error_types(self._errors, self.latest_errors)


def error_types(errors: Mapping[str, Mapping[str, int]], kept: Iterable[ToolCall | StoredCall]) -> list[dict[str, Any]]:
    """Return the types of errors, the most frequent first; see `LiveFigures.error_types`.

    Args:
        errors: for each tool its errors by type.
        kept: the latest failed calls, the oldest first.
    """
    counts: Counter[str] = Counter()
    tools: dict[str, list[str]] = {}
    for tool, kinds in errors.items():
        counts.update(kinds)
        for kind in kinds:
            tools.setdefault(kind, []).append(tool)
    calls_of: dict[str, list[ToolCall | StoredCall]] = {}
    for call in kept:
        calls_of.setdefault(call.error_type or "", []).append(call)
    found = []
    for kind, count in counts.most_common():
        calls = calls_of.get(kind, [])
        found.append(
            {
                "type": kind,
                "count": count,
                "tools": tools[kind],
                "first": ended_at(calls[0]) if len(calls) == count else None,
                "last": ended_at(calls[-1]) if calls else None,
                "text": calls[-1].error if calls else "",
            }
        )
    return found


def tool_row(tool: str, stats: ToolStats) -> dict[str, Any]:
    """Return the figures of a tool as plain data; what is unknown is None."""
    usage = stats.usage
    ran = usage.calls - usage.rejected
    times: list[float | None] = [None] * 3
    if ran:
        times = [*histogram.percentiles(stats.buckets, SHARES, stats.duration_min_s, stats.duration_max_s)]
    outcomes = {outcome: count for outcome in ENDED if (count := stats.outcomes[outcome])}
    return {
        "name": tool,
        "calls": usage.calls,
        "failed": usage.errors,
        "rated": outcomes.get("success", 0) + usage.errors,
        "outcomes": outcomes,
        "average": stats.duration_sum_s / ran if ran else None,
        "p50": times[0],
        "p95": times[1],
        "p99": times[2],
        **usage_row(usage),
    }


def usage_row(usage: UsageTotals) -> dict[str, Any]:
    """Return tokens and money as plain data; a cost that is unknown, or of calls that have none, is None."""
    return {
        "tokens": usage.tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cost": usage.cost_nanousd / NANO if usage.costed else None,
        "cost_nanousd": usage.cost_nanousd,
        "costed": usage.costed,
        "unpriced": usage.unpriced,
        "retries": usage.retries,
        "cache_hits": usage.cache_hits,
        "rejected": usage.rejected,
    }


def error_row(call: ToolCall) -> dict[str, Any]:
    """Return a failed call as plain data."""
    return {
        "tool": call.tool_name,
        "type": call.error_type,
        "text": call.error,
        "outcome": call.outcome,
        "at": ended_at(call),
        "id": f"{call.call_id:016x}",
    }


def ended_at(call: ToolCall | StoredCall) -> float:
    """Return the Unix seconds at which a call ended, to the millisecond."""
    return round(call.started_at + call.duration_s, 3)


def frames(root: PathStats) -> dict[str, Any]:
    """Return a tree of paths for a flame graph.

    Returns:
        `frames`: for each outermost tool a list of its name, calls, failed calls, seconds, dollars (those of the calls
        inside included), its own dollars (None if unknown), unpriced calls, own tokens, whether calls inside ran at
        once, and the same for the tools inside. `left_out`: how many paths are not there.
    """
    paths = [path for _, path in root.walk()]
    kept: set[int] = set()
    if len(paths) > MAX_PATHS:
        heaviest = sorted(paths, key=lambda path: (-path.cost_nanousd, -path.time_s))[:MAX_PATHS]
        kept = {id(above) for path in heaviest for above in path.outwards()}

    def frame(path: PathStats) -> list[Any]:
        own = path.own_cost_nanousd / NANO if path.costed or not path.unpriced else None
        return [
            path.tool_name, path.calls, path.errors, path.time_s, path.cost_nanousd / NANO, own, path.unpriced,
            path.own_tokens, path.is_concurrent, inside(path),
        ]  # fmt: skip

    def inside(path: PathStats) -> list[list[Any]]:
        return [frame(child) for child in path.children.values() if not kept or id(child) in kept]

    return {"frames": inside(root), "left_out": len(paths) - len(kept) if kept else 0}
