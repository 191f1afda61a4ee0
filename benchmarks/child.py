"""Measurements that need a fresh process: a child runs a short program and prints JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with the project on the path and with bytecode kept, as by default."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**kept, "PYTHONPATH": path, **more}


def answer(program: str, *arguments: object, timeout_s: float = 300, cwd: str | None = None, **more: str) -> Any:
    """Run Python source in a fresh interpreter; what its last line of output says, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(**more),
        cwd=cwd,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the child failed: {done.stderr[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def wall_s(program: str) -> float:
    """Seconds that a fresh interpreter takes for a program, its start and end included."""
    began = perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)
    return perf_counter() - began
