"""D1, and the store's part of D4: programs that write to one store are killed, forked, and many at once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import OURS, TOOL, run_program

from toolweaver_monitor._store.reader import StoreReader

pytestmark = pytest.mark.system

STORE = (
    TOOL
    + """
from toolweaver_monitor.sinks import SQLiteStore
monitor = setup(SQLiteStore(sys.argv[1]))
def sink(): return monitor.health()["sinks"]["sqlite"]
"""
)
WRITER = (
    STORE
    + """
total = 0
while total < int(sys.argv[2]):
    for _ in range(100): tool()
    total += 100
    if total % 300 == 0 and flush(10): print(total, flush=True)
assert flush(30), monitor.health()["sinks"]
print(total, flush=True)
"""
)
CHECKPOINTS = """
import sys, time
from pathlib import Path
from toolweaver_monitor._store.connection import open_writer
from toolweaver_monitor._store.lock_file import LockFile
path, lock = Path(sys.argv[1]), LockFile(Path(sys.argv[1] + ".lock"))
while True:
    with lock.held(30):
        connection = open_writer(path, full_sync=False)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
    time.sleep(0.003)  # the lock is not fair: whoever takes it again at once leaves the others nothing
"""


def start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, args)]
    env = os.environ | {"PYTHONPATH": OURS}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_and_sums(path: Path) -> tuple[int, int]:
    """Return the number of rows, and of calls in the sums, at one moment."""
    with StoreReader(path) as store:
        store._connection.execute("BEGIN")
        (rows,) = next(store.rows("SELECT count(*) FROM calls"))
        return rows, sum(sums.values["calls"] for sums in store.sums("all"))


def is_sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return found == [("ok",)]


def kill_at_random_moments(path: Path, times: int) -> None:
    confirmed = 0
    moments = random.Random(path.name)
    for _ in range(times):
        writer = start(WRITER, path, 10**9)
        assert writer.stdout is not None
        first = int(writer.stdout.readline())
        time.sleep(moments.uniform(0.0, 0.2))
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate()
        assert not err
        confirmed += max(map(int, out.split()), default=first)
        began = time.monotonic()
        StoreReader(path).close()
        assert time.monotonic() - began < 1
        rows, in_sums = rows_and_sums(path)
        assert rows == in_sums >= confirmed, "what flush() has confirmed is there, and no batch is there by half"
        assert is_sound(path)


def test_d1_a_writer_that_is_killed_loses_nothing_confirmed(tmp_path: Path) -> None:
    """20 times `kill -9` in the middle of writing: the store is sound, and has all that a `flush()` has confirmed.

    Seen red: with `flush()` confirmed before the batch was committed.
    """
    kill_at_random_moments(tmp_path / "runs.db", 20)


@pytest.mark.slow
def test_d1_200_killed_writers_lose_nothing_confirmed(tmp_path: Path) -> None:
    """As above, 200 times. Seen red as
    `test_d1_a_writer_that_is_killed_loses_nothing_confirmed`, whose check it shares.
    """
    for number in range(10):
        kill_at_random_moments(tmp_path / f"runs-{number}.db", 20)


def test_d1_eight_writers_a_checkpoint_loop_and_readers(tmp_path: Path) -> None:
    """Eight processes write, one moves the log into the file all the time, two read: every call is there once, and each
    reader sees whole batches.

    Seen red: with the roll-ups of a batch written in a transaction of their own.
    """
    path = tmp_path / "runs.db"
    writers = [start(WRITER, path, 3_000) for _ in range(8)]
    while not path.exists():
        time.sleep(0.01)
    checkpoints = start(CHECKPOINTS, path)
    looks = 0
    while any(writer.poll() is None for writer in writers):
        rows, in_sums = rows_and_sums(path)
        assert rows == in_sums
        looks += 1
        time.sleep(0.02)
    checkpoints.kill()
    assert not checkpoints.communicate()[1]
    for writer in writers:
        out, err = writer.communicate()
        assert (writer.returncode, out.split()[-1]) == (0, "3000"), err
        assert "Traceback" not in err
    assert looks > 3
    assert rows_and_sums(path) == (24_000, 24_000)
    with StoreReader(path) as store:
        assert [(run["calls"], run["kept"]) for run in store.runs()] == [(3_000, 3_000)] * 8
        assert store.last_seq() == 24_000
    assert is_sound(path)


FORK = (
    STORE
    + """
