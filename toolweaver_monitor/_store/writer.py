"""Write batches of calls to a store: their rows and roll-ups in one transaction."""

from __future__ import annotations

import os
import platform
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from toolweaver_monitor._store import schema
from toolweaver_monitor._store.connection import StoreConnection
from toolweaver_monitor._store.lock_file import StoreBusy
from toolweaver_monitor._store.schema import (
    ADD_ROLLUP,
    INSERT_FIRST_ROW,
    INSERT_ROW,
    INSERT_ROWS,
    ROW,
    ROWS_AT_ONCE,
)
from toolweaver_monitor._store.store_file import LOCK_WAIT_S, StoreFile
from toolweaver_monitor._store.upkeep import UPKEEP_EVERY_S, Retention, forget_tag, is_due, is_too_large, tidy
from toolweaver_monitor._text.names import safe_name

Rows = list[Any]
"""The values of `schema.ROW` of one call after those of another."""
Rollup = tuple[tuple[int, int, int], dict[str, Any]]
"""Span, time and series, and values by the names of `schema.VALUES`."""
SeriesKey = tuple[str, int, str, str]
"""Kind, parent, name and value."""


class StaleNumbers(Exception):
    """The numbers of series and tags are of a store that is gone, or were deleted. Build the batch again."""


class StoreWriter(StoreFile):
    """The one connection of this process that writes calls to a store. It opens the store when first needed.

    Args:
        path: the file.
        full_sync: whether each batch waits until the disk has it, so that it survives a power cut.
        retention: how long rows are kept.
    """

    def __init__(self, path: Path, *, full_sync: bool = False, retention: Retention | None = None) -> None:
        super().__init__(path, full_sync=full_sync)
        self._retention = retention or Retention()
        self._next_upkeep = 0.0
        self._naming: ExitStack | None = None
        self._namer: StoreConnection | None = None

    def _forget_ids(self) -> None:
        self._series: dict[SeriesKey, int] = {}
        self._run: int | None = None
        self._epoch: object = None
        self.generation = getattr(self, "generation", 0) + 1
        """Changes whenever ids from before are not valid any more."""

    # --- ids ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Make the new numbers that a block asks for in one transaction, which begins with the first of them."""
        try:
            with ExitStack() as stack:
                self._naming = stack
                yield
        except BaseException:
            self._forget_ids()  # some of them may not be in the store
            raise
        finally:
            self._naming = self._namer = None

    def run(self) -> int:
        """Return the number of this process in the store."""
        if self._run is None:
            self._run = self._insert_once(_insert_run)
        return self._run

    def series(self, kind: str, parent: int, name: str, value: str) -> int:
        """Return the number of a series, made if it is new."""
        key = (kind, parent, name, value)
        number = self._series.get(key)
        if number is None:
            number = self._insert_once(lambda connection: _series_number(connection, key))
            self._series[key] = number
        return number

    def label(self, own_tags: str, tags: str) -> int:
        """Return the number of a new set of tags, as JSON: the call's own, and with those of the calls around it."""

        def insert(connection: StoreConnection) -> int:
            query = f"INSERT INTO labels (own_tags, tags, last_seq) VALUES (?, ?, ({_LAST_SEQ}) + 1)"  # noqa: S608
            return connection.execute(query, (own_tags, tags)).lastrowid or 0

        return self._insert_once(insert)

    def _insert_once(self, insert: Callable[[StoreConnection], int]) -> int:
        with ExitStack() as alone:
            connection = self._namer
            if connection is None:
                connection = (self._naming or alone).enter_context(self.transaction())
                self._namer = None if self._naming is None else connection
            if self._epoch is None:
                self._epoch = connection.execute(_STATE).fetchone()[1]
            return insert(connection)

    # --- batches ------------------------------------------------------------------------------------------------------

    def append(self, rows: Rows, rollups: Sequence[Rollup], calls: int) -> None:
        """Write a batch: all of it, or nothing.

        Args:
            rows: the calls that keep a row, in the order in which they ended.
            rollups: what all calls add up to.
            calls: how many calls that are.

        Raises:
            StoreBusy: other processes did not release the store in time; try again.
            sqlite3.Error: the disk is full or broken; try again.
            SinkUnavailable: the store cannot be written; the hint is the cure.
        """
        run = self.run()
        generation = self.generation
        with self.transaction() as connection:
            last, epoch = connection.execute(_STATE).fetchone()
            kept = len(rows) // len(ROW)
            if self.generation != generation or self._epoch != epoch:
                self._forget_ids()
                raise StaleNumbers
            _insert_rows(connection, last + 1, rows)
            bounds = (last + 1, last + kept) if rows else (None, None)
            connection.executemany(ADD_ROLLUP, _rollup_rows(rollups, run, *bounds))
            if rows:
                connection.execute("UPDATE meta SET value = ? WHERE name = 'last_seq'", (last + kept,))
                self._mark_labels(connection, set(rows[_LABEL :: len(ROW)]) - {0}, last + kept)
            connection.execute(
                "UPDATE runs SET last_at = ?, calls = calls + ?, kept = kept + ? WHERE run = ?",
                (time.time(), calls, kept, run),
            )
            if is_too_large(connection, self._retention):
                self._next_upkeep = -1.0
        if time.monotonic() >= self._next_upkeep:
            self._tidy()

    def _mark_labels(self, connection: StoreConnection, labels: set[int], last_seq: int) -> None:
        """Note the last row of each set of tags, so that it goes with that row."""
        query = "UPDATE labels SET last_seq = ? WHERE label = ?"
        if connection.executemany(query, [(last_seq, label) for label in labels]).rowcount not in (-1, len(labels)):
            self._forget_ids()
            raise StaleNumbers  # one of them went with its last row

    def _tidy(self) -> None:
        """Do one step of the upkeep if it is due; the next follows with the next batch, until nothing is left to do."""
        try:
            with self.transaction() as connection:
                self._check_damage()
                due = self._next_upkeep < 0 or is_due(connection)
                more = due and tidy(connection, self._retention, time.time())
        except (StoreBusy, sqlite3.Error):
            more = False
        self._next_upkeep = -1.0 if more else time.monotonic() + UPKEEP_EVERY_S

    def forget(self, name: str, value: str) -> dict[str, int]:
        """Delete everything that a tag's value names, and overwrite it in the file; see `upkeep.forget_tag`."""
        with self.transaction() as connection:
            deleted = forget_tag(connection, name, value)
        with self._lock.held(LOCK_WAIT_S):
            self._current_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return deleted


