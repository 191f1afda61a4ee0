"""One writer at a time, whatever SQLite's own locks do; and readers in nobody's way."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._store import connection
from toolweaver_monitor._store.connection import open_reader, open_writer
from toolweaver_monitor._store.lock_file import LockFile, StoreBusy
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.sinks import SQLiteStore

Calls = Callable[..., list[ToolCall]]


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    """`flock` does not keep threads apart that share a descriptor. Seen red: without `flock` and the threads' lock."""
    lock = LockFile(tmp_path / "lock")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with lock.held(10):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_two_stores_of_one_process_take_turns(path: Path, calls_of: Calls) -> None:
    """As two processes do. Seen red: with the lock file never locked."""
    first, second = SQLiteStore(path), SQLiteStore(path)
    first.write(calls_of(1))
    with first._writer._lock.held(1), pytest.raises(StoreBusy):
        second.write(calls_of(1))
    second.write(calls_of(1))
    first.close()
    second.close()
    with StoreReader(path) as store:
        assert [sums.values["calls"] for sums in store.sums("all")] == [2]


def test_a_lock_file_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    """A lock on a file that is not there any more keeps nobody out. Seen red: without the look at the inode."""
    path = tmp_path / "lock"
    entered = threading.Event()

    def replace() -> None:
        with LockFile(path).held(1):
            entered.set()
            time.sleep(0.2)
            path.unlink()
            path.touch()

    thread = threading.Thread(target=replace)
    thread.start()
    entered.wait()
    second = LockFile(path)
    with LockFile(path).held(5), pytest.raises(StoreBusy), second.held(0.05):  # it waited, and got the new file
        pass
    thread.join()


def test_only_the_lock_holder_checkpoints(path: Path, calls_of: Calls) -> None:
    """No commit moves the log by itself, and no reader does. Seen red: with `wal_autocheckpoint` left on."""
    store = SQLiteStore(path)
    for _ in range(24):
        store.write(calls_of(2_000))
    log = path.with_name("runs.db-wal")
    size, before = log.stat().st_size, path.read_bytes()
    assert size > 1_000 * 4_096
    with StoreReader(path) as reader:
        assert reader.last_seq() == 48_000
        for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM meta"):
            with pytest.raises(sqlite3.OperationalError):
                reader._connection.execute(statement).fetchall()
    assert (log.stat().st_size, path.read_bytes()) == (size, before)
    assert open_writer(path, full_sync=False).value("PRAGMA wal_autocheckpoint") == 0
    store.close()


def test_a_log_that_has_grown_is_moved_into_the_file(path: Path, calls_of: Calls) -> None:
    """So that it does not grow for ever. Seen red: without `_checkpoint_if_due`."""
    store = SQLiteStore(path)
    for _ in range(60):
        store.write(calls_of(2_000))
    assert path.with_name("runs.db-wal").stat().st_size < 14 * 2**20
    assert path.stat().st_size > 6 * 2**20
    store.close()


def test_a_reader_does_not_delay_a_writer(path: Path, calls_of: Calls) -> None:
    """Also one that reads for long, and it sees what was there when it began. Seen red: in a rollback journal."""
    store = SQLiteStore(path)
    store.write(calls_of(10))
    reader = open_reader(path)
    reader.execute("BEGIN")
    assert reader.value("SELECT count(*) FROM calls") == 10
    store.write(calls_of(10))
    assert reader.value("SELECT count(*) FROM calls") == 10
    reader.execute("COMMIT")
    assert reader.value("SELECT count(*) FROM calls") == 20
    reader.close()
    store.close()


def test_a_file_that_was_replaced_is_noticed(path: Path, calls_of: Calls) -> None:
    """A store that somebody deletes is made anew, with names of its own. Seen red: with the old numbers used."""
    store = SQLiteStore(path)
    store.write([*calls_of(2, "first"), *calls_of(2, "second")])
    path.unlink()
    store.write(calls_of(3, "second"))
    store.close()
    with StoreReader(path) as reader:
        assert [(call.tool_name, call.run) for call in reader.calls()] == [("second", 1)] * 3
        assert [(sums.name, sums.values["calls"]) for sums in reader.sums("tool")] == [("second", 3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_until_sqlite_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has locked in the middle of a transaction stays locked in the child, which cannot write then, or hangs.

    Seen red: without `_wait_for_sqlite`. Of 400 children forked while a store was made 13 could not write to it.
    """
    monkeypatch.setattr(connection, "FORK_WAIT_S", 10.0)
    done: list[bool] = []

    def work() -> None:
        with StoreFile(tmp_path / "runs.db").transaction():
            begun.set()
            time.sleep(0.05)
            done.append(True)

    begun = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
