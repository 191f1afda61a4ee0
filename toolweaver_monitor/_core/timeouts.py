"""How long may somebody wait for the sinks, and how does an event loop go on meanwhile?"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from toolweaver_monitor.errors import ConfigurationError

LONGEST_S = 30 * 86_400.0
"""The most that is waited for anything: on some systems a lock cannot wait for 50 days."""


def validate_timeout(timeout: object) -> float:
    """Seconds to wait, from 0 to `LONGEST_S`.

    Raises:
        ConfigurationError: it is not a number.
    """
    is_nan = isinstance(timeout, float) and math.isnan(timeout)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or is_nan:
        raise ConfigurationError(
            f"timeout={timeout!r} is not a number of seconds; give one, such as 2.0, or float('inf') to wait for ever"
        )
    return float(min(max(0, timeout), LONGEST_S))


def on_event_loop() -> bool:
    """Whether this thread is running an asyncio event loop, which must not wait."""
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # the public one raises; none yet while asyncio is imported
    return running is not None and running() is not None


async def run_off_loop(work: Callable[..., bool], *args: float) -> bool:
    """Do it on a thread of its own, not one of the loop's executor: that is the program's, and may be busy."""
    import asyncio  # 16 to 43 ms, and most programs that get here have it

    if not on_event_loop():
        return await _off_another_loop(work, *args)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def tell(result: bool | BaseException) -> None:
        if done.done():  # nobody waits any more
            return
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)

    def run() -> None:
        result: bool | BaseException
        try:
            result = work(*args)
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits is told
            result = error
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(tell, result)

    try:
        threading.Thread(target=run, name="toolweaver-monitor flush", daemon=True).start()
    except RuntimeError:  # no thread is to be had
        return work(*args)
    return await done


async def _off_another_loop(work: Callable[..., bool], *args: float) -> bool:
    """The same where the loop is not asyncio's: on a thread of Trio's, or here and now under one that is not known."""
    trio: Any = sys.modules.get("trio")
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # there is no Trio, or it is not running
        return work(*args)
    with trio.CancelScope(shield=True):  # else it would not even be begun in a block that is being cancelled
        result: bool = await trio.to_thread.run_sync(work, *args)
    return result