for _ in range(100): tool()
assert flush()
child = os.fork()
for _ in range(50): tool()
assert flush(), sink()
if child == 0:
    sys.exit(0)  # the interpreter is taken apart, with what the child has inherited
for _ in range(200):
    tool()
    assert flush(), sink()
_, status = os.waitpid(child, 0)
for _ in range(50): tool()
assert flush(), sink()
print(status, sink()["state"])
"""
)


def test_d4_a_forked_child_neither_uses_nor_closes_the_connection(tmp_path: Path) -> None:
    """Parent and child write on, each as a run of its own, and the child's end takes no lock of its parent's.

    Seen red: with the parent's connection used in the child.
    """
    path = tmp_path / "runs.db"
    ended = run_program(FORK, str(path))
    assert (ended.code, ended.out, ended.err) == (0, "0 ok\n", "")
    assert rows_and_sums(path) == (450, 450)
    with StoreReader(path) as store:
        assert sorted(run["calls"] for run in store.runs()) == [50, 400]
    assert is_sound(path)


HELD = """
import os, signal, sys, time
from pathlib import Path
from toolweaver_monitor._store.lock_file import LockFile, StoreBusy
lock = LockFile(Path(sys.argv[1]))
read, write = os.pipe()
with lock.held(1):
    child = os.fork()
    if child == 0:
        time.sleep(0.3)
        os.write(write, b"x")
        time.sleep(60)
    try:
        with LockFile(Path(sys.argv[1])).held(0.1): print("taken twice", flush=True)
    except StoreBusy: print("busy", flush=True)
    os.read(read, 1)
    if sys.argv[2] == "killed":
        if os.fork() == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(0.2)
            with LockFile(Path(sys.argv[1])).held(1): print("free", flush=True)
            os.kill(child, signal.SIGKILL)
            os._exit(0)
        time.sleep(60)
with LockFile(Path(sys.argv[1])).held(1): print("free", flush=True)
os.kill(child, signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["released", "killed"])
def test_d4_a_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path, how: str) -> None:
    """A lock that was held at the moment of a fork ends with its holder, also if that is killed.

    Seen red: with the inherited descriptor left open in the child, the lock of a killed parent was never free.
    """
    ended = run_program(HELD, str(tmp_path / "lock"), how)
    assert ended.out.splitlines() == ["busy", "free"]
    assert "Traceback" not in ended.err


def test_d8_a_store_that_another_process_locks_is_tried_again(tmp_path: Path) -> None:
    """A process that holds the lock, stopped for example, delays no call; nothing is lost once it goes on.

    Seen red: with a wait for the lock that has no end, `health()` said "ok".
    """
    path = tmp_path / "runs.db"
    code = (
        STORE
        + """
from toolweaver_monitor._bus import retry
from toolweaver_monitor._store.lock_file import LockFile
from pathlib import Path
import json
tool(); assert flush()
with LockFile(Path(sys.argv[1] + ".lock")).held(5):
    began, worst = time.monotonic(), 0.0
    while sink()["state"] == "ok" and time.monotonic() < began + 10:
        before = time.perf_counter(); tool(); worst = max(worst, time.perf_counter() - before); time.sleep(0.01)
    degraded = time.monotonic() - began
retry.FIRST_RETRY_S = 0.1
print(json.dumps({"degraded": degraded, "worst": worst, "ok": flush(10), "stats": sink()}))
"""
    )
    ended = run_program(code, str(path))
    found = json.loads(ended.out)
    assert found["degraded"] <= 1.5
    assert found["worst"] <= 0.1
    assert found["ok"]
    assert found["stats"]["failed"] == found["stats"]["dropped"] == 0
    assert rows_and_sums(path) == (found["stats"]["delivered"],) * 2
