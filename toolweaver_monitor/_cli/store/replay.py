"""The command `toolweaver-monitor replay`: hand the calls of a store on, each of them once."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._cli.store.replay_wandb import read_place, replay_to_wandb
from toolweaver_monitor._store.reader import StoredCall, StoreReader
from toolweaver_monitor._text.display import escape, pluralize
from toolweaver_monitor.errors import ConfigurationError

REPLAY_PURPOSE = """\
Hand the calls of a store on: to a file, or to a W&B run. Each call once: a second time, only calls that have come since
are added. For wandb, the file keeps which these are, and WANDB_MODE and the other variables of W&B say where to. Of
several stores, each has a file, or a run, of its own.
"""
REPLAY_USES = """\
examples:
  toolweaver-monitor replay runs.db --to jsonl -o calls.jsonl
  toolweaver-monitor replay runs.db --to chrome-trace    runs.trace.json, for chrome://tracing and ui.perfetto.dev
  WANDB_MODE=offline toolweaver-monitor replay runs.db --to wandb

exit code: 0, or 2 if the store cannot be read, the file is another's, or W&B takes no run
"""
CALLS_AT_ONCE = 2_000


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "replay", REPLAY_PURPOSE, REPLAY_USES)
    common.add_stores(parser)
    parser.add_argument("--to", required=True, choices=sorted([*_WRITERS, "wandb"]), help="the form")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file to write, or to go on with")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Hand on the calls that were not handed on yet."""
    with common.open_store(options) as opened:
        if options.output and len(opened.stores) > 1:
            raise ConfigurationError(
                "-o names one file for several stores", hint="leave it out: each gets one of its own"
            )
        done = [(_to_wandb if options.to == "wandb" else _to_file)(store, options) for store in opened.stores]
    if options.json:
        found = [{"calls": count, "to": to} for count, to in done]
        print(json.dumps(found if len(found) > 1 else found[0], indent=2))
    else:
        for count, to in done:
            print(f"{pluralize(count, 'call')} written to {escape(to)}")
    return 0


def _to_file(store: StoreReader, options: argparse.Namespace) -> tuple[int, str]:
    """Add calls to a file as lines. Return how many, and the file."""
    encode, opening, suffix = _WRITERS[options.to]
    path = common.check_output(options.output or store.path.with_suffix(suffix))
    after, is_new = _last_seq(path, options.to)
    _check_place(store, path, after)
    count = 0
    with path.open("a", encoding="utf-8") as file, _progress(store, after) as shown:
        file.write(opening if is_new else "")
        for calls in _batches(store, after):
            file.writelines(encode(call) + "\n" for call in calls)
            file.flush()
            count += len(calls)
            shown.advance(len(calls))
    return count, str(path)


def _to_wandb(store: StoreReader, options: argparse.Namespace) -> tuple[int, str]:
    """Log calls to a W&B run. Return how many, and where the run is."""
    path = common.check_output(options.output or store.path.with_suffix(".wandb.json"))
    place = read_place(path)
    _check_place(store, path, place.seq)
    before = place.calls
    if place.seq == store.last_seq():
        return 0, f"the run {place.run_id}"
    with _progress(store, place.seq) as shown:
        where = replay_to_wandb(store, path, place, _batches(store, place.seq), shown.advance)
    return place.calls - before, where


def _progress(store: StoreReader, after: int) -> AbstractContextManager[terminal.Progress]:
    left = next(store.rows("SELECT count(*) FROM call_rows WHERE seq > ?", (after,)))[0]
    return terminal.progress("calls", left)


def _check_place(store: StoreReader, path: Path, after: int) -> None:
    """Check that a file does not go on with another store.

    Raises:
        ConfigurationError: it has calls that this store has not.
    """
    if after > store.last_seq():
        raise ConfigurationError(
            f"{escape(str(path))} has calls of another store", hint="give a file that is not there yet: -o FILE"
        )


def _batches(store: StoreReader, after: int) -> Iterator[list[StoredCall]]:
    while calls := store.calls(after=after, order="oldest", limit=CALLS_AT_ONCE):
        yield calls
        after = calls[-1].seq


def _last_seq(path: Path, form: str) -> tuple[int, bool]:
    """Return the number of the last call that a file has, and whether it is new. Half a line at its end is removed.

    Raises:
        ConfigurationError: it is no regular file, or this command did not write it in this form; it is left as it is.
    """
    if not path.exists():
        return 0, True
    another = ConfigurationError(
        f"{escape(str(path))} was not written by this command as {form}", hint="give a file that is not there yet"
    )
    if not path.is_file():
        raise another
    opening = _WRITERS[form][1].encode()
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        start = max(0, end - 1_000_000)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        lines = tail[:whole].splitlines()
        if not lines and not opening.startswith(tail) and not (form == "jsonl" and tail.startswith(b'{"seq":')):
            raise another
        seq = 0
        if lines and lines[-1] + b"\n" != opening:
            try:
                last = json.loads(lines[-1].rstrip(b","))
                seq = int(last["seq"] if form == "jsonl" else last["args"]["seq"])
            except (ValueError, KeyError, TypeError):
                raise another from None
        file.truncate(start + whole)
    return seq, not lines


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
