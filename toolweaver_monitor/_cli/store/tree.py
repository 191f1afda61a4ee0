"""The command `toolweaver-monitor tree`: where calls, time and money went, by the path of tools."""

from __future__ import annotations

import argparse
import json
from typing import Any

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._page.stored import read_tree

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
    common.add_stores(parser)
    common.add_period(parser)
    parser.add_argument(
        "--limit", type=common.whole, default=50, metavar="N", help="paths to show, the heaviest; 0 for all"
    )
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
        rows, notes = tree.rows(None if options.limit <= 0 else options.limit)
        terminal.show(*([rows] if rows else []), *(note.replace("text(limit=None)", "--limit 0") for note in notes))
    return 0
