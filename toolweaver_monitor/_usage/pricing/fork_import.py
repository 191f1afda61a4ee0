"""What becomes of an import that another thread was in the middle of, when the process forks?

CPython leaves the modules half made and their locks held by a thread that is not in the child: the child's first import
of any of them waits for ever (seen with 3.11 to 3.13). Since we import on a thread of ours, behind the user's back, we
have to tidy up after it; the locks of others are left as they are.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def forget(thread_id: int) -> None:
    """In a forked child: take back what the thread of this id was importing, so that it can be imported anew.

    Args:
        thread_id: `threading.Thread.ident` of a thread of the parent.
    """
    held: dict[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    for name, ref in list(held.items()):
        lock = ref()
        if lock is None:
            continue
        owner = getattr(lock, "owner", None)
        if owner == thread_id:
            sys.modules.pop(name, None)
        if owner in (thread_id, None):
            held.pop(name, None)
