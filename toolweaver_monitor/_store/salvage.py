"""Set a damaged store aside, and carry over what can still be read."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from toolweaver_monitor._store import files, schema
from toolweaver_monitor._store.connection import StoreConnection
from toolweaver_monitor._text.display import pluralize

log = logging.getLogger("toolweaver_monitor")

CHUNK = 500
LONGEST_LEAP = 4_096
UNKNOWN_LAST = 10_000_000
"""The number at which to stop if the last one cannot be read."""
TABLES_BY_KEY = (
    ("runs", "run"),
    ("series", "series"),
    ("labels", "label"),
    ("call_rows", "seq"),
)
"""Tables with a number that rises, by which what follows a damaged page is reached."""
TABLES_BY_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rollups", schema.KEY),
    ("ledger", schema.ACCOUNT_KEY),
    ("refusals", schema.ACCOUNT),
)


def set_aside(path: Path) -> Path:
    """Rename a damaged store, and its log with it, to the first free `*.corrupt-N`. Hold its lock."""
    aside = next(
        each for each in (path.with_name(f"{path.name}.corrupt-{number}") for number in count(1)) if not each.exists()
    )
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def carry_over(aside: Path, connection: StoreConnection) -> None:
    """Copy what can be read of a damaged store into a new one, and log what was done."""
    copied = 0
    with suppress(sqlite3.Error):
        damaged = sqlite3.connect(files.uri(aside, mode="rw"), uri=True, isolation_level=None)
        damaged.execute("PRAGMA writable_schema = 1")  # else SQLite reads nothing of a file that was cut off
        damaged.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            connection.execute("BEGIN IMMEDIATE")
            for table, key in TABLES_BY_KEY:
                copied += _insert(connection, table, _rows_by_key(damaged, table, key)) * (table == "call_rows")
            for table, names in TABLES_BY_NAMES:
                _insert(connection, table, _rows_from_both_ends(damaged, table, names))
            connection.execute(
                "UPDATE meta SET value = (SELECT coalesce(max(seq), 0) FROM call_rows) WHERE name = 'last_seq'"
            )
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            damaged.close()
    log.warning(
        "the store was damaged: it is now %s, and %s could be carried over",
        files.show(aside),
        pluralize(copied, "call"),
    )


def _insert(connection: StoreConnection, table: str, rows: Iterator[tuple[Any, ...]]) -> int:
    copied = 0
    for row in rows:
        with suppress(sqlite3.Error):  # a value that the damage has changed
            query = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - names from above
            copied += connection.execute(query, row).rowcount
    return copied


def _rows_by_key(damaged: sqlite3.Connection, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows in the order of a number, and leap over pages that cannot be read."""
    last, leap = _extreme(damaged, table, key, "max"), 1
    at = _extreme(damaged, table, key, "min") - 1
    while at < last:
        query = f"SELECT {key}, * FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT {CHUNK}"  # noqa: S608
        try:
            found = damaged.execute(query, (at,)).fetchall()
        except sqlite3.Error:
            one = f"SELECT {key}, * FROM {table} WHERE {key} = ?"  # noqa: S608
            with suppress(sqlite3.Error):
                yield from (row[1:] for row in damaged.execute(one, (at + 1,)).fetchall())
            at, leap = at + leap, min(2 * leap, LONGEST_LEAP)
            continue
        leap = 1
        if not found:
            return
        yield from (row[1:] for row in found)
        at = found[-1][0]


def _extreme(damaged: sqlite3.Connection, table: str, key: str, which: str) -> int:
    try:
        found = damaged.execute(f"SELECT {which}({key}) FROM {table}").fetchone()[0]  # noqa: S608
    except sqlite3.Error:
        return 1 if which == "min" else UNKNOWN_LAST
    return int(found or 0)


def _rows_from_both_ends(damaged: sqlite3.Connection, table: str, key: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    for direction in ("ASC", "DESC"):
        ordered = ", ".join(f"{name} {direction}" for name in key)
        try:
            yield from damaged.execute(f"SELECT * FROM {table} ORDER BY {ordered}")  # noqa: S608
        except sqlite3.Error:
            continue
        return
