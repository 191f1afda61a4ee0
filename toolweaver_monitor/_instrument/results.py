"""What is to be done with a result of this type? Asked once a type; after that it is one dict lookup.

Only the exact type is looked at, never the object: a result that lies, sleeps or raises when touched does no harm.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._usage import apply_dict, apply_usage, reader_for

Handler = Callable[[ToolCall, Any], object]
"""Puts what a result says of its usage into the call."""

MAX_TYPES = 4_096


def deferred(call: ToolCall, result: Any) -> None:
    """Stands for results whose work is only to come (a coroutine, a future): the call closes when they end."""


def unknown_type(call: ToolCall, result: Any) -> None:
    """Stands for a type that was not met yet."""


class Handlers(dict[type, Handler | None]):
    """By exact type. Pickled by name: a watched function that is sent by value refers to it."""

    def __reduce__(self) -> str:
        return "handlers"


handlers = Handlers.fromkeys(
    (int, str, float, bool, bytes, type(None), list, tuple, set, frozenset, bytearray, memoryview)
)
handlers[dict] = apply_dict
handlers[types.CoroutineType] = deferred


def reading(on: bool) -> None:
    """Whether results are looked at for usage at all."""
    handlers[dict] = apply_dict if on else None


def handler_for(kind: type) -> Handler | None:
    """The handler for results of exactly this type, found out once."""
    if kind in handlers:
        return handlers[kind]
    if len(handlers) >= MAX_TYPES:  # classes made at run time, without end
        return None
    handlers[kind] = handler = _found(kind)
    return handler


def _found(kind: type) -> Handler | None:
    try:
        if _is_future(kind):
            return deferred
        reader = reader_for(kind)
    except Exception:  # noqa: BLE001 - a type so odd that it cannot be looked at carries no usage
        return None
    if reader is None:
        return None

    def read(call: ToolCall, result: Any) -> None:
        usage = reader(result)
        if usage is not None:
            apply_usage(call, usage)

    return read


def _is_future(kind: type) -> bool:
    """Whether it can be awaited and tells when it is done, as `asyncio.Future` and `Task` do."""
    names = set().union(*(vars(base) for base in type.__dict__["__mro__"].__get__(kind)))
    return {"__await__", "add_done_callback", "cancelled"} <= names
