"""Where calls, time and money went, by the path of tools: `Monitor.tree()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from toolweaver_monitor._core.context_tree import Node
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import escape, format_seconds, shorten, table
from toolweaver_monitor.errors import ConfigurationError

HEAVIEST = 50
"""Paths that the text shows, if no other limit is given."""
LINE = 80
"""Columns of a line of text."""
MIN_NAME = 12
_HEAD = ["calls", "failed", "time", "own", "cost", "own", "share"]
Weight = Literal["cost", "time", "calls"]


class PathStats:
    """The calls of one path: a tool, inside the tools around it.

    Attributes:
        tool_name: the tool; empty for the root, which stands for the whole program.
        calls: calls of every outcome.
        errors: failures and timeouts.
        time_s: seconds that the calls took, added up.
        children_s: seconds of the calls inside, added up; more than `time_s` if they ran at once.
        cost_nanousd: the cost of these calls and of all calls inside them.
        own_cost_nanousd: the cost of these calls alone.
        own_tokens: the tokens of these calls alone.
        unpriced: calls of unknown cost.
        around: the path one tool further out; None for the root.
        children: the paths one tool further in, by tool.
    """

    __slots__ = (
        "around",
        "calls",
        "children",
        "children_s",
        "cost_nanousd",
        "costed",
        "errors",
        "own_cost_nanousd",
        "own_tokens",
        "time_s",
        "tool_name",
        "unpriced",
    )

    def __init__(self, tool_name: str, around: PathStats | None = None) -> None:
        self.tool_name = tool_name
        self.around = around
        self.calls = 0
        self.errors = 0
        self.time_s = 0.0
        self.children_s = 0.0
        self.costed = 0
        self.cost_nanousd = 0
        self.own_cost_nanousd = 0
        self.own_tokens = 0
        self.unpriced = 0
        self.children: dict[str, PathStats] = {}

    @property
    def own_s(self) -> float:
        """Seconds less those of the calls inside, and not below 0."""
        return max(0.0, self.time_s - self.children_s)

    @property
    def is_concurrent(self) -> bool:
        """Whether calls inside ran at once: together they took longer than the calls around them."""
        return bool(self.tool_name) and self.children_s > self.time_s * (1 + 1e-9) + 1e-9

    def inside(self, tool_name: str) -> PathStats:
        """Return the path of a tool inside this one: where it stands first, if it is inside itself."""
        found = self.children.get(tool_name)
        if found is None:
            above: PathStats | None = self
            while above is not None and above.tool_name != tool_name:
                above = above.around
            if above is None:
                above = self.children[tool_name] = PathStats(tool_name, self)
            return above
        return found

    def outwards(self) -> Iterator[PathStats]:
        """Yield this path and those around it, the root included."""
        path: PathStats | None = self
        while path is not None:
            yield path
            path = path.around

    def walk(self) -> Iterator[tuple[tuple[str, ...], PathStats]]:
        """Yield every path below, with the names of its tools, the heaviest first."""
        left: list[tuple[tuple[str, ...], PathStats]] = [((), self)]
        while left:
            around, path = left.pop()
            if path is not self:
                around = (*around, path.tool_name)
                yield around, path
            ordered = sorted(path.children.values(), key=_heaviest_first)
            left += [(around, child) for child in reversed(ordered)]

    def as_dict(self) -> dict[str, Any]:
        """Return the path and all below it as plain data."""
        known = self.costed or not self.unpriced
        found: dict[str, Any] = {
            "tool_name": self.tool_name,
            "calls": self.calls,
            "errors": self.errors,
            "time_s": self.time_s,
            "own_time_s": self.own_s,
            "cost_usd": self.cost_nanousd / NANO,
            "own_cost_usd": self.own_cost_nanousd / NANO if known else None,
            "unpriced": self.unpriced,
            "concurrent": self.is_concurrent,
        }
        found["children"] = [child.as_dict() for child in self.children.values()]
        return found


class PathTree:
    """The calling context of all calls so far, as a tree.

    `str(tree)` is its text. A tool inside itself counts at the place where it stands first.
    """

    def __init__(self) -> None:
        self.root = PathStats("")

    def add(self, nodes: Mapping[Node, ToolStats]) -> None:
        """Add the statistics of nodes."""
        places: dict[Node, PathStats] = {}
        for node, stats in nodes.items():
            path = places.get(node) or self._place(node, places)
            usage = stats.usage
            path.calls += usage.calls
            path.errors += usage.errors
            path.time_s += stats.duration_sum_s
            if node.parent is not None:
                places[node.parent].children_s += stats.duration_sum_s
            path.costed += usage.costed
            path.own_cost_nanousd += usage.cost_nanousd
            path.own_tokens += usage.tokens
            path.unpriced += usage.unpriced
        paths = [self.root]
        for path in paths:
            path.cost_nanousd = path.own_cost_nanousd
            paths += path.children.values()
        for path in reversed(paths):  # the inner ones first
            if path.around is not None:
                path.around.cost_nanousd += path.cost_nanousd

    def _place(self, node: Node, places: dict[Node, PathStats]) -> PathStats:
        """Return the path of a node, and note those of the nodes around it."""
        new: list[Node] = []
        at: Node | None = node
        while at is not None and at not in places:
            new.append(at)
            at = at.parent
        path = self.root if at is None else places[at]
        for each in reversed(new):
            if each.parent is not None:
                path = path.inside(each.key.tool_name)
            places[each] = path
        return path

    @property
    def is_nested(self) -> bool:
        """Whether any tool ran inside another."""
        return any(child.children for child in self.root.children.values())

    def __repr__(self) -> str:
        return f"<PathTree: {sum(1 for _ in self.root.walk()):,} paths>"

    def __str__(self) -> str:
        return self.text()

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as plain data for JSON.

        Returns:
            `paths`: the outermost tools, each with `tool_name`, `calls`, `errors`, `time_s` and `own_time_s` (seconds),
            `cost_usd` and `own_cost_usd` (dollars; None if unknown), `unpriced` (calls of unknown cost), `concurrent`
            (calls inside ran at once), and `children`, the same one tool further in. Own time and cost are those of
            the calls less what ran inside them.
        """
        return {"paths": [child.as_dict() for child in self.root.children.values()]}

    def folded(self, weight: Weight = "cost") -> str:
        """Return the tree as folded stacks, which flame-graph viewers open: `agent;search 1234` a line.

        Args:
            weight: what the numbers are: `"cost"` in nano-dollars, `"time"` in microseconds, or `"calls"`; each of the
                path itself, without what ran inside.

        Raises:
            ConfigurationError: there is no such weight.
        """
        if weight not in ("cost", "time", "calls"):
            raise ConfigurationError(f"weight={weight!r} is unknown", hint="give 'cost', 'time' or 'calls'")
        lines = []
        for path, stats in self.root.walk():
            own = {"cost": stats.own_cost_nanousd, "time": round(stats.own_s * 1e6), "calls": stats.calls}[weight]
            if own:
                lines.append(f"{';'.join(escape(name).replace(';', ',') for name in path)} {own}")
        return "\n".join(lines)

    def text(self, limit: int | None = HEAVIEST) -> str:
        """Return the tree as text, safe for a terminal.

        Args:
            limit: how many paths to show, those with the greatest cost, then time; None for all. Their parents are
                shown as well.
        """
        rows, notes = self.rows(limit)
        return "\n".join([*table(rows), *notes] if rows else notes)

    def rows(self, limit: int | None = HEAVIEST) -> tuple[list[list[str]], list[str]]:
        """Return the rows of the text, the first of which is the header, and the lines below them; see `text`."""
        walked = list(self.root.walk())
        if not walked:
            return [], ["  no call has ended yet"]
        total = self.root.cost_nanousd
        shown = _heaviest(walked, limit)
        kept = [(path, stats) for path, stats in walked if path in shown]
        columns = [_HEAD] + [_columns(stats, total) for _, stats in kept]
        room = LINE - sum(2 + max(map(len, column)) for column in zip(*columns, strict=True))
        names = ["path", *(_name(path, stats, max(room - 2, MIN_NAME)) for path, stats in kept)]
        notes = []
        if len(shown) < len(walked):
            notes.append(f"  and {len(walked) - len(shown):,} more paths: text(limit=None) shows all")
        if any(stats.is_concurrent for _, stats in kept):
            notes.append("  * calls inside ran at once: their time adds up to more than the time around them")
        return [[name, *cells] for name, cells in zip(names, columns, strict=True)], notes


