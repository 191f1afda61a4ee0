"""Connections to a store that a forked child neither uses nor closes."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import msgspec

from toolweaver_monitor._core import locks
from toolweaver_monitor._store.files import create_file, damage_note, first_aside, show, uri
from toolweaver_monitor._store.schema import VERSION
from toolweaver_monitor.errors import SinkUnavailable

BUSY_MS = 500
CACHE_KIB = 16_384

FORK_WAIT_S = 0.2
_at_work: list[None] = []
"""An entry for each thread that is in SQLite."""

decode_counts = msgspec.json.Decoder(dict[str, int]).decode


class StoreConnection(sqlite3.Connection):
    """A connection that belongs to one process."""

    pid = 0

    def is_mine(self) -> bool:
        """Return False in a forked child."""
        return self.pid == os.getpid()

    def value(self, query: str, *parameters: object) -> object:
        """Return the first column of the first row that a query finds; None if it finds none."""
        row = self.execute(query, parameters).fetchone()
        return None if row is None else row[0]


_open: WeakSet[StoreConnection] = WeakSet()
_inherited: list[StoreConnection] = []


def add_counts(first: str | None, second: str | None) -> str | None:
    """Return the sum of two JSON objects of counts; None is empty."""
    if first is None or second is None:
        return second if first is None else first
    counts = decode_counts(first)
    for key, count in decode_counts(second).items():
        counts[key] = counts.get(key, 0) + count
    return msgspec.json.encode(counts).decode()


class CountsSum:
    """The SQL aggregate that adds JSON objects of counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def step(self, value: str | None) -> None:
        """Add the counts of one row."""
        if value is not None:
            counts = self.counts
            for key, count in decode_counts(value).items():
                counts[key] = counts.get(key, 0) + count

    def finalize(self) -> str | None:
        """Return the sum."""
        return msgspec.json.encode(self.counts).decode() if self.counts else None


def open_writer(path: Path, *, full_sync: bool) -> StoreConnection:
    """Open a store for writing. Hold its lock.

    Args:
        path: an existing file.
        full_sync: whether each commit waits until the disk has it.
    """
    connection = _connect(uri(path, mode="rw"))
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = 1")  # what is deleted is overwritten as well
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.create_aggregate("sum_counts", 1, CountsSum)  # type: ignore[arg-type]
    connection.create_function("add_counts", 2, add_counts, deterministic=True)
    return connection


def open_reader(path: Path) -> StoreConnection:
    """Open a store for reading; never writes to it, and never makes a writer wait.

    Raises:
        SinkUnavailable: the store cannot be opened.
    """
    writable = os.access(path.absolute().parent, os.W_OK)
    at_rest = not writable and not path.with_name(path.name + "-wal").exists()
    try:
        connection = _connect(uri(path, mode="ro", **({"immutable": "1"} if at_rest else {})))
    except sqlite3.Error as error:
        raise unreadable(path, error) from None
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        connection.close()
        raise unreadable(path, error) from None
    return connection


def _connect(address: str) -> StoreConnection:
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, factory=StoreConnection, cached_statements=64
    )
    connection.pid = os.getpid()
    _open.add(connection)
    return connection


def unreadable(path: Path, error: Exception) -> SinkUnavailable:
    """Return the error to raise for a store that cannot be read. If it is damaged, leave a note for its writers."""
    if is_damage(error):
        with suppress(OSError):  # is there already, or the folder takes none
            create_file(damage_note(path))
        hint = "the next program that writes to it sets it aside as *.corrupt-1 and keeps what can be read"
        if (aside := first_aside(path)).exists():
            hint = f"move {show(aside)} away; then {hint}"
        return SinkUnavailable(f"{show(path)} is damaged ({error})", hint=hint)
    if "locked" in str(error):
        hint = "another program holds it; close that, or try again"
    elif not os.access(path, os.R_OK):
        hint = "ask its owner for the right to read it"
    else:
        hint = "give the folder write permission for you, or copy the store together with its -wal file"
    return SinkUnavailable(f"{show(path)} cannot be opened ({error})", hint=hint)


NO_VERSION = 1_000
"""A layout from here up is a damaged byte."""
DAMAGE = (
    "malformed", "not a database", "no such table", "no such column", "has no column", "unsupported file format",
    "constraint failed", "Could not decode",
)  # fmt: skip


def is_damage(error: BaseException) -> bool:
    """Return True if an error says that the file is not as it was written. Our own statements are correct."""
    if isinstance(error, UnicodeDecodeError | msgspec.DecodeError):  # SQLite's message quotes what should be the layout
        return True
    return isinstance(error, sqlite3.Error) and any(text in str(error) for text in DAMAGE)


def check_version(path: Path, found: object, *, reads: bool = False) -> None:
    """Check that a store's layout is known.

    Args:
        path: the store.
        found: its layout.
        reads: whether it can only be read, and not be brought up to date.

    Raises:
        SinkUnavailable: a newer version of this library has written it, or an older one if it can only be read.
        sqlite3.DatabaseError: it has none.
    """
    if not isinstance(found, int) or not 1 <= found < NO_VERSION:
        raise sqlite3.DatabaseError("file is not a database")
    if found > VERSION:
        raise SinkUnavailable(
            f"{show(path)} was written by a newer toolweaver_monitor (layout {found}; this one knows {VERSION})",
            hint="pip install --upgrade toolweaver_monitor, or give another path",
        )
    if reads and found != VERSION:
        raise SinkUnavailable(
            f"{show(path)} was written by an older toolweaver_monitor (layout {found}; this one reads {VERSION})",
            hint="the next program that writes to it brings it up to date",
        )


def _keep_in_child() -> None:
    """Keep the parent's connections for ever: closing one here would release the parent's locks, or checkpoint."""
    _at_work.clear()
    inherited = list(_open)
    _open.clear()
    _inherited.extend(inherited)
    for connection in inherited:
        _keep_beyond_the_end(connection)


def _keep_beyond_the_end(connection: StoreConnection) -> None:
    """Keep a connection alive even when the interpreter takes its modules apart."""
    try:
        from ctypes import py_object, pythonapi
    except ImportError:  # then only a child that ends without `os._exit` closes it
        return
    pythonapi.Py_IncRef(py_object(connection))


@contextmanager
def at_work() -> Iterator[None]:
    """Have a fork wait for the end of a block that works with SQLite, but not long.

    What SQLite has locked at the moment of a fork stays locked in the child: it finds the file busy, or never returns.
    """
    _at_work.append(None)
    try:
        yield
    finally:
        del _at_work[-1:]  # a child that was forked in the block has none


def _wait_for_sqlite() -> None:
    by = time.monotonic() + FORK_WAIT_S
    while _at_work and time.monotonic() < by:
        time.sleep(0.0002)


locks.after_fork_in_child(_keep_in_child)
if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    os.register_at_fork(before=_wait_for_sqlite)
