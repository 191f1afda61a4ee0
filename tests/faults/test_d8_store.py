"""D8 for the store: the disk that it is on is full, read-only, limited or gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import TOOL, Ended, run_program
from test_d8_disks import FILL, run_on_a_disk_of_its_own

pytestmark = pytest.mark.system

PROGRAM = (
    TOOL
    + """
import json, sqlite3
from toolweaver_monitor._bus import retry
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.sinks import SQLiteStore
retry.FIRST_RETRY_S *= 0.1
retry.BREAKER_OPEN_S *= 0.1
folder = sys.argv[1]
monitor = setup(SQLiteStore(f"{folder}/runs.db"))
for _ in range(100): tool()
assert flush()

def stats(): return monitor.health()["sinks"]["sqlite"]
def until(true, most_s):
    began = time.monotonic()
    while not true() and time.monotonic() < began + most_s: tool(); time.sleep(0.01)
    return time.monotonic() - began

def go(break_it, mend):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    break_it()
    worst = 0.0
    degraded = until(lambda: stats()["state"] != "ok", 10)
    for _ in range(2000):
        began = time.perf_counter(); tool(); worst = max(worst, time.perf_counter() - began)
    until(lambda: stats()["state"] == "breaker_open", 60)
    mend()
    recovered = until(lambda: stats()["state"] == "ok", 60)
    ok = flush(10)
    with StoreReader(f"{folder}/runs.db") as store:
        (sums,) = store.sums("all")
        rows = len(store.calls(limit=None))
        sound = store._connection.execute("PRAGMA integrity_check").fetchall()
    print(json.dumps({"degraded_s": degraded, "recovered_s": recovered, "worst_s": worst, "ok": ok, "stats": stats(),
                      "calls": sums.values["calls"], "rows": rows, "sound": sound, "files": os.listdir(folder)}))
"""
)
FAULTS = {
    "full": FILL + """
go(fill, lambda: os.unlink(f"{folder}/filler"))
""",
    "limited": """
import resource
here = os.path.getsize(f"{folder}/runs.db-wal")
go(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (here, resource.RLIM_INFINITY)),
   lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))
""",
    "gone": """
go(lambda: os.rename(folder, folder + "-away"), lambda: os.rename(folder + "-away", folder))
""",
}  # fmt: skip


def run_on(fault: str, folder: Path) -> Ended:
    place = folder / "disk"
    place.mkdir()
    if fault != "full":
        return run_program(PROGRAM + FAULTS[fault], str(place), timeout_s=110, env={"FAULT_HANG_S": "100"})
    return run_on_a_disk_of_its_own(PROGRAM + FAULTS[fault], place, "2m")


@pytest.mark.parametrize("fault", FAULTS)
def test_d8_a_store_on_a_disk_that_takes_nothing_is_tried_again(fault: str, tmp_path: Path) -> None:
    """The program goes on, `health()` says `degraded`, the store is well again by itself once the disk is, and holds
    whole batches: as many rows as its sums count. Retries ten times as fast.

    Seen red: with SQLite's errors swallowed, `health()` stayed "ok".
    """
    ended = run_on(fault, tmp_path)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    found = json.loads(ended.out)
    stats = found["stats"]
    assert found["degraded_s"] <= 2.0
    assert found["recovered_s"] <= 35.0
    assert found["worst_s"] <= 0.1
    assert found["ok"]
    assert found["sound"] == [["ok"]]
    assert stats["emitted"] == stats["delivered"] + stats["failed"] + stats["dropped"]
    assert found["calls"] == found["rows"] == stats["delivered"] >= 100
    assert [name for name in found["files"] if "corrupt" in name] == []


READ_ONLY = (
    TOOL
    + """
import json, subprocess
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.sinks import SQLiteStore
path = f"{sys.argv[1]}/runs.db"
setup(SQLiteStore(path))
tool()
shutdown()
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
monitor = setup(SQLiteStore(path))
tool()
ok = flush(1)
stats = monitor.health()["sinks"]["sqlite"]
with StoreReader(path) as store: rows = len(store.calls())
print(json.dumps({"ok": ok, "stats": stats, "rows": rows, "files": sorted(os.listdir(sys.argv[1]))}))
"""
)


def test_d8_a_store_on_a_read_only_disk_is_read_and_not_written(tmp_path: Path) -> None:
    """A reader needs no right to write; a writer says that it cannot, and the program goes on.

    Seen red: with the reader opening as if there were a log, SQLite could not open the file.
    """
    place = tmp_path / "disk"
    place.mkdir()
    ended = run_on_a_disk_of_its_own(READ_ONLY, place, "2m")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert not found["ok"]
    assert found["stats"]["state"] != "ok"
    assert found["rows"] == 1
    assert found["files"] == ["runs.db", "runs.db.lock"]
