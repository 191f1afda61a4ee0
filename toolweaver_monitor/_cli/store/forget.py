"""The command `toolweaver-monitor forget`: delete from a store what a tag names."""

from __future__ import annotations

import argparse
import glob
import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from typing import Any

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._store.writer import StoreWriter
from toolweaver_monitor._text.display import escape, pluralize
from toolweaver_monitor.errors import SinkUnavailable

FORGET_PURPOSE = """\
Delete from a store, or several, the calls with a tag, and every sum by it. The calls inside these go as well; what was
deleted is overwritten in the file. Sums by tool, model and path stay, as they do not name it. A damaged store that was
set aside (*.corrupt-1) is not searched.
"""
FORGET_USES = """\
examples:
  toolweaver-monitor forget runs.db --tag customer=acme
  toolweaver-monitor forget machine-*.db --tag customer=acme

exit code: 0 if something was deleted, 1 if no call has this tag, 2 if there is no store that can be written
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "forget", FORGET_PURPOSE, FORGET_USES)
    common.add_stores(parser)
    parser.add_argument(
        "--tag", required=True, type=_tag, metavar="NAME=VALUE", help="the tag and the text of its value"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Delete, and print what was deleted."""
    with common.open_store(options) as store:  # raises if there is none: a writer would create it
        paths = [each.path for each in store.stores]
    deleted = Counter[str]()
    with terminal.progress("deleting"):  # and if a store is damaged, carrying over what can be read
        for path in paths:
            try:
                with closing(StoreWriter(path)) as writer:
                    deleted.update(writer.forget(*options.tag))
            except (OSError, sqlite3.Error) as error:
                fault = f"{escape(str(path))} cannot be written ({getattr(error, 'strerror', None) or error})"
                raise SinkUnavailable(fault, hint="close what holds it, or ask its owner; then try again") from None
    name, value = (escape(part) for part in options.tag)
    for path in paths:
        for aside in sorted(path.absolute().parent.glob(f"{glob.escape(path.name)}.corrupt-*")):
            print(f"not searched: {escape(str(aside))}; delete it, or keep what is in it", file=sys.stderr)
    if options.json:
        print(json.dumps(deleted, indent=2))
    elif any(deleted.values()):
        print(
            f"{pluralize(deleted['rows'], 'call')} and {pluralize(deleted['rollups'], 'sum')} of {name}={value} deleted"
        )
    else:
        print(f"no call has the tag {name}={value}")
    return 0 if any(deleted.values()) else 1


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no tag; write NAME=VALUE, such as customer=acme")
    return name, value
