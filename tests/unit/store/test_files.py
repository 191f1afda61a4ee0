"""Which files are taken for stores, how they are made, and what is said about the others."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from toolweaver_monitor import Budget, ToolCall, setup, track
from toolweaver_monitor._store import connection, files, schema
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks import SQLiteStore

Calls = Callable[..., list[ToolCall]]


def test_a_store_and_its_folder_are_private(tmp_path: Path, calls_of: Calls) -> None:
    """Whatever the umask is, only the owner can read. Seen red: with `0o644`."""
    before = os.umask(0)
    try:
        store = SQLiteStore(tmp_path / "new" / "inner" / "runs.db")
        store.write(calls_of(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()}
        assert modes == dict.fromkeys(("runs.db", "runs.db-wal", "runs.db-shm", "runs.db.lock"), 0o600)
        folders = (store.path.parent, store.path.parent.parent)
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]
        store.close()
    finally:
        os.umask(before)


def another_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE invoices (id)")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


OTHERS = {
    "another database": another_database,
    "a text": lambda path: path.write_text("hello " * 100),
    "an empty file": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("elsewhere.db"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_file_is_refused_and_not_touched(path: Path, calls_of: Calls, other: str) -> None:
    """A writer and a reader refuse what is no store, with the cure. Seen red: with the lock file made first."""
    OTHERS[other](path)
    before = path.read_bytes() if path.is_file() else None
    store = SQLiteStore(path)
    for refused in (store.start, lambda: store.write(calls_of(1)), lambda: StoreReader(path)):
        with pytest.raises(SinkUnavailable) as caught:
            refused()
        assert caught.value.hint
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]
    assert (path.read_bytes() if path.is_file() else None) == before
    store.close()


def test_a_store_of_a_newer_version_is_refused_and_not_touched(path: Path, calls_of: Calls) -> None:
    """An older program does not write into a newer layout. Seen red: without the check."""
    store = SQLiteStore(path)
    store.write(calls_of(1))
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SinkUnavailable, match="newer toolweaver_monitor") as caught:
        SQLiteStore(path).write(calls_of(1))
    assert "upgrade" in caught.value.hint
    with pytest.raises(SinkUnavailable, match="newer toolweaver_monitor"):
        StoreReader(path)
    assert path.read_bytes() == before


def test_a_store_of_an_older_version_is_brought_up_to_date_by_a_writer(
    path: Path, calls_of: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader changes nothing and says what to do. If a statement fails, the store is as it was.

    Seen red: with the version set before the statements, the one that failed was never tried again.
    """
    store = SQLiteStore(path)
    store.write(calls_of(3))
    store.close()
    for module in (schema, connection):
        monkeypatch.setattr(module, "VERSION", 3)
    monkeypatch.setattr(
        schema, "MIGRATIONS", {1: ("ALTER TABLE runs ADD COLUMN region TEXT",), 2: ("ALTER TABLE nothing ADD x",)}
    )
    before = path.read_bytes()
    with pytest.raises(SinkUnavailable, match="older") as caught:
        StoreReader(path)
    assert "next program that writes" in caught.value.hint
    with pytest.raises(sqlite3.OperationalError):
        SQLiteStore(path).write(calls_of(1))
    assert path.read_bytes() == before
    schema.MIGRATIONS[2] = ("UPDATE runs SET region = 'eu'",)
    store = SQLiteStore(path)
    store.write(calls_of(2))
    store.close()
    with StoreReader(path) as reader:
        assert len(reader.calls()) == 5
        assert list(reader.rows("SELECT region FROM runs")) == [("eu",), (None,)]
        assert next(reader.rows("PRAGMA user_version")) == (3,)


def test_a_file_of_another_name_beside_it_stays(path: Path, calls_of: Calls) -> None:
    """`runs.db.new` may be anyone's. Seen red: when the store was made under that name."""
    mine = path.with_name("runs.db.new")
    mine.write_text("mine")
    store = SQLiteStore(path)
    store.write(calls_of(1))
    store.close()
    assert mine.read_text() == "mine"


