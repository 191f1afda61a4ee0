"""The command `toolweaver-monitor tail`: the last calls of a store, and new ones as they end."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import msgspec

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._store.reader import ERRORS, StoredCall, StoreReader, did_you_mean
from toolweaver_monitor._text.display import escape, format_seconds
from toolweaver_monitor.errors import ConfigurationError

TAIL_PURPOSE = """\
Show the last calls of a store. With --follow also each call that ends from now on, until Ctrl-C.
"""
TAIL_USES = """\
examples:
  toolweaver-monitor tail runs.db
  toolweaver-monitor tail runs.db --follow --errors
  toolweaver-monitor tail runs.db -n 1000 --tool ocr --json | jq .duration_s
"""
FOLLOW_EVERY_S = 0.5


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "tail", TAIL_PURPOSE, TAIL_USES)
    common.add_stores(parser)
    parser.add_argument(
        "-n", type=common.whole, default=10, metavar="N", dest="count", help="how many of the last calls (10)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with each new call")
    parser.add_argument("--tool", metavar="NAME", help="only calls of this tool")
    parser.add_argument("--errors", action="store_true", help="only failures and timeouts")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each call, one a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the calls."""
    with common.open_store(options) as store:
        tool = options.tool
        if tool and not options.follow and tool not in (known := store.tools()):
            raise ConfigurationError(f"no call is of a tool {tool!r}", hint=did_you_mean(tool, known, "no calls"))
        _show(store, options)
    return 0


def _show(store: StoreReader, options: argparse.Namespace) -> None:
    console = None if options.json else terminal.rich_console()
    outcomes = ERRORS if options.errors else None
    after = {each: each.last_seq() for each in store.stores}
    calls = store.calls(tool=options.tool, outcomes=outcomes, limit=max(0, options.count)) if options.count else []
    for call in reversed(calls):
        _print(call, options, console)
    while options.follow:
        time.sleep(FOLLOW_EVERY_S)
        for each in store.stores:
            for call in each.calls(tool=options.tool, outcomes=outcomes, after=after[each], order="oldest", limit=None):
                _print(call, options, console)
                after[each] = max(after[each], call.seq)


def _print(call: StoredCall, options: argparse.Namespace, console: Any) -> None:
    if options.json:
        print(json.dumps(msgspec.to_builtins(call)), flush=options.follow)
    elif console is None:
        print(_line(call), flush=options.follow)
    else:
        from rich.text import Text

        line = Text(_line(call))
        line.highlight_words([f"  {call.outcome} "], terminal.STYLES.get(call.outcome, ""))
        console.print(line, soft_wrap=True)


def _line(call: StoredCall) -> str:
    parts = [
        common.when(call.started_at + call.duration_s),
        f"{call.outcome:<9}",
        f"{format_seconds(call.duration_s):>9}",
    ]
    parts.append(escape(call.path))
    if call.cost_usd is not None:
        parts.append(f"${call.cost_usd:,.6f}")
    if call.tokens:
        parts.append(f"{call.tokens:,} tokens")
    parts += [escape(f"{name}={value}") for name, value in call.own_tags.items()]
    if call.error_type:
        parts.append(escape(f"{call.error_type}: {call.error}"))
    return "  ".join(parts)
