"""Validate timeouts, and wait for the sinks without blocking an event loop."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from toolweaver_monitor.errors import ConfigurationError

T = TypeVar("T")

LONGEST_S = 30 * 86_400.0
"""The longest wait for anything: on some systems a lock cannot wait for 50 days."""


def validate_timeout(timeout: object) -> float:
    """Return the seconds to wait, from 0 to `LONGEST_S`.

    Raises:
        ConfigurationError: `timeout` is not a number.
    """
    is_nan = isinstance(timeout, float) and math.isnan(timeout)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or is_nan:
        raise ConfigurationError(
            f"timeout={timeout!r} is not a number of seconds",
            hint="give one, such as 2.0, or float('inf') to wait without a limit",
        )
    return float(min(max(0, timeout), LONGEST_S))


def on_event_loop() -> bool:
    """Return whether this thread runs an asyncio event loop, which must not be blocked."""
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # the public one raises; None while asyncio is being imported
    return running is not None and running() is not None


async def run_off_loop(work: Callable[..., T], *args: Any) -> T:
    """Run blocking work on a thread of its own, and return its result.

    Not on a thread of the loop's executor: that belongs to the program, and may be busy.
    """
    import asyncio  # 16 to 43 ms, which most programs that get here have already spent

    if not on_event_loop():
        return await _off_another_loop(work, *args)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | BaseException) -> None:
        if done.done():  # the waiter was cancelled
            return
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)

    def run() -> None:
        result: T | BaseException
        try:
            result = work(*args)
        except BaseException as error:  # noqa: BLE001 - any error goes to the waiter
            result = error
        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(resolve, result)

    try:
        threading.Thread(target=run, name="toolweaver-monitor flush", daemon=True).start()
    except RuntimeError:  # no thread can be started
        return work(*args)
    return await done


async def _off_another_loop(work: Callable[..., T], *args: Any) -> T:
    """Run the work under another event loop: on a thread under Trio, and right here under any other."""
    trio: Any = sys.modules.get("trio")
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # Trio is not imported, or not running
        return work(*args)
    with trio.CancelScope(shield=True):  # in a block that is being cancelled the work would not even start
        result: T = await trio.to_thread.run_sync(work, *args)
    return result
