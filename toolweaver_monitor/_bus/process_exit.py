"""Deliver what is queued when the process ends.

At exit, at SIGTERM and at the end of a `multiprocessing` child, everything is delivered that fits into the shutdown
timeout. In a forked child the bus and the queues are empty, and the threads start at the first call.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from toolweaver_monitor._bus import sigterm
from toolweaver_monitor._bus.sigterm import Closeable
from toolweaver_monitor._bus.worker import ends_with_forking_thread

_registered: tuple[Closeable, ...] = ()
_is_hooked = False
_hooked_child: int | None = None
"""The process id of the child that has a hook for its end."""


def register(monitor: Closeable) -> None:
    """Register a monitor to be shut down when the process ends, in whichever way it ends."""
    global _registered, _is_hooked  # noqa: PLW0603 - there is one end of the process
    if monitor not in _registered:
        _registered = (*_registered, monitor)
    if not _is_hooked:
        _is_hooked = True
        atexit.register(_shut_down_all)
    sigterm.install(registered, in_child=is_child())


def run_first() -> None:
    """Move the shutdown before the exit hooks that others have registered so far.

    A sink's library may have a hook of its own, which would close what the sink still needs. The earlier hook stays:
    the exit may have begun already, and a hook that is registered then never runs.
    """
    if _is_hooked:
        atexit.register(_shut_down_all)


def unregister(monitor: Closeable) -> None:
    """Forget a monitor that has been shut down."""
    global _registered  # noqa: PLW0603
    _registered = tuple(other for other in _registered if other is not monitor)


def registered() -> tuple[Closeable, ...]:
    """Return the monitors that have not been shut down yet."""
    return _registered


def is_child() -> bool:
    """Return True if this process is, or is about to become, a child of `multiprocessing`.

    Such a child ends without running `atexit`.
    """
    return any(_is_child_of(package) for package in _PACKAGES)


_PACKAGES = ("multiprocessing", "billiard")  # Celery's workers are processes of billiard


def _is_child_of(package: str) -> bool:
    process = sys.modules.get(f"{package}.process")
    if process is None:
        return False
    current = process.current_process()
    return getattr(current, "_parent_pid", None) is not None or getattr(current, "_inheriting", False)


def register_in_child() -> None:
    """Register the monitors to be shut down when a `multiprocessing` child ends.

    Call it at the child's first call: multiprocessing clears what is registered right after the fork.
    """
    global _hooked_child  # noqa: PLW0603
    if _hooked_child == os.getpid():
        return
    sigterm.install(registered, in_child=is_child() or not ends_with_forking_thread())
    for package in _PACKAGES:
        util = sys.modules.get(f"{package}.util")
        if util is not None and _is_child_of(package):
            _hooked_child = os.getpid()
            util.Finalize(None, _shut_down_all, exitpriority=0)
    celery = sys.modules.get("celery.signals")
    if celery is not None and _hooked_child == os.getpid():
        celery.worker_process_shutdown.connect(_shut_down_all, weak=False)  # Celery's workers leave by os._exit


def _shut_down_all(**_: object) -> None:
    is_patient = True
    for monitor in _registered:
        with suppress(Exception):  # monitoring never changes how the process ends
            try:
                monitor.shutdown(monitor._exit_timeout_s() if is_patient else 0.0)
            except KeyboardInterrupt:  # the user does not want to wait; what is lost is still reported
                is_patient = False
                monitor.shutdown(0.0)
