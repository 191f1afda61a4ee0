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
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

EXIT_S = 2.0
handle_sigterm = True
"""Whether a handler for SIGTERM is put in; `setup()` reads it from the settings."""


class Ending(Protocol):
    """What can be ended: a monitor."""

    def flush(self, timeout: float) -> bool:
        """Deliver what there is."""

    def shutdown(self, timeout: float) -> bool:
        """Deliver what there is, and end; goes on where a shutdown that was interrupted stopped."""

    def patience_s(self) -> float:
        """How long the end of a program may wait for it, in seconds."""

    def hurry(self) -> None:
        """Hold nothing back from now on."""


_watched: tuple[Ending, ...] = ()
_registered = False
_sigterm_before: Any = None
_sigterm_ours = False
_registered_in_child: int | None = None


def watch(monitor: Ending) -> None:
    """Have this ended when the process ends, however it ends."""
    global _watched, _registered  # noqa: PLW0603 - there is one end of the process
    if monitor not in _watched:
        _watched = (*_watched, monitor)
    if not _registered:
        _registered = True
        atexit.register(_ending)
    _take_sigterm()


def be_first() -> None:
    """Run before the exit hooks registered so far: those of a sink's library would close what the sink still needs.

    The earlier hook stays: the exit may have begun already, and what is registered then is never run.
    """
    if _registered:
        atexit.register(_ending)


def unwatch(monitor: Ending) -> None:
    """It has ended: nothing is left to deliver."""
    global _watched  # noqa: PLW0603
    _watched = tuple(other for other in _watched if other is not monitor)


def watched() -> tuple[Ending, ...]:
    """What has not come to its end yet."""
    return _watched


def is_child() -> bool:
    """Whether this is a process of `multiprocessing`'s, or becomes one: those end without running `atexit`."""
    return any(_is_child_of(package) for package in _PACKAGES)


_PACKAGES = ("multiprocessing", "billiard")  # billiard: what Celery's workers are made of


def _is_child_of(package: str) -> bool:
    process = sys.modules.get(f"{package}.process")
    if process is None:
        return False
    current = process.current_process()
    return getattr(current, "_parent_pid", None) is not None or getattr(current, "_inheriting", False)


def watch_in_child() -> None:
    """As `watch`, for a `multiprocessing` child, which ends without running `atexit`.

    To be called at the child's first call: what is registered right after the fork is cleared again by multiprocessing.
    """
    global _registered_in_child  # noqa: PLW0603
    if _registered_in_child == os.getpid():
        return
    for package in _PACKAGES:
        util = sys.modules.get(f"{package}.util")
        if util is not None and _is_child_of(package):
            _registered_in_child = os.getpid()
            util.Finalize(None, _ending, exitpriority=0)
    celery = sys.modules.get("celery.signals")
    if celery is not None and _registered_in_child == os.getpid():
        celery.worker_process_shutdown.connect(_ending, weak=False)  # its workers leave by os._exit


def _ending(**_: object) -> None:
    for monitor in _watched:
        _quietly(monitor.shutdown, monitor.patience_s())


def _quietly(end: Callable[[float], object], timeout_s: float = EXIT_S) -> None:
    with suppress(Exception):  # the process ends as it would without us
        end(timeout_s)


def _take_sigterm() -> None:
    global _sigterm_before, _sigterm_ours  # noqa: PLW0603 - there is one handler a process
    if _sigterm_ours or threading.current_thread() is not threading.main_thread():
        return
    if not handle_sigterm:
        return
    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is not signal.SIG_DFL and not callable(before):
            return  # ignored, or installed from C
        _sigterm_before, _sigterm_ours = before, True  # first: the signal may come right after the next line
        signal.signal(signal.SIGTERM, _on_sigterm)
    except (ValueError, OSError):  # a sub-interpreter
        _sigterm_ours = False


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Deliver, then do what would have been done without us. It waits for no lock: it polls.

    Where the program has a handler of its own it may well go on for a while, so nothing is ended here. How it ends then
    is not said: some restore the default and raise the signal again. So from now on nothing is held back.
    """
    if _sigterm_before is signal.SIG_DFL:
        for monitor in _watched:
            _quietly(monitor.shutdown)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    for monitor in _watched:
        _quietly(monitor.flush)
        monitor.hurry()
    _sigterm_before(number, frame)