def _heaviest(walked: list[tuple[tuple[str, ...], PathStats]], limit: int | None) -> set[tuple[str, ...]]:
    if limit is None or len(walked) <= limit:
        return {path for path, _ in walked}
    heaviest = sorted(walked, key=lambda item: (-item[1].cost_nanousd, -item[1].time_s))[:limit]
    return {path[:depth] for path, _ in heaviest for depth in range(1, len(path) + 1)}


def _columns(stats: PathStats, total_nanousd: int) -> list[str]:
    times = [format_seconds(stats.time_s), format_seconds(stats.own_s)]
    costs = [_dollars(stats.cost_nanousd), _dollars(stats.own_cost_nanousd)]
    share = f"{stats.cost_nanousd / total_nanousd:.0%}" if total_nanousd else "-"
    return [f"{stats.calls:,}", f"{stats.errors:,}", *times, *costs, share]


def _name(path: tuple[str, ...], stats: PathStats, room: int) -> str:
    """Return the tool's name, indented by its depth and cut to its column."""
    indent = "  " * min(len(path) - 1, room // 4)
    mark = " *" if stats.is_concurrent else ""
    return indent + shorten(escape(path[-1]), room - len(indent) - len(mark)) + mark


def _heaviest_first(path: PathStats) -> tuple[int, float, str]:
    return -path.cost_nanousd, -path.time_s, path.tool_name


def _dollars(nano: int) -> str:
    if not nano:
        return "-"
    return f"${nano / NANO:,.4f}" if nano < 1_000 * NANO else f"${nano / NANO:,.2f}"
