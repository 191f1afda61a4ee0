"""How does a thread that must not wait say something in the log?

A log handler may hang or be slow: a full pipe, a dead log server. So the dispatcher, which everyone waits for, leaves
its lines here, and a thread of their own hands them to `logging`.
"""

from __future__ import annotations

import logging
from collections import deque

from toolweaver_monitor import locks
from toolweaver_monitor.bus.worker import Worker

log = logging.getLogger("toolweaver_monitor")

_lines: deque[tuple[str, tuple[object, ...]]] = deque(maxlen=64)


def say(message: str, *args: object) -> None:
    """Have a warning logged soon."""
    _lines.append((message, args))
    if not _worker.poke():
        _speak()


def _speak() -> None:
    while _lines:
        message, args = _lines.popleft()
        log.warning(message, *args)


_worker = Worker("log", _speak)
locks.in_forked_child(_lines.clear)
