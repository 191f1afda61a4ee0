"""When is a call that `super()` hands up the same call? When it is directly inside one of the same tool."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.introspect import is_a
from toolweaver_monitor._instrument.tool import named


def skip_if_super_call(raw: Any, watched: Any, name: str | Callable[..., str], fallback: str) -> Any:
    """What an override gets that reaches past itself: watched, but for a call that is its own.

    Args:
        raw: a method as it lies in its class.
        watched: the same, watched.
        name: its calls' name, or what reads it from their arguments.
        fallback: the name where that fails.
    """
    if is_a(raw, (classmethod, staticmethod)):
        return type(raw)(skip_if_super_call(raw.__func__, watched.__func__, name, fallback))
    if not is_a(raw, types.FunctionType):
        return watched

    def chosen(args: Any, kwargs: Any) -> Any:
        around = current.get()
        if around is None or around.outcome != "open":
            return watched
        try:
            found = name(*args, **kwargs) if callable(name) else name
        except Exception:  # noqa: BLE001 - a naming function of the user's; its failure is told where it counts
            found = fallback
        return raw if around.tool_name == named(found).name else watched

    def run(*args: Any, **kwargs: Any) -> Any:
        return chosen(args, kwargs)(*args, **kwargs)

    async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        return await chosen(args, kwargs)(*args, **kwargs)

    def run_generator(*args: Any, **kwargs: Any) -> Any:
        return (yield from chosen(args, kwargs)(*args, **kwargs))

    if inspect.iscoroutinefunction(raw):
        return functools.update_wrapper(run_coroutine, raw)
    return functools.update_wrapper(run_generator if inspect.isgeneratorfunction(raw) else run, raw)
