"""D8 for joined workers: the disk that their folder is on is full, read-only or gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import OURS, wait_until
from programs import TOOL, Ended, run_program
from test_d8_disks import FILL, run_on_a_disk_of_its_own
from test_d10_workers import GUNICORN, SETUP, WSGI, Site, group
from test_d10_workers import TOOL as APPLICATION

pytestmark = pytest.mark.system

PROGRAM = (
    TOOL
    + """
import json, urllib.request
from toolweaver_monitor import track
from toolweaver_monitor._store.shared.folder import SharedFolder
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._prometheus.shared import SharedView
folder = sys.argv[1]
os.environ["TOOLWEAVER_MONITOR_SHARED"] = f"{folder}/run"

def begin():
    global monitor
    monitor = setup(PrometheusExporter(port=0), shared=True)
    work(0)
def total(text):
    found = [line for line in text.splitlines() if line.startswith("toolweaver_tool_executions_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in found)
def shown(): return total(urllib.request.urlopen(monitor.sinks[0].url, timeout=20).read().decode())
def work(round):
    for n in range(300):
        with track(f"tool.{round}.{n}"): pass
def problems(): return monitor.health()["problems"]
def until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)

def go(break_it, mend, *, at_first=False):
    if not at_first: begin()
    break_it()
    if at_first: begin()
    work(1)
    until(lambda: shown() and problems())
    during, said = shown(), problems()
    mend()
    until(lambda: not problems())
    view = PrometheusExporter(listen=False)
    view._connect(SetupContext(shared=SharedView(SharedFolder(monitor._components.workers.folder.path, None))))
    until(lambda: total(view.text()) == 600)
    print(json.dumps({"during": during, "said": said, "after": shown()}))
"""
)
FAULTS = {
    "full": FILL
    + """
go(fill, lambda: os.unlink(f"{folder}/filler"))
""",
    "read-only": """
import subprocess
go(lambda: subprocess.run(["mount", "-o", "remount,ro", folder], check=True),
   lambda: subprocess.run(["mount", "-o", "remount,rw", folder], check=True), at_first=True)
""",  # from the first: a disk with a file that is open cannot be made read-only
    "gone": """
go(lambda: os.rename(folder, folder + "-away") or open(folder, "w").close(),
   lambda: os.unlink(folder) or os.rename(folder + "-away", folder))
""",
}


def run_on(fault: str, folder: Path) -> Ended:
    place = folder / "disk"
    place.mkdir()
    if fault == "gone":
        return run_program(PROGRAM + FAULTS[fault], str(place), timeout_s=110, env={"FAULT_HANG_S": "100"})
    return run_on_a_disk_of_its_own(PROGRAM + FAULTS[fault], place, "1m")


@pytest.mark.parametrize("fault", FAULTS)
def test_d8_a_folder_of_workers_on_a_disk_that_takes_nothing_is_tried_again(fault: str, tmp_path: Path) -> None:
    """Calls go on, `health()` has one problem, the worker serves its own counts, and the others see them later.

    Seen red: with the folder not tried again after a fault.
    """
    ended = run_on(fault, tmp_path)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    found = json.loads(ended.out)
    assert (found["during"], found["after"]) == (600, 600)
    assert len(found["said"]) == 1


HEALTH = """repr(get_monitor().health()['problems']).encode() if environ['PATH_INFO'] == '/health' else answer()"""
READ_ONLY = """
for place in /dev/shm /tmp /var/tmp /run; do
    mountpoint -q $place && mount -o remount,bind,ro $place
done
mount --bind "$FOLDER" /srv && cd /srv && {writable} mount -o remount,bind,ro / && exec "$@"
"""
"""Runs a command where only a folder of the test's can be written, as `/srv`, and what is mounted as writable."""


@pytest.fixture
def site(tmp_path: Path, require_package: Callable[..., None]) -> Site:
    """A site whose application tells its problems at `/health`."""
    require_package("gunicorn", "pip install gunicorn")
    (tmp_path / "app.py").write_text(APPLICATION + SETUP + WSGI.replace("answer()", HEALTH))
    return Site(tmp_path, BUDGET="5.00")


def problems(site: Site) -> str:
    return str(urllib.request.urlopen(f"http://127.0.0.1:{site.port}/health", timeout=10).read().decode())


@contextmanager
def run_read_only(site: Site, writable: str = "", **env: str) -> Iterator[None]:
    """Run two workers as a container with a read-only root does, and ask each of them."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a read-only root needs root and `unshare`")
    site.around = ("unshare", "-m", "sh", "-c", READ_ONLY.replace("{writable}", writable), "sh")
    site.folder.joinpath("place").mkdir()
    if subprocess.run([*site.around, "true"], env=os.environ | {"FOLDER": str(site.folder)}, check=False).returncode:
        pytest.skip("this machine allows no mounts")
    for name in ("TOOLWEAVER_MONITOR_SHARED", "XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP"):
        site.env.pop(name, None)
    inside = {"PYTHONPATH": f"{OURS}{os.pathsep}/srv", "TOLD": "/srv/told", "BEATS": "/srv/beats"}
    site.env |= {"FOLDER": str(site.folder), "PYTHONDONTWRITEBYTECODE": "1"} | inside | env
    with site.run(*GUNICORN, "-w", "2", "--worker-tmp-dir", "/srv", "-b", f"127.0.0.1:{site.port}"):
        with site.asked() as has_had:
            while not has_had(2):
                time.sleep(0.2)
        yield


BELOW_TMP = [path for path in (OURS, sys.prefix) if path.startswith("/tmp/")]
"""What the workers need, and would not find where the test stands in `/tmp` itself."""
WRITABLE_TMP = 'mount --bind /tmp /mnt && mount --bind "$FOLDER/place" /tmp && ' + "".join(
    f"mkdir -p {path} && mount --bind {path.replace('/tmp', '/mnt', 1)} {path} && " for path in BELOW_TMP
)


@pytest.mark.parametrize(
    ("writable", "env"),
    [
        (WRITABLE_TMP, {}),
        ('mount --bind "$FOLDER/place" /dev/shm &&', {}),
        ("", {"XDG_RUNTIME_DIR": "/srv/place"}),
        ("", {"TOOLWEAVER_MONITOR_SHARED": "/srv/place/run"}),
    ],
    ids=["tmp", "shm", "XDG_RUNTIME_DIR", "SHARED"],
)
def test_d8_workers_on_a_read_only_root_are_joined_where_something_can_be_written(
    site: Site, writable: str, env: dict[str, str]
) -> None:
    """As in a container: one place is enough. Seen red: with the folder in the temporary one only."""
    with run_read_only(site, writable, **env):
        assert site.settled_total() == len(site.told_by()) > 0
        assert list(site.folder.glob("place/**/worker-*"))
        assert problems(site) == "[]"
    assert site.falls == []


def test_d8_workers_on_a_read_only_root_without_any_place_count_for_themselves(site: Site) -> None:
    """They go on; the log and `health()` say why, and what to do. Seen red: with the current folder taken."""
    with run_read_only(site):
        told = group(site.told_by())
        assert len(told) == 2
        ((worker, shown),) = site.shown_by().items()
        assert shown == len(told[worker])
        for said in (site.log.read_text(), problems(site)):
            assert "there is no folder for files of a run: none can be written; set TOOLWEAVER_MONITOR_SHARED" in said
    assert "workers are not joined, each counts for itself" in site.log.read_text()


def test_d8_a_folder_that_is_deleted_under_workers_is_made_again(site: Site) -> None:
    """Each worker says so within a second. No counter falls, not even that of a worker which is gone, and $5.00 hold.

    Seen red: with the folder made again at the next call; with the dead, or what budgets had spent, begun from 0.
    """
    with site.run(*GUNICORN, "-b", f"127.0.0.1:{site.port}"), ThreadPoolExecutor(4) as pool:
        for asker in [pool.submit(site.ask) for _ in range(300)]:
            asker.result()
        gone = site.told_by()[0][0]
        os.kill(gone, signal.SIGTERM)
        wait_until(lambda: gone not in site.workers())
        assert site.settled_total() == len(site.told_by()) > 300
        away = site.shared.rename(site.folder / "away")
        shutil.rmtree(away)
        wait_until(lambda: all("were deleted" in problems(site) for _ in range(10)), 2.0)
        for asker in [pool.submit(site.ask_until_refused) for _ in range(4)]:
            asker.result()
        assert 490 <= len(site.told_by()) <= 500
        assert site.settled_total() == len(site.told_by())
        assert len(list(site.shared.iterdir())) <= 4 + 8
    assert site.falls == []
