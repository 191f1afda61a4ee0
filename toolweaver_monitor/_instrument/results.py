"""Handlers of results, one per exact type, chosen once.

Only the type of a result is examined, never the object, so a result that lies, sleeps or raises when touched does no
harm.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable, Sequence
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.introspect import mro_of, name_of, vars_of
from toolweaver_monitor._usage import MAX_ELEMENTS, apply_dict, apply_failure, apply_usage, can_tell_failure, reader_for

Handler = Callable[[ToolCall, Any], object]
"""Copies the usage that a result reports into its call."""

MAX_TYPES = 4_096


def deferred(call: ToolCall, result: Any) -> None:
    """Mark results whose work is still to come (a coroutine, a future): their calls close when it has completed."""


def stream(call: ToolCall, result: Any) -> None:
    """Mark generators and the streams of SDKs: their calls close at the end of the items, or it is noted."""
    unread(call, result)


def unread(call: ToolCall, result: Any) -> None:
    """Note an iterator that comes back as it is if a budget limits what its call may spend."""
    admission = call._admission
    parts = getattr(admission, "parts", (admission,)) if admission is not None else ()
    if any(getattr(part, "meter", part).unit != "calls" for part in parts):
        FigureNotes.add("unread", call.tool_name, name_of(type(result)))


def container(call: ToolCall, result: Any) -> None:
    """Mark tuples and lists: their elements may be answers, some of which a call inside has read."""


def unknown_type(call: ToolCall, result: Any) -> None:
    """Mark a type that no call has returned yet."""


handlers: dict[type, Handler | None] = dict.fromkeys(
    (int, str, float, bool, bytes, type(None), set, frozenset, bytearray, memoryview)
)
"""The handler of each type that has been seen; None if its objects report no usage."""
handlers[dict] = apply_dict
handlers[types.CoroutineType] = deferred
handlers[types.GeneratorType] = handlers[types.AsyncGeneratorType] = stream
handlers[list] = handlers[tuple] = container


def set_usage_reading(on: bool) -> None:
    """Set whether dicts, tuples and lists are searched for usage. The hot path does not look at the policy for them."""
    handlers[dict] = apply_dict if on else None
    handlers[list] = handlers[tuple] = container if on else None


def may_hold_answers(result: Sequence[Any]) -> bool:
    """Return whether a tuple or list is short and not all of plain values, as most are, or ends as a conversation."""
    if len(result) <= MAX_ELEMENTS:
        return not _holds_nothing(map(type, result))
    last = type(result[-1])
    if last in _plain_types:
        return False
    return _has_role(result[-1]) if last is dict else "Message" in name_of(last)


def _has_role(message: dict[Any, Any]) -> bool:
    try:
        return "role" in message
    except Exception:  # noqa: BLE001 - a user's key with the hash of this text, which raises when compared
        return False


_plain_types = frozenset((int, str, float, bool, bytes, type(None), list, tuple, set))
_holds_nothing = _plain_types.issuperset


def handler_for(kind: type) -> Handler | None:
    """Return the handler for results of exactly this type, and remember it."""
    if kind in handlers:
        return handlers[kind]
    if len(handlers) >= MAX_TYPES:  # the program creates classes without end
        return None
    handlers[kind] = handler = _make_handler(kind)
    return handler


def _make_handler(kind: type) -> Handler | None:
    try:
        if _is_future(kind):
            return deferred
        reader, tells_failure = reader_for(kind), can_tell_failure(kind)
    except Exception:  # noqa: BLE001 - a type so odd that it cannot be examined carries no usage
        return None
    if reader is None:
        return apply_failure if tells_failure else unread if _is_iterator(kind) else None
    if _is_stream(kind):
        return stream

    def read(call: ToolCall, result: Any) -> None:
        usage = reader(result)
        if usage is not None:
            apply_usage(call, usage)
        if tells_failure:
            apply_failure(call, result)

    return read


def _is_iterator(kind: type) -> bool:
    """Return whether objects of this type are iterators, files apart."""
    bases = mro_of(kind)
    return io.IOBase not in bases and any(name in vars_of(base) for base in bases for name in ("__next__", "__anext__"))


def _is_stream(kind: type) -> bool:
    """Return whether a class of an SDK is a stream or opens one. Events of streams have such names, too."""
    bases = mro_of(kind)
    names = set().union(*(type.__dict__["__dict__"].__get__(base) for base in bases))
    steps = {"__next__", "__anext__", "__enter__", "__aenter__"}
    return any("Stream" in name_of(base) for base in bases) and not steps.isdisjoint(names)


def _is_future(kind: type) -> bool:
    """Return whether objects of this type report their end: those that can be awaited, and those of executors."""
    bases = mro_of(kind)
    modules = [vars_of(base).get("__module__") for base in bases if name_of(base) == "Future"]
    if "concurrent.futures._base" in modules:
        return True
    names = set().union(*(vars(base) for base in bases))
    return {"__await__", "add_done_callback", "cancelled"} <= names
