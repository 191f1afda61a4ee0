"""Undo an import that another thread was in the middle of when the process forked.

CPython >= 3.11 (seen up to 3.13, and not known to be fixed) leaves such modules half initialized, and their import
locks held by a thread that does not exist in the child: the child's first import of one of them never returns. The
thread that imports genai-prices belongs to this library, which the user does not see, so its imports are cleaned up
here; those of other threads are left alone.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def discard_partial_imports(thread_id: int) -> None:
    """Discard, in a forked child, what a thread of the parent was importing, so that it can be imported again.

    Args:
        thread_id: `threading.Thread.ident` of a thread of the parent.
    """
    locks: dict[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    for name, ref in list(locks.items()):
        lock = ref()
        if lock is None:
            continue
        owner = getattr(lock, "owner", None)
        if owner == thread_id:
            sys.modules.pop(name, None)
        if owner in (thread_id, None):
            locks.pop(name, None)
