"""Run whole programs that are hit by a fault, and end those that hang."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

from helpers import OURS

HANG_S = 20

_PREAMBLE = f"""
import faulthandler as _f, os
def _watch():  # by descriptor: sys.stderr would be flushed, which never ends in a child whose parent was writing
    _f.dump_traceback_later(float(os.environ.get('FAULT_HANG_S', {HANG_S})), exit=True, file=2)
_watch()
if hasattr(os, 'register_at_fork'):  # or a child waits for ever for its parent's timer
    os.register_at_fork(before=_f.cancel_dump_traceback_later, after_in_parent=_watch, after_in_child=_watch)
"""


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    """The exit code; negative if a signal killed it."""
    out: str
    err: str
    took_s: float
    ended_at: float

    def exit_s(self) -> float:
        """Return the seconds from the program's last `leaving()` to its end."""
        marks = [line for line in self.out.splitlines() if line.startswith("LEAVING ")]
        return self.ended_at - float(marks[-1].split()[1])


LEAVING = "import time as _t\ndef leaving(): print('LEAVING', _t.time(), flush=True)\n"
"""Source for programs that print when they begin to end."""


def run_program(
    code: str,
    *args: str,
    script: Path | None = None,
    python: str = sys.executable,
    options: tuple[str, ...] = (),
    cwd: Path | None = None,
    timeout_s: float = 60.0,
    env: dict[str, str] | None = None,
    **popen: object,
) -> Ended:
    """Run a program with the package on its path. If it hangs for 20 s, it prints its stack to stderr and exits with 1.

    Args:
        code: the source; `leaving()` prints the time, for `Ended.exit_s`.
        *args: the program's `sys.argv[1:]`.
        script: the file to put the source in, for programs that need one; else the source is passed with `-c`.
        python: the interpreter.
        options: options of the interpreter.
        cwd: the working directory.
        timeout_s: seconds after which the program is killed.
        env: environment variables besides those of this process.
        **popen: further arguments of `subprocess.run`.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOOLWEAVER_MONITOR_")}
    source = _PREAMBLE + LEAVING + textwrap.dedent(code)
    if script is not None:
        script.write_text(source)
    began = time.monotonic()
    done = subprocess.run(
        [python, *options, *(["-c", source] if script is None else [str(script)]), *args],
        env=own | {"PYTHONPATH": OURS} | (env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **popen,  # type: ignore[call-overload]
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began, time.time())


TOOL = """
import os, signal, sys, threading, time
from toolweaver_monitor import flush, get_monitor, monitored, setup, shutdown

class FileSink:
    '''Appends a line for each call: its tool and the process it was made in.'''
    def __init__(self, path=None, name="file", write_s=0.0):
        self.path, self.name, self.write_s, self.inside, self.owner = path or sys.argv[1], name, write_s, 0, os.getpid()
    def write(self, calls):
        if self.owner != os.getpid(): self.owner, self.inside = os.getpid(), 0  # forked while its parent wrote
        self.inside += 1
        if self.inside > 1: os.write(2, b"OVERLAP\\n")
        time.sleep(self.write_s)
        data = "".join(f"{call.tool_name} {os.getpid()}\\n" for call in calls).encode()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, data)
        os.close(file)
        self.inside -= 1
    def flush(self): pass
    def close(self): pass

@monitored("tool")
def tool(): pass
"""
"""Source for programs whose calls are counted from outside: `tool()` is monitored, `FileSink()` writes to
`sys.argv[1]`."""


def delivered(path: Path) -> list[tuple[str, str]]:
    """Return what `FileSink` has written: tool and process of each call."""
    if not path.exists():
        return []
    return [(line.split()[0], line.split()[1]) for line in path.read_text().splitlines()]
