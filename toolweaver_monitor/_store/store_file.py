"""The file of a store, open for writing: made if it is missing, replaced if it is damaged, locked for a transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._store import files, schema
from toolweaver_monitor._store.connection import StoreConnection, at_work, check_version, is_damage, open_writer
from toolweaver_monitor._store.lock_file import LockFile
from toolweaver_monitor._store.salvage import carry_over, set_aside

LOCK_WAIT_S = 0.6
"""Seconds that a transaction waits for other processes before it fails."""
CHECKPOINT_BYTES = 8 * 2**20
"""A write-ahead log of this size is moved into the store."""


class StoreFile:
    """The file of a store, and the one connection to it, which is opened when it is first needed.

    Args:
        path: the file.
        full_sync: whether each transaction waits until the disk has it, so that it survives a power cut.
    """

    def __init__(self, path: Path, *, full_sync: bool = False) -> None:
        self.path = path
        self._is_damaged = False
        self._full_sync = full_sync
        self._lock = LockFile(files.lock_path(path))
        self._connection: StoreConnection | None = None
        self._inode: tuple[int, int] | None = None
        self._forget_ids()
        locks.after_fork_in_child_weak(self, StoreFile._in_child)

    def _in_child(self) -> None:
        """Leave the parent's connection alone; the child opens one of its own, and is a run of its own."""
        self._connection = None
        self._forget_ids()

    def _forget_ids(self) -> None:
        """Forget what was read by the connection that is dropped."""

    def check(self) -> None:
        """Check that the store can be written, or created, without changing anything.

        Raises:
            SinkUnavailable: it cannot; the hint is the cure.
        """
        files.check_disk(self.path)
        files.check_is_store(self.path)

    @contextmanager
    def transaction(self) -> Iterator[StoreConnection]:
        """Hold the store's lock and a transaction for the length of a block."""
        if self._connection is None:
            with at_work():
                self.check()  # before there is a lock file, which would make any file a store
            if self._inode is None:  # once only: who moves the folder of a running program may move it back
                files.create_folder(self.path)
        with self._lock.held(LOCK_WAIT_S), at_work():
            connection = self._current_connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection, error)
                raise
            self._checkpoint_if_due(connection)

    def _undo(self, connection: StoreConnection, error: BaseException) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            self._is_damaged |= is_damage(error) or self._is_locked_out(error)
            self._drop_connection()  # a full disk, a broken one: begin again with a fresh connection

    def _is_locked_out(self, error: Exception) -> bool:
        """Return True if SQLite takes a writable file for one that it must not write: a byte of its header is wrong."""
        is_same = self._inode is not None and self._inode == files.inode(self.path)
        return "readonly database" in str(error) and is_same and os.access(self.path, os.W_OK)

    def _current_connection(self) -> StoreConnection:
        """Return the connection, opened again if the file is not the one that was opened."""
        if self._connection is not None and self._inode != files.inode(self.path):
            self._drop_connection()
            self.check()
        if self._connection is None:
            self._connection = self._open()
            self._inode = files.inode(self.path)
        return self._connection

    def _open(self) -> StoreConnection:
        if not files.check_is_store(self.path):
            self._create()
        try:
            return self._connect()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
        aside = set_aside(self.path)
        layout = self._create()
        self._is_damaged = False
        connection = self._connect()
        carry_over(aside, connection, layout)
        return connection

    def _connect(self) -> StoreConnection:
        self._check_damage()
        connection = open_writer(self.path, full_sync=self._full_sync)
        try:
            check_version(self.path, connection.value("PRAGMA user_version"))
            _migrate(connection)
            connection.execute("SELECT max(seq), (SELECT count(*) FROM meta) FROM call_rows").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_damage(self) -> None:
        """Raise if this writer has found damage, or a reader has and no store was set aside for that before."""
        is_noted = files.damage_note(self.path).exists() and not files.first_aside(self.path).exists()
        if self._is_damaged or is_noted:
            raise sqlite3.DatabaseError("database disk image is malformed")

    def _create(self) -> bytes:
        """Create a store under another name, so that a file with the store's name is always whole. Return its bytes."""
        made = self.path.with_name(self.path.name + ".toolweaver-new")
        for left in (f"{made.name}", f"{made.name}-journal", f"{self.path.name}-wal", f"{self.path.name}-shm"):
            self.path.with_name(left).unlink(missing_ok=True)  # of a program that was killed here, or a deleted store
        files.create_file(made)
        connection = open_writer(made, full_sync=True)
        try:
            _create_tables(connection)
        finally:
            connection.close()
        layout = made.read_bytes()  # before it has its name: to close a file that is open elsewhere drops its locks
        files.put_in_place(made, self.path)
        return layout

    def reading_connection(self) -> StoreConnection | None:
        """Return the open connection for a query that takes no lock; None if there is none for the present file."""
        connection = self._connection
        is_usable = connection is not None and connection.is_mine() and self._inode == files.inode(self.path)
        return connection if is_usable else None

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._forget_ids()
        if connection is not None and connection.is_mine():
            try:
                connection.close()
            except sqlite3.Error:
                pass

    def close(self) -> None:
        """Close the store. The last writer moves its log into the file."""
        if self._connection is None or not self._connection.is_mine():
            self._connection = None
            return
        with self._lock.held(LOCK_WAIT_S), at_work():
            self._drop_connection()

    def _checkpoint_if_due(self, connection: StoreConnection) -> None:
        try:
            size = self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return
        if size >= CHECKPOINT_BYTES:
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.OperationalError:  # a full disk: the log keeps what was committed
                pass


def _create_tables(connection: StoreConnection) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.TABLES:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO meta VALUES ('last_seq', 0), ('epoch', 0), ('tidied_at', ?), ('created_at', ?)",
        (time.time(), time.time()),
    )
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")


def _migrate(connection: StoreConnection) -> None:
    """Bring a store of an older layout up to date: all of it, or nothing. Hold its lock."""
    found: Any = connection.value("PRAGMA user_version")
    if found == schema.VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for version in range(found, schema.VERSION):
        for statement in schema.MIGRATIONS[version]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    connection.execute("COMMIT")
