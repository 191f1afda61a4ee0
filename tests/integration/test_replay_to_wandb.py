"""The calls of a store in a real offline W&B run, each of them once, read back with `wandb leet inspect`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS, wait_until

from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import SQLiteStore

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("real_wandb")]

INTERRUPTIBLE = """
import signal, sys
from toolweaver_monitor._cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def fill(path: Path, calls: int) -> None:
    with setup(SQLiteStore(path)) as monitor:
        for number in range(calls):
            with track(f"replayed_{number % 2}") as call:
                call.record(cost=0.25, tokens=10)
                if number == 0:
                    call.fail("blurred")
        assert monitor.flush()


def start(path: Path) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    homes = dict.fromkeys(("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(path.parent / "home"))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTIBLE, "replay", str(path), "--to", "wandb", "--json"],
        cwd=path.parent,
        env=own | homes | {"PYTHONPATH": OURS, "WANDB_MODE": "offline"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def replay(path: Path) -> int:
    process = start(path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return int(json.loads(out)["calls"])


def records(folder: Path) -> list[dict[str, Any]]:
    """What the runs below a folder hold, in the order in which they were started."""
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        found += [json.loads(line) for line in text.splitlines()]
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    items = [record["history"]["item"] for record in records(folder) if record["type"] == "history"]
    return [item for item in items if any(key.endswith("/status") for key in item)]


def test_each_call_is_one_row_however_often_it_is_replayed(tmp_path: Path) -> None:
    """What has come since goes on in the same run, numbered on; the summary is that of the store.

    Seen red: with no place kept the second replay logged all calls again.
    """
    path = tmp_path / "runs.db"
    fill(path, 5)
    assert (replay(path), replay(path)) == (5, 0)
    fill(path, 3)
    assert replay(path) == 3
    found = rows(tmp_path)
    assert [row["toolweaver/call"] for row in found] == list(range(1, 9))
    first = found[0]
    assert (first["replayed_0/status"], first["replayed_0/cost"], first["replayed_0/tokens"]) == (0, 0.25, 10)
    assert Counter(key for row in found for key in row if key.endswith("/status")) == {
        "replayed_0/status": 5,
        "replayed_1/status": 3,
    }
    runs = [record["run"] for record in records(tmp_path) if record["type"] == "run"]
    assert len({run["run_id"] for run in runs}) == 1
    summary: dict[str, Any] = {}
    for record in records(tmp_path):
        if record["type"] == "summary":
            summary |= record["summary"].get("update", {})
    assert (summary["summary/total_operations"], summary["summary/total_cost"]) == (8, 2.0)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_replay_that_is_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ctrl-C in the middle of 20,000 calls: no row twice, and none is missing.

    Seen red: with a Ctrl-C that ends a batch between the log of a row and its count, that row came twice.
    """
    path = tmp_path / "runs.db"
    fill(path, 20_000)
    place = tmp_path / "runs.wandb.json"
    process = start(path)
    wait_until(lambda: place.exists() or process.poll() is not None, 90)
    assert process.poll() is None, process.communicate()
    while process.poll() is None:  # Python may drop one, such as in a `__del__`; a second one does not wait for a batch
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    assert process.communicate()[0] == ""
    assert process.returncode == 130
    kept = json.loads(place.read_text())["calls"]
    assert 0 < kept < 20_000
    assert replay(path) == 20_000 - kept
    assert [row["toolweaver/call"] for row in rows(tmp_path)] == list(range(1, 20_001))
