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

_PREAMBLE = f"""
import faulthandler as _f, os
def _watch():  # by descriptor, for sys.stderr would be flushed: in a child whose parent wrote just then, for ever
    _f.dump_traceback_later(float(os.environ.get('FAULT_HANG_S', {HANG_S})), exit=True, file=2)
_watch()
if hasattr(os, 'register_at_fork'):  # a child waits for ever for the watch of its parent
    os.register_at_fork(before=_f.cancel_dump_traceback_later, after_in_parent=_watch, after_in_child=_watch)
"""


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
    script: Path | None = None,
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
        script: where to put the source, for programs that must have a file; else it is given with `-c`.
        python: the interpreter.
        options: the interpreter's own options.
        cwd: where it runs.
        timeout_s: when it is killed, in seconds.
        env: variables beside those of this process.
        **popen: more for `subprocess.run`.
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
"""For programs whose calls are counted from outside: `tool()` is watched, `FileSink()` writes to `sys.argv[1]`."""


def delivered(path: Path) -> list[tuple[str, str]]:
    """What `FileSink` has written: tool and process of each call."""
    if not path.exists():
        return []
    return [(line.split()[0], line.split()[1]) for line in path.read_text().splitlines()]
