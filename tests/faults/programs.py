"""What does a whole program do that is hit by a fault? It is run, watched, and ended if it hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import toolweaver_monitor

OURS = str(Path(toolweaver_monitor.__file__).parents[1])
HANG_S = 20

_PREAMBLE = (
    "import faulthandler, os\n"
    f"faulthandler.dump_traceback_later(float(os.environ.get('FAULT_HANG_S', {HANG_S})), exit=True)\n"
)


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    """Its exit code; negative: the signal it died of."""
    out: str
    err: str
    took_s: float
    ended_at: float

    def exit_s(self) -> float:
        """Seconds from the last `leaving()` of the program to its end."""
        marks = [line for line in self.out.splitlines() if line.startswith("LEAVING ")]
        return self.ended_at - float(marks[-1].split()[1])


LEAVING = "import time as _t\ndef leaving(): print('LEAVING', _t.time(), flush=True)\n"
"""For programs that say when they begin to end."""


def run_program(
    code: str,
    *args: str,
    python: str = sys.executable,
    options: tuple[str, ...] = (),
    cwd: Path | None = None,
    timeout_s: float = 60.0,
    env: dict[str, str] | None = None,
    **popen: object,
) -> Ended:
    """Run a program with the package on its path. One that hangs for 20 s shows where on its stderr and exits 1.

    Args:
        code: its source; `leaving()` prints the time, for `Ended.exit_s`.
        *args: its `sys.argv[1:]`.
        python: the interpreter.
        options: the interpreter's own options.
        cwd: where it runs.
        timeout_s: when it is killed, in seconds.
        env: variables beside those of this process.
        **popen: more for `subprocess.run`.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOOLWEAVER_MONITOR_")}
    began = time.monotonic()
    done = subprocess.run(
        [python, *options, "-c", _PREAMBLE + LEAVING + textwrap.dedent(code), *args],
        env=own | {"PYTHONPATH": OURS} | (env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **popen,  # type: ignore[call-overload]
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began, time.time())
