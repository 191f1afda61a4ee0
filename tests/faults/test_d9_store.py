"""D9: a store that is damaged is set aside, and what can be read of it carried over."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._store.ledger import Account, StoreLedger
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import SQLiteStore

CALLS = 2_000


def calls_of(count: int) -> list[ToolCall]:
    return [ToolCall(f"tool-{number % 7}", "success", 0.001, monotonic_s()) for number in range(count)]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pristine") / "runs.db"
    store = SQLiteStore(path)
    for _ in range(4):
        store.write(calls_of(CALLS // 4))
    store.close()
    return path


def copy(pristine: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("runs.db", "runs.db.lock"):
        shutil.copy(pristine.with_name(name), folder / name)
    return folder / "runs.db"


def write_once(path: Path) -> None:
    """Write as a sink's runner does: it tries a batch again."""
    store = SQLiteStore(path)
    for _ in range(3):
        try:
            store.write(calls_of(10))
            break
        except (sqlite3.Error, UnicodeDecodeError) as error:
            last = error
    else:
        raise AssertionError(f"{path} could not be written") from last
    store.close()


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "empty": lambda path: path.write_bytes(b""),
    "another file's": lambda path: path.write_bytes(b"hello " * 10_000),
    "half a page": lambda path: path.write_bytes(path.read_bytes()[:2_000]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_d9_a_damaged_store_is_set_aside_and_salvaged(
    damage: str, pristine: Path, tmp_path: Path, logged: list[logging.LogRecord]
) -> None:
    """The program writes on, in a new store with what could be read; the old file stays. One line of the log says so.

    Seen red: without the lock file as a sign that the file is a store, the truncated one was refused.
    """
    path = copy(pristine, tmp_path / "store")
    DAMAGES[damage](path)
    damaged = path.read_bytes()
    write_once(path)
    with StoreReader(path) as store:
        rows = len(store.calls(limit=None))
        assert rows >= 10
        assert store.last_seq() == max(call.seq for call in store.calls(limit=None))
        if damage == "truncated":
            assert rows > CALLS // 4
    asides = [file.name for file in path.parent.glob("*.corrupt-*") if file.suffix[-4:] not in ("-wal", "-shm")]
    assert asides == ["runs.db.corrupt-1"]
    assert path.with_name(asides[0]).read_bytes() == damaged
    assert [record.getMessage() for record in logged if "runs.db.corrupt-1" in record.getMessage()]


def overwritten(size: int) -> Callable[[bytes], bytes]:
    return lambda data: random.Random(size).randbytes(size) + data[size:]


HEADERS = {
    "the name of the format": overwritten(16),
    "the header": overwritten(100),
    "header and schema": overwritten(4_096),
    "fewer pages than there are": lambda data: data[:28] + (20).to_bytes(4, "big") + data[32:],
}


@pytest.mark.parametrize("what", HEADERS)
def test_d9_a_store_without_its_header_is_salvaged_whole(what: str, pristine: Path, tmp_path: Path) -> None:
    """Header and schema are the same in every store, so those of the new one are lent to the old one meanwhile. It is
    left as it was, and `health()` names it.

    Seen red: with nothing lent, no row was carried over, and with no look at the number of pages, too few; without the
    second `_exchange`, the old file was not left as it was.
    """
    path = copy(pristine, tmp_path / "store")
    damaged = HEADERS[what](path.read_bytes())
    path.write_bytes(damaged)
    write_once(path)
    with StoreReader(path) as store:
        assert len(store.calls(limit=None)) == CALLS + 10
        assert sum(sums.values["calls"] for sums in store.sums("tool")) == CALLS + 10
        assert store.tools() == sorted(f"tool-{number}" for number in range(7))
    aside = path.with_name("runs.db.corrupt-1")
    assert aside.read_bytes() == damaged
    assert f"set aside as {aside}" in SQLiteStore(path).status()["note"]


def test_d9_what_a_budget_has_spent_survives_the_damage(tmp_path: Path, logged: list[logging.LogRecord]) -> None:
    """A damaged file frees no money. Seen red: with the ledger not carried over, the budget began anew."""
    path = tmp_path / "runs.db"
    write_once(path)
    ledger = StoreLedger(StoreFile(path))
    account = Account("daily", "day", "usd")
    ledger.exchange(account, 1_000, -400, 0)
    ledger.close()
    data = bytearray(path.read_bytes())
    data[28:32] = (1_000).to_bytes(4, "big")  # more pages than there are
    path.write_bytes(data)
    damaged = sqlite3.connect(path)
    damaged.execute("PRAGMA writable_schema = 1")
    damaged.execute("DELETE FROM sqlite_master WHERE name = 'calls'")
    damaged.execute("DELETE FROM sqlite_master WHERE name = 'meta'")
    damaged.commit()
    damaged.close()
    write_once(path)
    assert list(path.parent.glob("*.corrupt-1"))
    ledger = StoreLedger(StoreFile(path))
    assert ledger.exchange(account, 1_000, 0, 700).amount == 0
    assert ledger.exchange(account, 1_000, 0, 0).spent == 400
    ledger.close()


def damage_sums(path: Path) -> None:
    """Damage what only a reader reads: the JSON of a histogram, which starts with a brace."""
    data = path.read_bytes()
    assert b'{"-80":' in data
    path.write_bytes(data.replace(b'{"-80":', b'{"-8\xff":'))


def test_d9_damage_that_only_readers_meet_is_mended_by_the_next_writer(pristine: Path, tmp_path: Path) -> None:
    """A reader leaves an empty `*.damaged` beside the store, by which a writer knows. Rows and counts stay; of the
    histogram that was damaged, nothing. Once only: a store is not set aside again and again.

    Seen red: without the note, the store stayed as it was; with damaged JSON carried over, it was damaged again;
    without the look for a `*.corrupt-1`, it was set aside a second time.
    """
    path = copy(pristine, tmp_path / "store")
    damage_sums(path)
    for _ in range(2):
        with StoreReader(path) as store, pytest.raises(SinkUnavailable, match="is damaged"):
            store.sums("tool")
    assert [file.stat().st_size for file in path.parent.glob("*.damaged")] == [0]
    write_once(path)
    with StoreReader(path) as store:
        assert sum(sums.values["calls"] for sums in store.sums("tool")) == CALLS + 10
        assert len(store.calls(limit=None)) == CALLS + 10
    assert list(path.parent.glob("*.damaged")) == []
    path.with_name("runs.db.damaged").touch()
    write_once(path)
    assert [file.name for file in path.parent.glob("*.corrupt-?")] == ["runs.db.corrupt-1"]


def test_d9_a_reader_says_what_is_wrong_and_changes_nothing(pristine: Path, tmp_path: Path) -> None:
    """Only a writer sets a store aside. Seen red: with the error of SQLite let through."""
    path = copy(pristine, tmp_path / "store")
    path.write_bytes(path.read_bytes()[:2_000])
    before = path.read_bytes()
    with pytest.raises(SinkUnavailable, match="is damaged") as caught, StoreReader(path) as store:
        store.sums("tool")
    assert "sets it aside" in caught.value.hint
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.corrupt-*")) == []


@contextmanager
def suppress_if(text: str) -> Iterator[None]:
    """Suppress the error that names the cure, if it is this one."""
    try:
        yield
    except SinkUnavailable as error:
        if text not in str(error):
            raise


def flip_bytes(pristine: Path, tmp_path: Path, times: int) -> None:
    moments = random.Random(times)
    for number in range(times):
        path = copy(pristine, tmp_path / str(number))
        data = bytearray(path.read_bytes())
        for _ in range(moments.choice((1, 1, 8, 64))):
            at = moments.randrange(100 if moments.random() < 0.2 else len(data))
            data[at] ^= moments.randrange(1, 256)
        path.write_bytes(data)
        with suppress_if("newer toolweaver_monitor"):  # a byte of the version
            write_once(path)
            with StoreReader(path) as store, suppress_if("is damaged"):
                assert store.calls(limit=10)
        shutil.rmtree(path.parent)


def test_d9_flipped_bytes_stop_no_writer(pristine: Path, tmp_path: Path) -> None:
    """30 times, in the header and elsewhere. Seen red: with `malformed` not taken for damage."""
    flip_bytes(pristine, tmp_path, 30)


@pytest.mark.slow
def test_d9_200_flipped_bytes_stop_no_writer(pristine: Path, tmp_path: Path) -> None:
    """As above, 200 times. Seen red as
    `test_d9_flipped_bytes_stop_no_writer`, whose check it shares.
    """
    flip_bytes(pristine, tmp_path, 200)
