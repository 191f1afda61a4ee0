"""Deliver what is queued at SIGTERM, in this process and in its children.

The process delivers what it has and then does what it would have done without the handler. A handler written in Python
can miss a signal, though, and a parent that waits for the child it ended, as `multiprocessing.Pool` does, would then
wait forever:

- CPython drops signals that reach a forked child before its first line runs. So SIGTERM is blocked while a process
  forks, and a child has the default handler until it has made a call of its own.
- CPython does not run the handler during a wait in C, such as one for a lock of `multiprocessing`, that begins just
  after the signal arrived. So a thread in each child also receives SIGTERM, and raises it again until the handler has
  run.
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

EXIT_TIMEOUT_S = 2.0
"""How long the end of a process waits for the sinks."""
handled = True
"""Whether the handler is installed; `setup()` sets it from the settings."""


class Closeable(Protocol):
    """Anything that the end of the process shuts down: a monitor."""

    def flush(self, timeout: float) -> bool:
        """Deliver what is queued."""

    def shutdown(self, timeout: float) -> bool:
        """Deliver what is queued, then close; continue a shutdown that was interrupted."""

    def _exit_timeout_s(self) -> float:
        """Return how many seconds the end of a program may wait for it."""

    def _expedite(self) -> None:
        """Deliver every call without delay from now on."""


_previous_handler: Any = None
_is_installed = False
_has_fork_hooks = False
_registered: Callable[[], tuple[Closeable, ...]] = tuple
_forking = threading.local()
_has_run = False
_pipe: tuple[int, int] | None = None
"""Where the interpreter writes the number of each signal as it arrives; only in a child."""


def install(registered: Callable[[], tuple[Closeable, ...]], *, in_child: bool) -> None:
    """Install the SIGTERM handler. Do nothing off the main thread, or if the program ignores the signal.

    Args:
        registered: returns what to shut down.
        in_child: whether another process may wait for this one to end.
    """
    global _previous_handler, _is_installed, _registered  # noqa: PLW0603 - there is one handler a process
    if _is_installed or not handled or threading.current_thread() is not threading.main_thread():
        return
    try:
        previous = signal.getsignal(signal.SIGTERM)
        if previous is not signal.SIG_DFL and not callable(previous):
            return  # ignored, or installed from C
        _install_fork_hooks()
        # First the state, since the signal may arrive right after the handler is in place.
        _registered, _previous_handler, _is_installed = registered, previous, True
        signal.signal(signal.SIGTERM, _on_sigterm)
        if in_child and previous is signal.SIG_DFL:
            _start_relay()
    except (ValueError, OSError):  # a sub-interpreter
        _is_installed = False


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Deliver what is queued, then do what the program would have done without this handler.

    It takes no lock: it polls. If the program has a handler of its own, the program may well continue for a while, so
    nothing is closed here. How it ends then is unknown, since some handlers restore the default and raise the signal
    again; so from now on no call is held back. The same goes for process 1 of a container: without a handler of its
    own, Linux lets it ignore the signal.
    """
    global _has_run  # noqa: PLW0603
    _has_run = True
    if _previous_handler is signal.SIG_DFL and os.getpid() != 1:
        for monitor in _registered():
            with suppress(Exception):  # monitoring never changes how the process ends
                monitor.shutdown(EXIT_TIMEOUT_S)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    for monitor in _registered():
        with suppress(Exception):  # as above
            monitor.flush(EXIT_TIMEOUT_S)
        monitor._expedite()
    if callable(_previous_handler):
        _previous_handler(number, frame)


def _start_relay() -> None:
    """Start a thread that raises SIGTERM again until the handler, which ends the process, has run."""
    global _pipe  # noqa: PLW0603
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if earlier == -1:
        _pipe = reading, writing
        with suppress(RuntimeError):  # no thread can start
            threading.Thread(target=_relay, args=(reading,), name="toolweaver_monitor sigterm", daemon=True).start()
    else:  # an event loop's, which relies on it to wake up
        signal.set_wakeup_fd(earlier)
        os.close(reading)
        os.close(writing)


def _relay(reading: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
    main = threading.main_thread().ident
    while main is not None:
        pause_s = 0.01
        try:
            signals = os.read(reading, 64)
        except OSError:
            signals = b""
        if not signals:
            return  # closed, as by a program that closes every descriptor to become a daemon
        if signal.SIGTERM in signals:
            while not _has_run and signal.getsignal(signal.SIGTERM) is _on_sigterm:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 1.0)
                if not _has_run:
                    signal.pthread_kill(main, signal.SIGTERM)


def _install_fork_hooks() -> None:
    global _has_fork_hooks  # noqa: PLW0603 - once a process; children inherit them
    if not _has_fork_hooks and hasattr(os, "register_at_fork"):
        _has_fork_hooks = True
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_in_child)


def _block() -> None:
    """Block SIGTERM while this thread forks, which takes no lock. One that is sent to the child is pending there."""
    if _is_installed:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    mask, _forking.mask = getattr(_forking, "mask", None), None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    global _is_installed, _pipe  # noqa: PLW0603
    if _pipe is not None:  # the parent's
        earlier = signal.set_wakeup_fd(-1)
        if earlier not in (-1, _pipe[1]):
            signal.set_wakeup_fd(earlier)
        for end in _pipe:
            os.close(end)
        _pipe = None
    if _is_installed and _previous_handler is signal.SIG_DFL and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _is_installed = False
    _unblock()
