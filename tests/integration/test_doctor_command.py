"""The command `toolweaver-monitor doctor` as a user runs it, with a real W&B that is offline, logged out, or off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import toolweaver_monitor

pytest.importorskip("wandb")

OURS = str(Path(toolweaver_monitor.__file__).parents[1])


def doctor(home: Path, *argv: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run it in an empty home; gives the exit code, and the findings by name."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "TOOLWEAVER_MONITOR_"))}
    done = subprocess.run(
        [sys.executable, "-m", "toolweaver_monitor", "doctor", "--json", *argv],
        env=own | {"HOME": str(home), "PYTHONPATH": OURS, "TOOLWEAVER_MONITOR_PROMETHEUS_PORT": "0"} | env,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.returncode, {found["name"]: found for found in json.loads(done.stdout)["findings"]}


def test_memory_prometheus_and_wandb_hold_the_same_calls(tmp_path: Path) -> None:
    """An offline run is written, read back and thrown away; the exit code is 0, and the home is as it was."""
    code, found = doctor(tmp_path, WANDB_MODE="offline")
    assert code == 0, found
    assert found["agreement"]["says"].startswith("memory, Prometheus and W&B hold the same: 7 calls, 1 failed")
    assert "offline" in found["wandb"]["says"]
    assert not list(tmp_path.glob("**/*.wandb"))


def test_wandb_logged_out_is_told_with_the_login(tmp_path: Path) -> None:
    """The commonest reason why W&B does not log; the self-check is offline and holds all the same."""
    code, found = doctor(tmp_path, "--sinks", "wandb")
    assert (code, found["wandb"]["state"]) == (1, "wrong")
    assert "wandb login" in found["wandb"]["cure"]
    assert "and W&B hold the same" in found["agreement"]["says"]


def test_wandb_turned_off_is_why_nothing_is_logged(tmp_path: Path) -> None:
    """A `WANDB_MODE=disabled` is easily forgotten."""
    code, found = doctor(tmp_path, "--sinks", "wandb", WANDB_MODE="disabled")
    assert (code, found["wandb"]["state"]) == (1, "wrong")
    assert "WANDB_MODE=disabled" in found["wandb"]["says"]
