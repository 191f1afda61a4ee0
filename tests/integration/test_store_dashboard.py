"""The page of a store, served by the command in a process of its own while this one writes to the store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor.sinks import SQLiteStore

pytestmark = pytest.mark.system

COMMAND = [sys.executable, "-m", "toolweaver_monitor", "dashboard"]

INTERRUPTIBLE = """
import signal, sys
from toolweaver_monitor._cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
"""The command, also if this process was started with SIGINT ignored."""


def write(monitor: Monitor, receipts: int) -> None:
    for number in range(receipts):
        with track("page_receipt"), track("page_ocr") as call:
            call.record(cost=0.25)
            if number == 0:
                call.fail("blurred")
    assert monitor.flush()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    with setup(SQLiteStore(tmp_path / "runs.db")) as running:
        write(running, 3)
        yield running


class Served:
    """The command, and what it serves."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "dashboard", str(path), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": OURS},
        )
        assert self.process.stdout is not None
        self.url = json.loads("".join(self.process.stdout.readline() for _ in range(3)))["url"]

    def get(self, path: str, **headers: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def poll(self, cursor: str = "") -> Any:
        return json.loads(self.get(f"data.json?since={cursor}"))


@pytest.fixture
def served(monitor: Monitor, tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path / "runs.db")
    yield one
    one.process.kill()
    one.process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_store_has_a_page_that_shows_new_calls_and_ends_with_ctrl_c(served: Served, monitor: Monitor) -> None:
    """A poll gets what has changed since the one before, and nothing if nothing has. The exit code is 0."""
    assert b"<title>" in served.get("")
    first = served.poll()
    assert {row["name"]: (row["calls"], row["failed"]) for row in first["tools"]} == {
        "page_receipt": (3, 0), "page_ocr": (3, 1),
    }  # fmt: skip
    assert (first["full"], first["about"]["closed"], first["total"]["cost"]) == (True, False, 0.75)
    with pytest.raises(urllib.error.HTTPError, match="304"):
        served.get(f"data.json?since={first['v']}", **{"If-None-Match": f'"{first["v"]}"'})

    with track("page_other"):
        pass
    assert monitor.flush()
    deadline = time.monotonic() + 20
    while (second := served.poll(first["v"]))["v"] == first["v"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ([row["name"] for row in second["tools"]], second["full"]) == (["page_other"], False)

    detail = json.loads(served.get("row.json?name=page_ocr"))
    trace = json.loads(served.get(f"trace.json?id={detail['failed'][0]['id']}"))
    assert [call["tool"] for call in trace["calls"]] == ["page_receipt", "page_ocr"]
    for missing in ("trace.json?id=0123456789abcdef", "trace.json?id=x", "row.json?name=none"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            served.get(missing)
    assert b"page_other" in served.get("report.html")

    served.process.send_signal(signal.SIGINT)
    assert served.process.communicate(timeout=20) == ("", "")
    assert served.process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="whether a program runs is looked up by its pid")
def test_the_page_of_programs_that_have_ended_stands_still(monitor: Monitor, tmp_path: Path) -> None:
    """Its moment is that of the last call. Seen red: with the moment of the poll, trends of last week were empty."""
    program = "import sys; from toolweaver_monitor import setup, track; setup('sqlite')\nwith track('page_last'): pass"
    path = tmp_path / "ended.db"
    env = os.environ | {"PYTHONPATH": OURS, "TOOLWEAVER_MONITOR_STORE": str(path)}
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
    one = Served(path)
    try:
        answer = one.poll()
        assert (answer["about"]["closed"], answer["about"]["saved"]) == (True, True)
        assert answer["now"] <= time.time() - 0.1
    finally:
        one.process.kill()
        one.process.communicate()


def test_a_port_that_is_taken_is_told_with_the_cure(monitor: Monitor, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, str(tmp_path / "runs.db"), "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": OURS},
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"toolweaver-monitor: cannot listen on port {port} (Address already in use); --port 0 takes a free one\n"
    )
