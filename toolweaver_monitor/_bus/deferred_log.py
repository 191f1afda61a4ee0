"""Log from threads that must not wait.

A log handler may hang or be slow, as with a full pipe or a dead log server. So the dispatcher, which every reader waits
for, leaves its lines here, and a thread for this purpose passes them to `logging`.

Without a logging configuration, Python writes warnings to stderr. If stderr is closed, the line stays in its buffer,
the interpreter fails to write it at the exit, and the program ends with status 120. So nothing is logged then.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections import deque

from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import locks

log = logging.getLogger("toolweaver_monitor")


def stderr_is_open() -> bool:
    """Return True if text written to stderr can arrive."""
    try:
        os.fstat(sys.stderr.fileno())
    except io.UnsupportedOperation:  # kept in memory, as by a test runner
        return True
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _can_arrive(_: logging.LogRecord) -> bool:
    return log.hasHandlers() or stderr_is_open()


log.addFilter(_can_arrive)

_lines: deque[tuple[str, tuple[object, ...]]] = deque(maxlen=64)


def warn(message: str, *args: object) -> None:
    """Log a warning soon, on another thread."""
    _lines.append((message, args))
    if not _worker.wake():
        _write_lines()


def _write_lines() -> None:
    while _lines:
        message, args = _lines.popleft()
        log.warning(message, *args)


_worker = Worker("log", _write_lines)
locks.after_fork_in_child(_lines.clear)