_LABEL = ROW.index("label")
_LAST_SEQ = "SELECT value FROM meta WHERE name = 'last_seq'"
_STATE = f"SELECT ({_LAST_SEQ}), (SELECT value FROM meta WHERE name = 'epoch')"  # noqa: S608 - as above


def _insert_rows(connection: StoreConnection, first_seq: int, rows: Rows) -> None:
    if not rows:
        return
    width = len(ROW)
    size = width * ROWS_AT_ONCE
    whole = len(rows) - (len(rows) - width) % size
    connection.execute(INSERT_FIRST_ROW, [first_seq, *rows[:width]])
    connection.executemany(INSERT_ROWS, [rows[at : at + size] for at in range(width, whole, size)])
    connection.executemany(INSERT_ROW, [rows[at : at + width] for at in range(whole, len(rows), width)])


def _rollup_rows(
    rollups: Sequence[Rollup], run: int, first_seq: int | None, last_seq: int | None
) -> Iterator[tuple[Any, ...]]:
    for (span, at, series), values in rollups:
        values["first_seq"], values["last_seq"] = first_seq, last_seq
        yield span, at, series, run, *_in_order(values)


_in_order = itemgetter(*schema.VALUES)


def _insert_run(connection: StoreConnection) -> int:
    now = time.time()
    program = safe_name(Path(sys.argv[0] if sys.argv else "").name or "python")
    values = (now, now, os.getpid(), socket.gethostname(), program, platform.python_version())
    query = "INSERT INTO runs (started_at, last_at, pid, host, program, python) VALUES (?, ?, ?, ?, ?, ?)"
    return connection.execute(query, values).lastrowid or 0


def _series_number(connection: StoreConnection, key: SeriesKey) -> int:
    connection.execute("INSERT OR IGNORE INTO series (kind, parent, name, value) VALUES (?, ?, ?, ?)", key)
    query = "SELECT series FROM series WHERE kind = ? AND parent = ? AND name = ? AND value = ?"
    found: Any = connection.value(query, *key)
    return int(found)
