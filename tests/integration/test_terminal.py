"""`top` in a real terminal: a pseudo-terminal of 100 columns and 30 lines, which is given back as it was."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import OURS

from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import SQLiteStore

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")]

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
if {without_rich}:
    sys.modules["rich"] = sys.modules["rich.console"] = None
from toolweaver_monitor._cli import main
sys.exit(main({argv!r}))
"""


def in_terminal(program: str, until: bytes, after_s: float = 0.0) -> tuple[int, bytes]:
    """Run a program in a terminal, press Ctrl-C once it has shown something, and return its exit code and output."""
    import fcntl
    import pty
    import struct
    import termios

    pid, terminal = pty.fork()
    if pid == 0:
        env = os.environ | {"PYTHONPATH": OURS, "TERM": "xterm-256color"}
        os.execve(sys.executable, [sys.executable, "-c", program], {k: v for k, v in env.items() if k != "COLUMNS"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    out, deadline, is_pressed = b"", time.monotonic() + 60, False
    try:
        while time.monotonic() < deadline:
            if not is_pressed and until in out:
                time.sleep(after_s)
                os.write(terminal, b"\x03")
                is_pressed = True
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    new = os.read(terminal, 65_536)
                except OSError:  # Linux: the other end is closed
                    break
                if not new:
                    break
                out += new
        else:
            os.kill(pid, signal.SIGKILL)
            pytest.fail(f"it did not end: {out[-500:]!r}")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out
    finally:
        os.close(terminal)


@pytest.mark.parametrize("without_rich", [False, True], ids=["rich", "plain"])
def test_ctrl_c_gives_the_terminal_back_with_the_last_figures(tmp_path: Path, without_rich: bool) -> None:
    """Exit code 0; the cursor and the first screen are back, and the figures stand on it. No line is too long.

    Seen red: with long names in several lines the last rows were below the screen.
    """
    if not without_rich:
        pytest.importorskip("rich")
    with setup(SQLiteStore(tmp_path / "runs.db")):
        for number in range(40):
            with track(f"terminal_{number}_{'x' * 100}"):
                pass
    argv = ["top", str(tmp_path / "runs.db"), "--every", "0.2"]
    code, out = in_terminal(PROGRAM.format(without_rich=without_rich, argv=argv), b"and 1")
    assert code == 0, out
    live, last = out.rsplit(b"\x1b[?1049l", 1)
    assert live.count(b"\x1b[?1049h") == live.count(b"\x1b[?25l") == out.count(b"\x1b[?25h") == 1
    assert b"40 calls, 0 failed" in live
    assert b"40 calls, 0 failed" in last
    assert b"\x1b[?25l" not in last
    painted = re.sub(rb"\x1b\[[\d;]*m|\^C", b"", live)
    shown = re.sub(rb"\x1b\[[?\d;]*[a-zA-Z]", b"\n", painted).decode()  # each frame begins at the top
    assert max(len(line) for line in shown.splitlines()) <= 100


def test_a_server_of_a_store_ends_with_ctrl_c(tmp_path: Path, require_package: Callable[[str, str], None]) -> None:
    """As it says. Seen red: it went on to wait for a line, and had to be killed."""
    require_package("mcp", "pip install 'toolweaver_monitor[mcp]'")
    with setup(SQLiteStore(tmp_path / "runs.db")), track("ocr"):
        pass
    program = PROGRAM.format(without_rich=False, argv=["mcp", str(tmp_path / "runs.db")])
    code, out = in_terminal(program, b"Ctrl-C ends it", after_s=2.0)
    assert code == -signal.SIGINT
    assert b"Traceback" not in out
