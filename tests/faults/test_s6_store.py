"""S6: what a store is given is data, and where it lies is safe."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from toolweaver_monitor import flush, setup, track
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import SQLiteStore

HOSTILE = [
    "'; DROP TABLE call_rows; --", '"; DELETE FROM rollups; --', "a' OR '1'='1", "%s %(x)s {0} ${x}", "\\'; x",
    "../../etc/passwd", "$.customer", 'customer"]', "?1", "NULL", "1e999", "[1]", "\ufdd0", "x" * 5_000,
]  # fmt: skip


def test_s6_no_text_of_a_call_is_sql(tmp_path: Path) -> None:
    """Names, tags, models and errors come back as they were, and questions with them find nothing else.

    Seen red: with the tag's value put into the text of the query.
    """
    path = tmp_path / "runs.db"
    setup(SQLiteStore(path))
    for text in HOSTILE:
        with track(text, **{text[:64]: text}) as call:
            call.record(model=text, tokens=1)
            call.fail(text)
    assert flush()
    with StoreReader(path) as store:
        found = store.calls(limit=None, order="oldest")
        assert [call.model for call in found] == [text[:256] for text in HOSTILE]
        assert sum(sums.values["calls"] for sums in store.sums("tool")) == len(HOSTILE)
        for call in found:
            ((name, value),) = call.tags.items()
            assert len(store.calls(tool=call.tool_name, tags={name: value})) == 1
            assert [sums.values["calls"] for sums in store.sums(f"tag:{name}")] == [1]
            assert store.calls(tool=call.tool_name + "'--") == []
    sink = SQLiteStore(path)
    for text in HOSTILE:
        sink._writer.forget("customer", text)
    with StoreReader(path) as store:
        assert len(store.calls(limit=None)) == len(HOSTILE)


@pytest.mark.parametrize("name", ["runs'; x.db", "a b?c#d%20.db", "\u20ac.db", "file:x?mode=memory"])
def test_s6_no_name_of_a_file_is_a_setting(tmp_path: Path, name: str) -> None:
    """A path is a path, also one that looks like a URI. Seen red: with the path not quoted."""
    path = tmp_path / name
    setup(SQLiteStore(path))
    with track("ocr"):
        pass
    assert flush()
    assert path.is_file()
    with StoreReader(path) as store:
        assert store.tools() == ["ocr"]


@pytest.mark.parametrize("which", ["runs.db", "runs.db.lock"])
def test_s6_a_link_leads_nowhere(tmp_path: Path, which: str) -> None:
    """A link that another user has put in place is not followed, neither for the store nor for its lock.

    Seen red: without O_NOFOLLOW the lock's target was created.
    """
    target = tmp_path / "target"
    (tmp_path / which).symlink_to(target)
    store = SQLiteStore(tmp_path / "runs.db")
    with pytest.raises((SinkUnavailable, OSError)):
        store.write(())
    assert not target.exists()


def test_s6_all_files_of_a_store_are_private(tmp_path: Path) -> None:
    """Also those that SQLite makes, and a store that was set aside. Seen red: with the umask's mode."""
    before = os.umask(0)
    try:
        path = tmp_path / "store" / "runs.db"
        for _ in range(2):
            store = SQLiteStore(path)
            store.write(())
            files = list(path.parent.iterdir())
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}, files
            store.close()
            path.write_bytes(path.read_bytes()[:2_000])
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert sqlite3.sqlite_version_info >= (3, 24), "the oldest SQLite that adds to a row that is there"
