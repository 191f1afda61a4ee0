"""Set a damaged store aside, and carry over what can still be read."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

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

JSON_COLUMNS: dict[str, Any] = {
    "durations": dict[int, int], "first_items": dict[int, int], "errors": dict[str, int],
    "own_tags": dict, "tags": dict, "more": dict,
}  # fmt: skip


def set_aside(path: Path) -> Path:
    """Rename a damaged store, and its log with it, to the first free `*.corrupt-N`. Hold its lock."""
    aside = next(
        each for each in (path.with_name(f"{path.name}.corrupt-{number}") for number in count(1)) if not each.exists()
    )
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    files.damage_note(path).unlink(missing_ok=True)
    return aside


def carry_over(aside: Path, connection: StoreConnection, layout: bytes) -> None:
    """Copy what can be read of a damaged store into a new one, and log what was done.

    Args:
        aside: the damaged store.
        connection: a writer's, to the new one.
        layout: the bytes of an empty store.
    """
    copied = 0
    with suppress(sqlite3.Error, OSError), _opened(aside, connection, layout) as damaged:
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
    log.warning(
        "the store was damaged: it is now %s, and %s could be carried over",
        files.show(aside),
        pluralize(copied, "call"),
    )


@contextmanager
def _opened(aside: Path, connection: StoreConnection, layout: bytes) -> Iterator[sqlite3.Connection]:
    """Open a damaged store. If its header or schema cannot be read, lend it those of the new one meanwhile."""
    size = aside.stat().st_size
    own: Mapping[int, bytes] = {}
    damaged = _connect(aside)
    if size >= len(layout) and not _is_laid_out(damaged, size):
        damaged.close()
        own = _exchange(aside, _schema_pages(connection, layout, size))
        damaged = _connect(aside)
    try:
        yield damaged
    finally:
        damaged.close()
        if own:
            _exchange(aside, own)


def _connect(aside: Path) -> sqlite3.Connection:
    damaged = sqlite3.connect(files.uri(aside, mode="rw"), uri=True, isolation_level=None)
    damaged.execute("PRAGMA writable_schema = 1")  # else SQLite reads nothing of a file that was cut off
    damaged.text_factory = lambda data: data.decode("utf-8", "replace")
    return damaged


def _is_laid_out(damaged: sqlite3.Connection, size: int) -> bool:
    """Return True if SQLite finds all tables, and takes the file to be at least as long as it is."""
    try:
        for table, _ in (*TABLES_BY_KEY, *TABLES_BY_NAMES):
            damaged.execute(f"EXPLAIN SELECT * FROM {table}")  # noqa: S608 - names from above
        pages, page_size = (damaged.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    except sqlite3.Error:
        return False
    return bool(pages * page_size >= size)


def _schema_pages(connection: StoreConnection, layout: bytes, size: int) -> dict[int, bytes]:
    """Return by offset the header and the schema of a new store, for a file of another size.

    All stores of one layout have them at the same places: where the new one has no page of a table.
    """
    width = int.from_bytes(layout[16:18], "big")
    taken = {root - 1 for (root,) in connection.execute("SELECT rootpage FROM sqlite_master")} | {1}  # a map of pages
    pages = {at * width: layout[at * width : (at + 1) * width] for at in range(len(layout) // width) if at not in taken}
    pages[0] = pages[0][:28] + (size // width).to_bytes(4, "big") + pages[0][32:]
    return pages


def _exchange(path: Path, pages: Mapping[int, bytes]) -> dict[int, bytes]:
    """Write bytes at offsets of a file, and return what was there."""
    own = {}
    with path.open("r+b") as file:
        for offset, page in pages.items():
            file.seek(offset)
            own[offset] = file.read(len(page))
            file.seek(offset)
            file.write(page)
    return own


def _insert(connection: StoreConnection, table: str, rows: Iterator[tuple[Any, ...]]) -> int:
    copied = 0
    names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    kinds = [JSON_COLUMNS.get(name) for name in names]
    for row in rows:
        with suppress(sqlite3.Error, ValueError):  # a value, or a number of columns, that the damage has changed
            sound = [_checked(value, kind) if kind else value for value, kind in zip(row, kinds, strict=True)]
            query = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - names from above
            copied += connection.execute(query, sound).rowcount
    return copied


def _checked(value: Any, kind: Any) -> Any:
    """Return the text of a JSON object of some kind, or 0 for none, as it is; None if it is damaged."""
    try:
        return value if value == 0 or msgspec.json.decode(value, type=kind) is not None else None
    except (msgspec.DecodeError, TypeError):
        return None


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
