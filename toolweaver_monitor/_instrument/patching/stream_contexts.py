"""Methods that give a stream in `async with`: their calls last until its end, where its tokens are known."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._instrument import closing
from toolweaver_monitor._instrument.decorator import wrap
from toolweaver_monitor._instrument.shield import call_extractor
from toolweaver_monitor._usage import Usage, apply_usage


def watch_context(original: Any, name: Any, *, usage: Callable[[Any], Usage | None], **declared: Any) -> Any:
    """Return the monitored form of a method that returns an async context manager.

    Args:
        original: the method. What `async with` gives has a method `get()`, which returns the answer as known so far.
        name: the name of its calls, or a reader of it.
        usage: gets the answer and returns its usage.
        **declared: as `wrap` takes it.
    """

    @functools.wraps(original)
    async def steps(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with original(*args, **kwargs) as stream:
            try:
                yield stream
            finally:
                _read_answer(stream, usage)

    return contextlib.asynccontextmanager(wrap(steps, name, usage=False, **declared))


def _read_answer(stream: Any, usage: Callable[[Any], Usage | None]) -> None:
    """Read the usage of a stream that has ended, or has been left."""
    call = current_call()
    if call.outcome != "open":  # nothing is monitored
        return
    answer = call_extractor("usage", lambda stream: stream.get(), stream)
    found = None if answer is None else call_extractor("usage", usage, answer)
    if type(found) is Usage:
        apply_usage(call, found)
        closing.mark_read_by_parent(call, answer)
    else:
        closing.note_unknown_cost(call)
