"""How does the doctor try things that may hang, print or leave something behind? In a process that it can end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from toolweaver_monitor._cli.doctor.findings import Finding, wrong

PROBE = "toolweaver_monitor._cli.doctor.self_check"


class Child:
    """A probe that runs beside the doctor.

    Args:
        name: what it is called if it fails.
        arguments: of the probe.
        environment: its whole environment.
        folder: where it runs; here if not given.
    """

    def __init__(
        self, name: str, arguments: list[str], environment: Mapping[str, str], folder: str | Path | None = None
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-m", PROBE, *arguments],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def findings(self, timeout_s: float) -> list[Finding]:
        """What it found within so many seconds of its start."""
        left_s = max(0.1, self._started_at + timeout_s - time.monotonic())
        try:
            out, errors = self._process.communicate(timeout=left_s)
            fault = ""
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, errors = self._process.communicate()
            fault = f"no answer within {timeout_s:.0f} s"
        found = [Finding(*json.loads(line)) for line in out.splitlines() if line.startswith("[")]
        if not fault and self._process.returncode:
            last = (errors.strip().splitlines() or ["nothing was said"])[-1]
            fault = f"it ended with {self._process.returncode}: {last[:300]}"
        if fault:
            cure = f"run `python -m {PROBE} {' '.join(self._arguments)}` to see more"
            found.append(wrong(self.name, fault, cure))
        return found


def clean_environment(folder: str) -> dict[str, str]:
    """The environment without what configures this library or W&B, and with all that W&B writes kept in a folder."""
    theirs = ("TOOLWEAVER_MONITOR_", "WANDB_", "PYTHONWARNINGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    own = dict.fromkeys(("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), folder)
    return kept | own | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
