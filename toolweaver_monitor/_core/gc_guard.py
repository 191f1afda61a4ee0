"""What if the collector runs a `__del__` that calls watched code just while a context variable is being set?

Before CPython 3.12 the collector can start at any allocation, also at one inside `ContextVar.set`, which then goes on
with a map of variables that a `set` in the `__del__` has replaced and freed: the interpreter crashes. So the map of the
moment is kept alive from each start of the collector until it has started several times more: one `set` allocates a few
nodes of a map, and each of them may start it.
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
    """Keep the map from now on. Twice is fine."""
    if sys.version_info < (3, 12) and _keep not in gc.callbacks:
        gc.callbacks.append(_keep)
