"""Checks in a process of their own, which the doctor can end: they may hang, print, or leave something behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from toolweaver_monitor._cli.doctor.findings import Finding

PROBE = "toolweaver_monitor._cli.doctor.self_check"


class ProbeProcess:
    """A process that runs checks while the doctor runs others.

    Args:
        name: the name of the finding if the process fails.
        arguments: the checks to run, and their options.
        environment: the whole environment of the process.
        folder: its working directory; that of the doctor if not given.
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
        """Return what the process finds within `timeout_s` of its start."""
        left_s = max(0.1, self._started_at + timeout_s - time.monotonic())
        fault = ""
        try:
            out, errors = self._process.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, errors = self._process.communicate()
            fault = f"no answer within {timeout_s:.0f} s"
        found = [Finding(*json.loads(line)) for line in out.splitlines() if line.startswith("[")]
        if not fault and self._process.returncode:
            last_line = (errors.strip().splitlines() or ["no message"])[-1]
            fault = f"it ended with {self._process.returncode}: {last_line[:300]}"
        if fault:
            cure = f"run `python -m {PROBE} {' '.join(self._arguments)}` to see more"
            found.append(Finding("wrong", self.name, fault, cure))
        return found


def clean_environment(folder: str) -> dict[str, str]:
    """Return the environment without the settings of this library and of W&B; all that W&B writes goes to `folder`."""
    removed = ("TOOLWEAVER_MONITOR_", "WANDB_", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    folders = dict.fromkeys(("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), folder)
    return kept | folders | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
