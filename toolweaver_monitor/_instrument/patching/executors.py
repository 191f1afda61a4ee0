"""How does a call's context reach the threads of a pool? `submit` runs each task in a copy of its caller's."""

from __future__ import annotations

import contextvars
import functools
import sys
from typing import Any


def is_pool(target: Any) -> bool:
    """Whether it is a `ThreadPoolExecutor` or a class of these. The module is not imported to find out."""
    pool = getattr(sys.modules.get("concurrent.futures.thread"), "ThreadPoolExecutor", None)
    kind = target if issubclass(type(target), type) else type(target)
    return pool is not None and issubclass(kind, pool)


def propagate_context(submit: Any) -> Any:
    """`Executor.submit`, its task run in a copy of the context that it was submitted in; `map` goes through it, too."""

    @functools.wraps(submit)
    def run(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not args:
            return submit(self, **kwargs)  # whose matter it is to complain
        return submit(self, contextvars.copy_context().run, *args, **kwargs)

    return run