def test_a_store_that_another_program_locks_says_so(path: Path, calls_of: Calls) -> None:
    """With the cure for that, and not the one for a missing permission. Seen red: with one hint for all."""
    store = SQLiteStore(path)
    store.write(calls_of(1))
    store.close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE meta SET value = value")
    with pytest.raises(SinkUnavailable, match="locked") as caught:
        StoreReader(path)
    assert "close that" in caught.value.hint
    holder.execute("ROLLBACK")
    holder.close()


def test_no_file_is_an_error_for_a_reader_only(path: Path) -> None:
    """A reader creates nothing. Seen red: with `mode=rwc`."""
    with pytest.raises(SinkUnavailable, match="there is no file"):
        StoreReader(path)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.s3fs", "fuse.gcsfuse"])
def test_a_network_mount_is_refused_in_one_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """SQLite's locks do not hold there. Seen red: with an empty list of file systems."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n")
    monkeypatch.setattr(files, "MOUNTS", mounts)
    with pytest.raises(SinkUnavailable, match=f"network mount .{kind}.") as caught:
        SQLiteStore(path).start()
    assert "each machine" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_fault_of_the_file_never_raises_at_setup(path: Path) -> None:
    """The program runs on; `health()` says what is wrong, with the cure. Seen red: with any file taken for a store."""
    path.write_text("mine")
    monitor = setup(SQLiteStore(path))
    with track("ocr"):
        pass
    health = monitor.health()["sinks"]["sqlite"]
    assert health["state"] == "unavailable"
    assert "give a path" in health["cure"]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("wrong", ["", 5, "a\0b", None.__class__])
def test_a_path_that_is_none_is_refused_at_once(wrong: object) -> None:
    """Misuse is loud where it is written. Seen red: without the check."""
    with pytest.raises(ConfigurationError, match="is no file"):
        SQLiteStore(wrong)  # type: ignore[arg-type]


def test_the_name_sqlite_takes_its_file_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup("sqlite")` writes to `TOOLWEAVER_MONITOR_STORE`. Seen red: with the default path only."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_STORE", str(path))
    monitor = setup("sqlite")
    with track("ocr"):
        pass
    assert monitor.flush()
    with StoreReader(path) as store:
        assert store.tools() == ["ocr"]


def test_a_store_that_was_cut_off_without_its_lock_file_is_salvaged_once_it_has_one(
    path: Path, calls_of: Calls
) -> None:
    """A copy that was not finished, for example. Seen red: "is not a store", and no way to its calls."""
    store = SQLiteStore(path)
    store.write(calls_of(500))
    store.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    lock = files.lock_path(path)
    lock.unlink()
    with pytest.raises(SinkUnavailable, match=r"is a damaged database; if it was a store, make an empty file .*\.lock"):
        StoreReader(path)
    lock.touch()
    store = SQLiteStore(path)
    store.write(calls_of(1))
    store.close()
    with StoreReader(path) as reader:
        assert len(reader.calls(limit=None)) > 1


def test_asking_what_a_file_is_drops_no_lock_of_this_process(path: Path, calls_of: Calls) -> None:
    """POSIX drops a process's locks when any descriptor of the file is closed. Seen red: with `open`."""
    store = SQLiteStore(path)
    store.write(calls_of(1))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA journal_mode")
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    store.close()
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE meta SET value = value")
    assert files.application_id(path) == files.APPLICATION_ID
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM meta').fetchall()"
    ended = subprocess.run([sys.executable, "-c", other, str(path)], capture_output=True, text=True)
    assert "locked" in ended.stderr
    holder.execute("ROLLBACK")
    holder.close()


def test_a_program_without_a_store_does_not_import_sqlite() -> None:
    """Who has no store does not pay for it. Seen red: when the shared budgets imported the store."""
    code = "import sys, toolweaver_monitor as t; t.setup('log', budget=1.0); print('sqlite3' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("False\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the files that are open")
def test_no_file_of_a_store_is_left_open(path: Path) -> None:
    """By the writer, the budgets and what reads. Seen red: with `StoreFile.close()` that keeps its connection."""
    monitor = setup(SQLiteStore(path), budget=Budget(limit_usd=5, per="day"))
    with track("ocr") as call:
        call.record(cost=0.01)
    monitor.shutdown()
    with StoreReader(path) as reader:
        assert [each.tool_name for each in reader.calls()] == ["ocr"]
    open_files = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            open_files.append(str(each.readlink()))
    assert not [each for each in open_files if each.startswith(str(path))]
