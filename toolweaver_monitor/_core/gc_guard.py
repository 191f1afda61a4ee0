"""Keep context maps alive while the garbage collector runs, for CPython < 3.12.

There the collector can start at any allocation, also at one inside `ContextVar.set`. If it then runs a `__del__` that
calls monitored code, the `set` in there replaces and frees the map of variables with which the outer `set` goes on, and
the interpreter crashes. So the current map is kept alive from each start of the collector until several more starts:
one `set` allocates a few nodes of a map, and each allocation may start the collector.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from contextvars import Context, copy_context

_kept: deque[Context] = deque(maxlen=16)


def _keep(phase: str, _: object) -> None:
    if phase == "start":
        _kept.append(copy_context())  # 0.1 us, and shares the map


def install() -> None:
    """Start keeping the maps. A second call does nothing."""
    if sys.version_info < (3, 12) and _keep not in gc.callbacks:  # CPython < 3.12
        gc.callbacks.append(_keep)
