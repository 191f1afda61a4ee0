"""The command `toolweaver-monitor tree`: where calls, time and money went, by the path of tools."""

from __future__ import annotations

import argparse
import json
from typing import Any

from toolweaver_monitor._cli.store import options as common
from toolweaver_monitor._core.context_tree import ContextTree, Node, tool_key
from toolweaver_monitor._stats.path_tree import PathTree
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.schema import OUTCOMES

TREE_PURPOSE = """\
Show where calls, time and money went, by the path of tools. Own time and cost are those of the calls less what ran
inside them.
"""
TREE_USES = """\
examples:
  toolweaver-monitor tree runs.db --since 1d
  toolweaver-monitor tree runs.db --folded cost > cost.folded   for flame-graph viewers
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "tree", TREE_PURPOSE, TREE_USES)
    common.add_store(parser)
    common.add_period(parser)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="paths to show, the heaviest; 0 for all")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--folded", choices=["cost", "time", "calls"], help="print folded stacks, weighted so")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tree."""
    with common.open_store(options) as store:
        tree = read_tree(store, since=options.since, until=options.until, run=options.of_run)
    if options.json:
        print(json.dumps(tree.as_dict(), indent=2))
    elif options.folded:
        print(tree.folded(options.folded))
    else:
        print(tree.text(None if options.limit <= 0 else options.limit))
    return 0


def read_tree(store: StoreReader, **period: Any) -> PathTree:
    """Return the calling context of a store's calls.

    Args:
        store: the store.
        **period: `since`, `until` and `run`, as for `StoreReader.sums`.
    """
    sums = {each.series: each for each in store.sums("path", **period)}
    names = {series: (parent, name) for series, parent, name in store.rows(_PATHS)}
    root = ContextTree().root
    nodes: dict[int, Node] = {0: root}

    def place(series: int) -> Node:
        waiting: list[int] = []
        while series not in nodes:
            waiting.append(series)
            series = names[series][0]
        for each in reversed(waiting):
            parent, name = names[each]
            nodes[each] = nodes[parent].child(tool_key(name))
        return nodes[waiting[0] if waiting else series]

    found: dict[Node, ToolStats] = {}
    for series, each in sums.items():
        if series is not None:
            found.setdefault(place(series), ToolStats()).add(unpack(each.values, OUTCOMES))
    tree = PathTree()
    tree.add(found)
    return tree


_PATHS = "SELECT series, parent, name FROM series WHERE kind = 'path'"
