"""The number of an attempt, where a library of retries runs the tool again.

Nothing is looked for until a call fails. Then the frames between the call and the one around it show whether tenacity,
stamina, backoff or LangGraph will run it again, and which attempt this was. Until that has happened, or the retries
have ended, calls open by way of `number_attempt`, which gives the next call of the tool from there its number.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.introspect import name_of
from toolweaver_monitor._usage import get_field, read_fields

_WRAPPERS = "toolweaver_monitor._instrument.wrappers"
"""The module of the outermost frame of a call."""
MAX_FRAMES = 24
MAX_PENDING = 1_000


class Retries(NamedTuple):
    """A retried operation that is under way."""

    token: Any
    """An object that lives as long as this operation, and is no other's."""
    attempt: int
    """The attempt that runs now, from 1."""


class PendingRetry(NamedTuple):
    """A retried operation of which an attempt has failed."""

    token: weakref.ref[Any]
    tool_name: str


_pending: dict[int, PendingRetry] = {}
"""By the id of their token."""


def note_failure(call: ToolCall) -> None:
    """Set the number of a failed attempt, and expect the next one, if a library of retries runs the call.

    Args:
        call: a call that has failed and is about to close.
    """
    if not any(map(sys.modules.__contains__, _READERS)):  # most programs have none of them, and pay three looks
        return
    retries = find_retries()
    if retries is None:
        return
    set_attempt(call, retries.attempt)
    if len(_pending) < MAX_PENDING:
        _pending[id(retries.token)] = PendingRetry(weakref.ref(retries.token), call.tool_name)
        bus.configure(number_attempt=number_attempt)


def number_attempt(call: ToolCall) -> None:
    """Set the number of a new call if it is the next attempt of a retried operation; forget operations that ended."""
    retries = None
    for key, pending in list(_pending.items()):
        token = pending.token()
        if token is None:
            _pending.pop(key, None)
        elif pending.tool_name == call.tool_name:
            retries = retries or find_retries()
            if retries is not None and retries.token is token:
                _pending.pop(key, None)
                set_attempt(call, retries.attempt)
    if not _pending:
        bus.configure(number_attempt=None)
        if _pending:  # of another thread, just now
            bus.configure(number_attempt=number_attempt)


def set_attempt(call: ToolCall, attempt: int) -> None:
    """Set the number of a call's attempt, unless the program has recorded one."""
    if attempt > 1 and call.attempt == 1:
        call._ensure_details().attempt = attempt


def find_retries() -> Retries | None:
    """Return the retried operation between the call that opens or closes here and the call around it, or None."""
    frame: FrameType | None = sys._getframe(1)
    module = ""
    while frame is not None and _is_own(frame) and module != _WRAPPERS:  # those of the call itself
        module, frame = _module_of(frame), frame.f_back
    for _ in range(MAX_FRAMES):
        if frame is None or _is_own(frame):  # the call around
            return None
        read = _READERS.get(_module_of(frame).partition(".")[0])
        if read is not None and (found := read(frame.f_locals)) is not None:
            return found
        frame = frame.f_back
    return None


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""


def _is_own(frame: FrameType) -> bool:
    return _module_of(frame).startswith("toolweaver_monitor.")


def _read_tenacity(names: Any) -> Retries | None:
    state = names.get("retry_state")
    number = get_field(read_fields(state) or {}, "attempt_number")
    is_known = name_of(type(state)) == "RetryCallState" and type(number) is int
    return Retries(state, number) if is_known else None


def _read_stamina(names: Any) -> Retries | None:
    """Read stamina's loop, which stands on tenacity."""
    inner = get_field(read_fields(names.get("attempt")) or {}, "_t_attempt")
    return _read_tenacity(read_fields(inner) or {})


def _read_backoff(names: Any) -> Retries | None:
    """Read backoff's loop: its generator of waits is made for one operation."""
    waits, number = names.get("wait"), names.get("tries")
    return Retries(waits, number) if hasattr(type(waits), "gi_frame") and type(number) is int else None


def _read_langgraph(names: Any) -> Retries | None:
    """Read LangGraph's loop over the attempts of a node that has a policy of retries."""
    task, failed = names.get("task"), names.get("attempts")
    is_known = name_of(type(task)) == "PregelExecutableTask" and type(failed) is int and names.get("retry_policy")
    return Retries(task, failed + 1) if is_known else None


_READERS: dict[str, Callable[[Any], Retries | None]] = {
    "tenacity": _read_tenacity,
    "stamina": _read_stamina,
    "backoff": _read_backoff,
    "langgraph": _read_langgraph,
}
"""What finds an operation among the local variables of a frame, by the package of the frame."""
