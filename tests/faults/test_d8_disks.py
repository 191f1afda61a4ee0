"""D8, except for the store: the disk that a sink writes to is full, read-only, limited or gone.

The store's own part of this row comes with the store. Here a user's file sink and a log file are tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import TOOL, Ended, run_program

pytestmark = pytest.mark.system

PROGRAM = (
    TOOL
    + """
import errno, json
from toolweaver_monitor._bus import retry
scale = float(sys.argv[2])
retry.FIRST_RETRY_S *= scale
retry.BREAKER_OPEN_S *= scale
folder = sys.argv[1]

class LineFile:
    name = "lines"
    fault = None
    def write(self, calls):
        if self.fault is not None: raise OSError(self.fault, os.strerror(self.fault))
        data = b"".join(b"%s %064d\\n" % (call.tool_name.encode(), n) for n, call in enumerate(calls))
        file = os.open(f"{folder}/lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            try:
                while data: data = data[os.write(file, data):]
            except OSError:
                os.truncate(file, size)  # whole batches, or nothing
                raise
        finally: os.close(file)
    def flush(self): pass
    def close(self): pass

sink = LineFile()
monitor = setup(sink)
for _ in range(100): tool()
assert flush()

def state(): return monitor.health()["sinks"]["lines"]["state"]
def until(true, most_s):
    began = time.monotonic()
    while not true() and time.monotonic() < began + most_s: tool(); time.sleep(0.01)
    return time.monotonic() - began

def go(break_it, mend):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    break_it()
    worst = 0.0
    degraded = until(lambda: state() != "ok", 5)
    for _ in range(2000):
        began = time.perf_counter(); tool(); worst = max(worst, time.perf_counter() - began)
    until(lambda: state() == "breaker_open", 60)
    mend()
    recovered = until(lambda: state() == "ok", 60)
    ok = flush(5)
    stats = monitor.health()["sinks"]["lines"]
    lines = open(f"{folder}/lines").read().splitlines()
    print(json.dumps({"degraded_s": degraded, "recovered_s": recovered, "worst_s": worst, "ok": ok, "stats": stats,
                      "lines": len(lines), "whole": all(len(line) == 69 for line in lines)}))
"""
)

FILL = """
def fill():
    with open(f"{folder}/filler", "wb", buffering=0) as file:
        try:
            while True: file.write(b"x" * 4096)
        except OSError: pass
"""
FAULTS = {
    "full": FILL
    + """
go(fill, lambda: os.unlink(f"{folder}/filler"))
""",
    "limited": """
import resource
here = os.path.getsize(f"{folder}/lines")
go(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (here, resource.RLIM_INFINITY)),
   lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))
""",
    "gone": """
go(lambda: os.rename(folder, folder + "-away"), lambda: os.rename(folder + "-away", folder))
""",
    "read-only": """
import subprocess
go(lambda: subprocess.run(["mount", "-o", "remount,ro", folder], check=True),
   lambda: subprocess.run(["mount", "-o", "remount,rw", folder], check=True))
""",
    "EIO": """
go(lambda: setattr(sink, "fault", errno.EIO), lambda: setattr(sink, "fault", None))
""",
}


def run_on(fault: str, scale: float, folder: Path) -> Ended:
    place = folder / "disk"
    place.mkdir()
    if fault not in {"full", "read-only"}:
        return run_program(PROGRAM + FAULTS[fault], str(place), str(scale), timeout_s=110, env={"FAULT_HANG_S": "100"})
    return run_on_a_disk_of_its_own(PROGRAM + FAULTS[fault], place, "1m", str(scale))


def run_on_a_disk_of_its_own(code: str, place: Path, size: str, *args: str) -> Ended:
    """Run a program with a small disk at `place`, which only it and its children see."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a small disk of one's own needs root and `unshare`")
    program = place.parent / "program.py"
    program.write_text(code)
    inside = f"mount -t tmpfs -o size={size} tmpfs {place} && exec {sys.executable} {program} {place} {' '.join(args)}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()[:100]}")
    return Ended(done.returncode, done.stdout, done.stderr, 0.0, 0.0)


