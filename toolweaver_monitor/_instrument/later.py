"""When does a call end whose function returned a coroutine or a future? When that has ended."""

from __future__ import annotations

import types
import weakref
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._instrument.tool import Tool


def defer(hot_path: Any, tool: Tool, call: ToolCall, result: Any) -> Any:
    """Close the call when `result` ends. A coroutine comes back as a coroutine, a future or task as itself.

    Args:
        hot_path: the module of that name, which calls this one.
        tool: the call's tool.
        call: the open call.
        result: a coroutine, or a future with `add_done_callback`.
    """
    if type(result) is types.CoroutineType:
        coroutine: Any = result
        waiting: Any = awaited(hot_path, tool, call, coroutine)
        waiting.__name__, waiting.__qualname__ = coroutine.__name__, coroutine.__qualname__
        weakref.finalize(waiting, never_awaited, hot_path, call, coroutine).atexit = False
        return waiting
    result.add_done_callback(lambda future: finished(hot_path, tool, call, future))
    return result


async def awaited(hot_path: Any, tool: Tool, call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> Any:
    """Run the coroutine under its call."""
    call._token = current.set(call)
    try:
        result = await coroutine
        hot_path.finish_awaitable(tool, call, result)
    except BaseException as error:
        hot_path.finish_with_error(tool, call, error)
        raise
    return result


def never_awaited(hot_path: Any, call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> None:
    """The caller dropped the coroutine: its work was never done."""
    if call.outcome == "open":
        coroutine.close()  # Python warns of the one the caller dropped, not of both
        call._ensure_details()
        hot_path.publish(call, "abandoned")


def finished(hot_path: Any, tool: Tool, call: ToolCall, future: Any) -> None:
    """Close the call of a future that is done.

    The exception is taken from where the future keeps it: asking `exception()` would count as having looked at it,
    and asyncio would no longer warn its owner of an error that nobody retrieved.
    """
    if future.cancelled():
        call._ensure_details()
        call.duration_s = hot_path.monotonic_s() - call._opened_at
        hot_path.publish(call, "cancelled")
    elif getattr(future, "_exception", None) is not None:
        hot_path.finish_with_error(tool, call, future._exception)
    else:
        hot_path.finish_awaitable(tool, call, getattr(future, "_result", None))
