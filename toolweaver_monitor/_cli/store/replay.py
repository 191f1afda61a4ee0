"""The command `toolweaver-monitor replay`: hand the calls of a store on, each of them once."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from toolweaver_monitor._cli.store import options as common
from toolweaver_monitor._store.reader import StoredCall, StoreReader
from toolweaver_monitor._text.display import escape, pluralize
from toolweaver_monitor.errors import ConfigurationError

REPLAY_PURPOSE = """\
Hand the calls of a store on. Each call once: a second time, only calls that have come since are added to the file.
"""
REPLAY_USES = """\
examples:
  toolweaver-monitor replay runs.db --to jsonl -o calls.jsonl
  toolweaver-monitor replay runs.db --to chrome-trace    runs.trace.json, for chrome://tracing and ui.perfetto.dev

exit code: 0, or 2 if the store cannot be read or the file is another's
"""
CALLS_AT_ONCE = 2_000


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "replay", REPLAY_PURPOSE, REPLAY_USES)
    common.add_store(parser)
    parser.add_argument("--to", required=True, choices=sorted(_WRITERS), help="the form")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file to write, or to go on with")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the calls that the file does not have yet."""
    encode, opening, suffix = _WRITERS[options.to]
    path = options.output or Path(common.store_path(options)).with_suffix(suffix)
    with common.open_store(options) as store:
        after, is_new = _last_seq(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(opening if is_new else "")
            count = _write(file, encode, _batches(store, after))
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    print(f"{pluralize(count, 'call')} written to {escape(str(path))}")
    return 0


def _write(file: IO[str], encode: Callable[[StoredCall], str], batches: Iterable[list[StoredCall]]) -> int:
    """Write calls as lines, and return their number; a terminal sees it rise."""
    count = 0
    for calls in batches:
        file.writelines(encode(call) + "\n" for call in calls)
        file.flush()
        count += len(calls)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{count:,} calls")
    return count


def _batches(store: StoreReader, after: int) -> Iterator[list[StoredCall]]:
    while calls := store.calls(after=after, order="oldest", limit=CALLS_AT_ONCE):
        yield calls
        after = calls[-1].seq


def _last_seq(path: Path) -> tuple[int, bool]:
    """Return the number of the last call that a file has, and whether it is new. Half a line at its end is removed.

    Raises:
        ConfigurationError: the file was not written by this command.
    """
    try:
        with path.open("rb+") as file:
            end = file.seek(0, 2)
            start = max(0, end - 1_000_000)
            file.seek(start)
            tail = file.read()
            whole = tail.rfind(b"\n") + 1
            file.truncate(start + whole)
    except FileNotFoundError:
        return 0, True
    if not end:
        return 0, True
    lines = tail[:whole].splitlines()
    if not lines or lines[-1] == b"[":
        return 0, not lines
    try:
        last = json.loads(lines[-1].rstrip(b","))
        return int(last["seq"] if "seq" in last else last["args"]["seq"]), False
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{escape(str(path))} was not written by this command", hint="give a file that is not there yet"
        ) from None


def _json_line(call: StoredCall) -> str:
    return json.dumps(msgspec.to_builtins(call), separators=(",", ":"), ensure_ascii=False)


def _trace_event(call: StoredCall) -> str:
    """Return a call as a complete event ("X") of the Trace Event Format; its array need not be closed."""
    told = {"seq": call.seq, "path": call.path, "outcome": call.outcome, "cost_usd": call.cost_usd, "tags": call.tags}
    told |= {"tokens": call.tokens, "model": call.model, "error": call.error}
    event = {"name": call.tool_name, "cat": call.outcome, "ph": "X", "pid": call.run, "tid": call.root % 2**31}
    event |= {"ts": call.started_at * 1e6, "dur": call.duration_s * 1e6, "args": told}
    return json.dumps(event, separators=(",", ":")) + ","


_WRITERS = {"jsonl": (_json_line, "", ".jsonl"), "chrome-trace": (_trace_event, "[\n", ".trace.json")}
