"""What happens to calls that still wait when the process is told to end, forks, or dies of a signal?

At exit, at SIGTERM and at the end of a `multiprocessing` child everything is delivered that can be within the shutdown
timeout. In a forked child the bus and the queues are empty and the threads start at the first call.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from toolweaver_monitor._bus import sigterm
from toolweaver_monitor._bus.sigterm import Closeable
from toolweaver_monitor._bus.worker import ends_with_a_thread

EXIT_S = 2.0


_watched: tuple[Closeable, ...] = ()
_registered = False
_registered_in_child: int | None = None


def watch(monitor: Closeable) -> None:
    """Have this ended when the process ends, however it ends."""
    global _watched, _registered  # noqa: PLW0603 - there is one end of the process
    if monitor not in _watched:
        _watched = (*_watched, monitor)
    if not _registered:
        _registered = True
        atexit.register(_ending)
    sigterm.take(watched, in_child=is_child())


def run_first() -> None:
    """Run before the exit hooks registered so far: those of a sink's library would close what the sink still needs.

    The earlier hook stays: the exit may have begun already, and what is registered then is never run.
    """
    if _registered:
        atexit.register(_ending)


def unwatch(monitor: Closeable) -> None:
    """It has ended: nothing is left to deliver."""
    global _watched  # noqa: PLW0603
    _watched = tuple(other for other in _watched if other is not monitor)


def watched() -> tuple[Closeable, ...]:
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
    sigterm.take(watched, in_child=is_child() or not ends_with_a_thread())
    for package in _PACKAGES:
        util = sys.modules.get(f"{package}.util")
        if util is not None and _is_child_of(package):
            _registered_in_child = os.getpid()
            util.Finalize(None, _ending, exitpriority=0)
    celery = sys.modules.get("celery.signals")
    if celery is not None and _registered_in_child == os.getpid():
        celery.worker_process_shutdown.connect(_ending, weak=False)  # its workers leave by os._exit


def _ending(**_: object) -> None:
    patient = True
    for monitor in _watched:
        with suppress(Exception):  # the process ends as it would without us
            try:
                monitor.shutdown(monitor._exit_timeout_s() if patient else 0.0)
            except KeyboardInterrupt:  # who waits for the end wants it now; what is not delivered is still said
                patient = False
                monitor.shutdown(0.0)
