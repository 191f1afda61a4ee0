"""What happens to calls that still wait when the process is told to end, forks, or dies of a signal?

At exit, at SIGTERM and at the end of a `multiprocessing` child everything is delivered that can be within the shutdown
timeout. In a forked child the bus and the queues are empty and the threads start at the first call.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

EXIT_S = 2.0
OPT_OUT = "TOOLWEAVER_MONITOR_HANDLE_SIGTERM"

_at_exit: Callable[[float], object] | None = None
_registered = False
_sigterm_before: Any = None
_sigterm_ours = False


def watch(shutdown: Callable[[float], object]) -> None:
    """Have `shutdown(timeout_s)` called when the process ends, however it ends. The last one given counts."""
    global _at_exit, _registered  # noqa: PLW0603 - there is one end of the process
    _at_exit = shutdown
    if not _registered:
        _registered = True
        atexit.register(_ending)
    _take_sigterm()


def be_first() -> None:
    """Run before the exit hooks registered so far: those of a sink's library would close what the sink still needs."""
    if _registered:
        atexit.unregister(_ending)
        atexit.register(_ending)


def unwatch() -> None:
    """Nothing is left to deliver."""
    global _at_exit  # noqa: PLW0603
    _at_exit = None


def watch_in_child() -> None:
    """As `watch`, for a `multiprocessing` child, which ends without running `atexit`.

    To be called at the child's first call: what is registered right after the fork is cleared again by multiprocessing.
    """
    multiprocessing = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and process is not None and process.parent_process() is not None:
        multiprocessing.Finalize(None, _ending, exitpriority=0)


def _ending() -> None:
    if _at_exit is not None:
        _at_exit(EXIT_S)


def _take_sigterm() -> None:
    global _sigterm_before, _sigterm_ours
    if _sigterm_ours or threading.current_thread() is not threading.main_thread():
        return
    if os.environ.get(OPT_OUT, "").strip() == "0":
        return
    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is not signal.SIG_DFL and not callable(before):
            return  # ignored, or installed from C
        signal.signal(signal.SIGTERM, _on_sigterm)
    except (ValueError, OSError):  # a sub-interpreter
        return
    _sigterm_before, _sigterm_ours = before, True


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Deliver, then do what would have been done without us. It waits for no lock: it polls."""
    _ending()
    if callable(_sigterm_before):
        _sigterm_before(number, frame)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
