"""What does SIGTERM do to a process that is watched, and to its children?

The process delivers what it has, then does what it would have done without us. A handler written in Python can miss a
signal, though, and who waits for a child that was told to end, as `multiprocessing.Pool` does, would wait for ever:

- CPython forgets the signals that reach a forked child before its first line runs. So no SIGTERM is let in while a
  process forks, and a child has the default back until it has made a call of its own.
- A signal that comes just before a wait in C, as for a lock of `multiprocessing`, is not seen until that wait ends. So
  in a child a thread hears of each SIGTERM as well, and raises it again until the handler has run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

EXIT_S = 2.0
handled = True
"""Whether a handler is put in; `setup()` reads it from the settings."""


class Closeable(Protocol):
    """What can be ended: a monitor."""

    def flush(self, timeout: float) -> bool:
        """Deliver what there is."""

    def shutdown(self, timeout: float) -> bool:
        """Deliver what there is, and end; goes on where a shutdown that was interrupted stopped."""

    def _exit_timeout_s(self) -> float:
        """How long the end of a program may wait for it, in seconds."""

    def _expedite(self) -> None:
        """Hold nothing back from now on."""


_before: Any = None
_ours = False
_hooked = False
_watched: Callable[[], tuple[Closeable, ...]] = tuple
_forking = threading.local()
_heard = False
_pipe: tuple[int, int] | None = None
"""Where the interpreter tells of each signal at once; only in a child."""


def take(watched: Callable[[], tuple[Closeable, ...]], *, in_child: bool) -> None:
    """Have what is watched deliver at SIGTERM. Without effect off the main thread, and where the signal is ignored.

    Args:
        watched: gives what is to be ended.
        in_child: whether another process may wait for this one to end.
    """
    global _before, _ours, _watched  # noqa: PLW0603 - there is one handler a process
    if _ours or not handled or threading.current_thread() is not threading.main_thread():
        return
    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is not signal.SIG_DFL and not callable(before):
            return  # ignored, or installed from C
        _hook_forks()
        _watched, _before, _ours = watched, before, True  # first: the signal may come right after the next line
        signal.signal(signal.SIGTERM, _on_sigterm)
        if in_child and before is signal.SIG_DFL:
            _start_relay()
    except (ValueError, OSError):  # a sub-interpreter
        _ours = False


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Deliver, then do what would have been done without us. It waits for no lock: it polls.

    Where the program has a handler of its own it may well go on for a while, so nothing is ended here. How it ends then
    is not said: some restore the default and raise the signal again. So from now on nothing is held back.
    """
    global _heard  # noqa: PLW0603
    _heard = True
    if _before is signal.SIG_DFL:
        for monitor in _watched():
            _quietly(monitor.shutdown)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    for monitor in _watched():
        _quietly(monitor.flush)
        monitor._expedite()
    _before(number, frame)


def _quietly(end: Callable[[float], object]) -> None:
    with suppress(Exception):  # the process ends as it would without us
        end(EXIT_S)


def _start_relay() -> None:
    """Have a thread raise SIGTERM again until the handler has run, which then ends the process."""
    global _pipe  # noqa: PLW0603
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if earlier == -1:
        _pipe = reading, writing
        with suppress(RuntimeError):  # there can be no thread
            threading.Thread(target=_listen, args=(reading,), name="toolweaver_monitor sigterm", daemon=True).start()
    else:  # an event loop's, which wakes up by it
        signal.set_wakeup_fd(earlier)
        os.close(reading)
        os.close(writing)


def _listen(reading: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
    main = threading.main_thread().ident
    while main is not None:
        pause_s = 0.01
        try:
            told = os.read(reading, 64)
        except OSError:
            told = b""
        if not told:
            return  # a daemon closes whatever is open
        if signal.SIGTERM in told:
            while not _heard and signal.getsignal(signal.SIGTERM) is _on_sigterm:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 1.0)
                if not _heard:
                    signal.pthread_kill(main, signal.SIGTERM)


def _hook_forks() -> None:
    global _hooked  # noqa: PLW0603 - once a process; children inherit it
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_in_child)


def _block() -> None:
    """Keep SIGTERM waiting while this thread forks, which takes no lock; one that meets the child then waits there."""
    if _ours:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    mask, _forking.mask = getattr(_forking, "mask", None), None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    global _ours, _pipe  # noqa: PLW0603
    if _pipe is not None:  # the parent's
        earlier = signal.set_wakeup_fd(-1)
        if earlier not in (-1, _pipe[1]):
            signal.set_wakeup_fd(earlier)
        for end in _pipe:
            os.close(end)
        _pipe = None
    if _ours and _before is signal.SIG_DFL and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _ours = False
    _unblock()
