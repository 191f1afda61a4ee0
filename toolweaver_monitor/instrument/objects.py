"""How is a callable watched that is no plain function: a partial, a bound method, a builtin, a callable object?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt

from toolweaver_monitor.instrument.tool import Tool


class WatchedObject(wrapt.FunctionWrapper[..., Any]):
    """A transparent proxy: everything but calling goes to the object itself."""


def watch_object(target: Any, drive: Callable[[Any, Tool], Any], tool: Tool) -> Any:
    """A proxy of `target` whose calls are watched."""

    def through(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        if wrapped is target:
            return run(*args, **kwargs)
        return drive(wrapped, tool)(*args, **kwargs)

    run = drive(target, tool)
    return WatchedObject(target, through)
