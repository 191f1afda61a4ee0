"""Undo an import that another thread was in the middle of when the process forked.

CPython >= 3.11 (seen up to 3.13, and not known to be fixed) leaves such modules half initialized, and their import
locks held by a thread that does not exist in the child: the child's first import of one of them never returns. The
thread that imports genai-prices belongs to this library, which the user does not see, so its imports are cleaned up
here; those of other threads are left alone.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

_partial: dict[str, ModuleType] = {}


class PartialModuleFinder:
    """Has a module that was half imported run again as the same object.

    Modules that it had imported by then refer to that object, and it to them: `asyncio` needs `asyncio.base_events` as
    an attribute, which only an import sets that really takes place.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> Any:
        """Return the spec of such a module, once; None for others."""
        module = _partial.pop(name, None)
        spec: Any = getattr(module, "__spec__", None)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None  # not made of Python code: it is imported from the start
        vars(spec.loader)["create_module"] = lambda _: module
        return spec


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
        if owner == thread_id and name in sys.modules:
            _partial[name] = sys.modules.pop(name)
        if owner in (thread_id, None):
            locks.pop(name, None)
    if _partial and PartialModuleFinder not in sys.meta_path:
        sys.meta_path.insert(0, PartialModuleFinder)
    _reset_config_vars()


def _reset_config_vars() -> None:
    """Have `sysconfig` work out its variables again if a thread was at it. CPython >= 3.12 holds a lock meanwhile."""
    sysconfig: Any = sys.modules.get("sysconfig")
    if sysconfig is None or getattr(sysconfig, "_CONFIG_VARS_INITIALIZED", False):
        return
    sysconfig._CONFIG_VARS = None
    if hasattr(sysconfig, "_CONFIG_VARS_LOCK"):
        sysconfig._CONFIG_VARS_LOCK._at_fork_reinit()
