"""What commands share: how one is added, the store, the period, a port, and the form of the output."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from toolweaver_monitor._cli import terminal
from toolweaver_monitor._core import config
from toolweaver_monitor._store.files import OWN_FILE
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.several import SeveralStores
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
EARLIEST, LATEST = 0.0, 32_503_680_000.0
"""1970 and 3000."""


def add_command(commands: Any, name: str, purpose: str, uses: str) -> argparse.ArgumentParser:
    """Add a command; the first sentence of its purpose is its line in the list of all."""
    line = purpose.split(".", maxsplit=1)[0].replace("\n", " ")
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=line[0].lower() + line[1:],
        description=purpose,
        epilog=uses,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names one store or several, which are read as one."""
    parser.add_argument(
        "store", metavar="STORE", nargs="*", help="the files; default: TOOLWEAVER_MONITOR_STORE, else toolweaver.db"
    )


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose calls by time and by run."""
    parser.add_argument("--since", type=moment, metavar="WHEN", help="2h, 30m, 7d ago, or 2026-11-28, 2026-11-28T14:30")
    parser.add_argument("--until", type=moment, metavar="WHEN", help="the same, for the end")
    parser.add_argument(
        "--run", dest="of_run", type=whole, metavar="N", help="only this run; `report --by run` lists them"
    )


def open_store(options: argparse.Namespace) -> StoreReader:
    """Open the store that the command line names, or several as one, for reading.

    Raises:
        SinkUnavailable: there is none that can be read.
    """
    return with_run(open_files(options.store or [config.STORE.value()]), getattr(options, "of_run", None))


def open_files(paths: Sequence[str | Path]) -> StoreReader:
    """Open a store, or several as one, for reading; the cure of an error is one for those who read.

    Raises:
        SinkUnavailable: one of them cannot be read.
    """
    try:
        return SeveralStores(paths) if len(paths) > 1 else StoreReader(paths[0])
    except SinkUnavailable as error:
        if error.hint == OWN_FILE:
            raise SinkUnavailable(str(error).removesuffix(f"; {error.hint}"), hint="give the path of a store") from None
        raise


def with_run(store: StoreReader, run: int | None) -> StoreReader:
    """Return a store that has the run that the command line names, if it names one; else close it.

    Raises:
        ConfigurationError: there is no such run.
    """
    known = [each["run"] for each in store.runs()] if run is not None else []
    if run is not None and run not in known:
        store.close()
        there = (
            f"there are {known[0]} to {known[-1]}"
            if known[1:]
            else f"there is {known[0]}"
            if known
            else "there is none"
        )
        raise ConfigurationError(
            f"{escape(str(store.path))} has no run {run}", hint=f"{there}; report --by run shows them"
        )
    return store


def check_output(path: Path) -> Path:
    """Return the path of a file to write, before any work is done for it.

    Raises:
        ConfigurationError: no file can be written there.
    """
    path = path.expanduser()
    shown = escape(str(path))
    if not path.parent.is_dir():
        raise ConfigurationError(f"{shown} cannot be written: its folder is not there", hint="make the folder first")
    if path.is_dir():
        raise ConfigurationError(f"{shown} is a folder", hint="give the path of a file in it")
    if path.is_file() and os.access(path, os.R_OK):
        with path.open("rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                raise ConfigurationError(f"{shown} is a database", hint="give the path of a file to write")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"{shown} cannot be written: you may not", hint="give a path in a folder of yours")
    return path


def moment(text: str) -> float:
    """Return the Unix seconds that a text such as `2h` or `2026-11-28T14:30` means; local time unless it says a zone.

    Raises:
        argparse.ArgumentTypeError: it means none.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            found = time.time() - float(ago[1]) * _SECONDS[ago[2]]
        else:
            found = datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        found = -1.0
    if not EARLIEST <= found <= LATEST:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no time; write 2h, 30m, 7d, or 2026-11-28T14:30")
    return found


def whole(text: str) -> int:
    """Return the number, from 0 up, that a text means.

    Raises:
        argparse.ArgumentTypeError: it means none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no whole number from 0 up")
    return int(text)


def port(text: str) -> int:
    """Return the port that a text means.

    Raises:
        argparse.ArgumentTypeError: it means none.
    """
    try:
        return config.as_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give {error}") from None


def amount(text: str) -> float:
    """Return the number, from 0 up and with a fraction, that a text means.

    Raises:
        argparse.ArgumentTypeError: it means none.
    """
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text.strip()):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no number from 0 up")
    return float(text)


def serve_until_ctrl_c(about: dict[str, Any], *, as_json: bool, note: str = "") -> None:
    """Print where something is served, and wait for Ctrl-C or SIGTERM.

    Args:
        about: what is printed as JSON; the text is its `url`.
        as_json: print JSON.
        note: what a terminal is shown besides, before how to end it.
    """
    running = threading.Lock()
    running.acquire()

    def end(*_: object) -> None:
        if running.locked():
            running.release()

    try:
        # Without a handler, process 1 of a container would ignore the signal. It raises nothing, since that would be
        # lost in a callback of the garbage collector.
        signal.signal(signal.SIGTERM, end)
        print(json.dumps(about, indent=2) if as_json else about["url"], flush=True)
        if sys.stderr.isatty():
            sys.stderr.write(f"{note}Ctrl-C ends it\n")
        running.acquire()
    except KeyboardInterrupt:
        sys.stderr.write("\n" if sys.stderr.isatty() else "")  # below the ^C of the terminal


def print_rows(rows: Sequence[Sequence[Any]], form: str) -> None:
    """Print rows, the first of which is the header.

    Args:
        rows: the rows.
        form: `"text"` for aligned columns, `"csv"`, or `"json"` for a list of objects.
    """
    head, *body = rows
    if form == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    elif form == "json":
        print(json.dumps([dict(zip(head, row, strict=True)) for row in body], indent=2))
    else:
        terminal.show([["-" if cell is None else escape(str(cell)) for cell in row] for row in rows])


def when(seconds: float) -> str:
    """Return a moment in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