def survived(fault: str, scale: float, folder: Path) -> None:
    ended = run_on(fault, scale, folder)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    found = json.loads(ended.out)
    stats = found["stats"]
    assert found["degraded_s"] <= 1.0
    assert found["recovered_s"] <= 35.0
    assert found["worst_s"] <= 0.05
    assert found["ok"]
    assert found["whole"]
    assert stats["emitted"] == stats["delivered"] + stats["failed"] + stats["dropped"]
    assert found["lines"] == stats["delivered"] >= 100
    print(f"D8 {fault}: degraded in {found['degraded_s']:.2f} s, well again in {found['recovered_s']:.1f} s")


@pytest.mark.parametrize("fault", FAULTS)
def test_d8_a_disk_that_takes_nothing_harms_nobody_and_is_tried_again(fault: str, tmp_path: Path) -> None:
    """Full, limited, gone, read-only, broken: the program goes on, `health()` says `degraded` within a second, and the
    sink is well again by itself once the disk is; what was written stays, in whole batches. Retries ten times as fast.

    Seen red: with the breaker never trying again, it stayed open.
    """
    survived(fault, 0.1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_d8_a_disk_that_takes_nothing_is_tried_again_within_35_s(fault: str, tmp_path: Path) -> None:
    """As above, at the true times.

    Seen red as `test_d8_a_disk_that_takes_nothing_harms_nobody_and_is_tried_again`, whose check it shares.
    """
    survived(fault, 1.0, tmp_path)


OFFLINE_RUN = (
    TOOL
    + FILL
    + """
import glob, json, subprocess
from toolweaver_monitor._bus import retry
from toolweaver_monitor.sinks import WandBLogger
retry.FIRST_RETRY_S, folder = 0.5, sys.argv[1]
def until(true):
    began = time.monotonic()
    while not true() and time.monotonic() < began + 30: time.sleep(0.01)
    return time.monotonic() - began
def written(): return [os.path.getsize(name) for name in glob.glob(f"{folder}/wandb/offline-*/*.wandb")]
def stats(): return monitor.health()["sinks"]["wandb"]
monitor = setup(WandBLogger())
for _ in range(100): tool()
assert flush(60)
until(lambda: sum(written()) > 20_000)  # W&B writes a second later
time.sleep(2)
fill()
for _ in range(1_000): tool()
degraded = until(lambda: stats()["state"] != "ok")
full = stats()
os.unlink(f"{folder}/filler")
recovered = until(lambda: stats()["state"] == "ok")
ended = shutdown(30), stats()
rows = 0
for file in glob.glob(f"{folder}/wandb/offline-*/*.wandb"):
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", file]
    said = subprocess.run(inspect, stdout=subprocess.PIPE, check=True)
    rows += sum(b"tool/status" in line for line in said.stdout.splitlines() if b'"history"' in line)
print(json.dumps({"degraded_s": degraded, "full": full, "recovered_s": recovered, "ended": ended, "rows": rows}))
"""
)


@pytest.mark.usefixtures("real_wandb")
def test_d8_a_full_disk_costs_an_offline_run_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's service process says nothing of a disk that is full, and writes nothing more ever after. So rows wait here.

    Seen red: with no look at the room, `health()` knew of no trouble.
    """
    place = tmp_path / "disk"
    place.mkdir()
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # another test's service process does not see this disk
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": place, "HOME": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    ended = run_on_a_disk_of_its_own(OFFLINE_RUN, place, "64m")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["degraded_s"] <= 1.0
    assert found["full"]["state"] == "degraded"
    assert re.match(r"DiskFull in wandb: less than [0-9,]+ bytes are free in ", found["full"]["last_error"])
    assert found["recovered_s"] <= 10.0
    is_through, stats = found["ended"]
    assert is_through
    assert found["rows"] == stats["delivered"] == 1_100
