"""How does a thread that must not wait say something in the log?

A log handler may hang or be slow: a full pipe, a dead log server. So the dispatcher, which everyone waits for, leaves
its lines here, and a thread of their own hands them to `logging`.

And who hears them? Where a program has not configured logging, Python writes warnings to stderr. If that is closed, the
line stays in its buffer, the interpreter fails to write it at the exit, and the program ends with the code 120 for
something that was only said. So then nothing is said.
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
    """Whether something that is written to stderr can arrive."""
    try:
        os.fstat(sys.stderr.fileno())
    except io.UnsupportedOperation:  # kept in memory, as by a test runner
        return True
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _is_heard(_: logging.LogRecord) -> bool:
    return log.hasHandlers() or stderr_is_open()


log.addFilter(_is_heard)

_lines: deque[tuple[str, tuple[object, ...]]] = deque(maxlen=64)


def say(message: str, *args: object) -> None:
    """Have a warning logged soon."""
    _lines.append((message, args))
    if not _worker.wake():
        _speak()


def _speak() -> None:
    while _lines:
        message, args = _lines.popleft()
        log.warning(message, *args)


_worker = Worker("log", _speak)
locks.after_fork_in_child(_lines.clear)
