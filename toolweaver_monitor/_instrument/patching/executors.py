"""Carry the context of `Executor.submit`'s caller into the threads of a pool."""

from __future__ import annotations

import contextvars
import functools
import sys
from typing import Any


def is_pool(target: Any) -> bool:
    """Return whether a target is a `ThreadPoolExecutor` or such a class, without importing the module."""
    pool = getattr(sys.modules.get("concurrent.futures.thread"), "ThreadPoolExecutor", None)
    kind = target if issubclass(type(target), type) else type(target)
    return pool is not None and issubclass(kind, pool)


def propagate_context(submit: Any) -> Any:
    """Wrap `Executor.submit` so that each task runs in a copy of its caller's context; `map` goes through it, too."""

    @functools.wraps(submit)
    def run(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not args:
            return submit(self, **kwargs)  # raises the executor's own error
        return submit(self, contextvars.copy_context().run, *args, **kwargs)

    return run
