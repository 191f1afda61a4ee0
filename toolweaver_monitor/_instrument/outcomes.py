"""The outcome of a call that raised.

Only the class of an exception counts, and what the interpreter itself stores in it: an exception can lie about both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, Literal

from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.introspect import is_below, mro_of, name_of, vars_of
from toolweaver_monitor.errors import BudgetExceeded

_TIMEOUT_NAMES = re.compile("Timeout|TimedOut|TooSlow|DeadlineExceeded|TimeLimitExceeded")
"""Many clients raise a class of their own instead of Python's `TimeoutError`: httpx, openai, requests, Celery."""

RequestedEnd = Literal["cancelled", "interrupted", "timeout"]

_REQUESTED_ENDS: dict[tuple[object, str], RequestedEnd] = {
    ("builtins", "KeyboardInterrupt"): "cancelled",
    ("asyncio.exceptions", "CancelledError"): "cancelled",
    ("trio", "Cancelled"): "cancelled",
    ("greenlet", "GreenletExit"): "cancelled",
    ("langgraph.errors", "GraphBubbleUp"): "interrupted",  # `interrupt()`, `Command(graph=Command.PARENT)`
    ("celery.exceptions", "Ignore"): "interrupted",
    ("celery.exceptions", "Reject"): "interrupted",
    ("celery.exceptions", "Retry"): "interrupted",
    ("pydantic_ai.exceptions", "CallDeferred"): "interrupted",
    ("pydantic_ai.exceptions", "ApprovalRequired"): "interrupted",
}
"""Exceptions that request an end, or steer the framework around the call, and are no errors.

They are known by the module and the name of a base, so that none is imported.
"""

ExceptionClasses = tuple[type[BaseException], ...]

_members_of: Callable[[BaseException], tuple[BaseException, ...]] = vars(BaseExceptionGroup)["exceptions"].__get__
_code_of: Callable[[BaseException], object] = vars(SystemExit)["code"].__get__
_args_of: Callable[[BaseException], tuple[object, ...]] = BaseException.__dict__["args"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__
_attributes_of: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__["__dict__"].__get__

MAX_KINDS = 1_024
MAX_DEPTH = 8
_outcomes: dict[type, Outcome] = {}
"""The outcomes of exceptions by their class."""


def outcome_of(error: BaseException, call: ToolCall, declared: ExceptionClasses = ()) -> Outcome:
    """Return the outcome of a call that raised `error`.

    Args:
        error: what was raised.
        call: the call.
        declared: classes that are control flow here, and no errors.
    """
    kind = type(error)
    if declared and any(is_below(kind, each) for each in declared):
        return "interrupted"
    known = _outcomes.get(kind)
    if known is not None:
        return known
    outcome: Outcome
    if issubclass(kind, TimeoutError) or _TIMEOUT_NAMES.search(" ".join(map(name_of, mro_of(kind)))) is not None:
        outcome = "timeout"
    elif issubclass(kind, GeneratorExit):
        outcome = "abandoned"
    else:
        outcome = _requested_end(error, call, declared) or "failure"
    if (
        issubclass(kind, Exception)  # not an exit, of which the code decides
        and not issubclass(kind, BaseExceptionGroup | BudgetExceeded)  # nor these: what is in it, and who raised it
        and len(_outcomes) < MAX_KINDS
    ):
        _outcomes[kind] = outcome
    return outcome


def _requested_end(
    error: BaseException, call: ToolCall, declared: ExceptionClasses, depth: int = MAX_DEPTH
) -> RequestedEnd | None:
    """Return the outcome for an exception that requests an end, or None for any other.

    A group of only such has the outcome of one of its members: `interrupted`, else `timeout`, else `cancelled`.
    """
    kind = type(error)
    if any(is_below(kind, each) for each in declared):
        return "interrupted"
    if issubclass(kind, BaseExceptionGroup):  # a nursery of trio reports its tasks as a group
        ends = {_requested_end(each, call, declared, depth - 1) for each in _members_of(error)} if depth else {None}
        return None if None in ends else next((end for end in ("interrupted", "timeout") if end in ends), "cancelled")
    if issubclass(kind, SystemExit):
        return "interrupted" if _is_zero(_code_of(error)) else None
    if kind is BudgetExceeded:
        refused_s = _attributes_of(error).get(REFUSED_AT)
        return "interrupted" if refused_s is not None and refused_s >= call._opened_at else None
    for base in mro_of(kind):
        end = _REQUESTED_ENDS.get((_module_of(base), name_of(base)))
        if end is not None:
            return "timeout" if end == "cancelled" and _is_deadline(error, base) else end
    return None


def _is_deadline(error: BaseException, kind: type) -> bool:
    """Return whether a cancellation says that it comes of a deadline of the caller's: those of anyio and trio do.

    asyncio's says nothing: `asyncio.timeout()` and `wait_for()` cancel a task as anything else does.

    Args:
        error: a cancellation.
        kind: the class of it, or a base of that, which is known as a cancellation.
    """
    source = vars_of(kind).get("source")  # trio 0.35
    if type(source) is MemberDescriptorType:
        return bool(source.__get__(error) == "deadline")
    args = _args_of(error)  # anyio 4.16, on asyncio
    text = args[0] if len(args) == 1 else None
    return type(text) is str and text.startswith("Cancelled via cancel scope ") and "reason: deadline" in text


REFUSED_AT = "_refused_at_s"
"""The attribute of a `BudgetExceeded` for the moment at which a budget refused a call with it.

It passes through the calls that were open then. One that the program raises has none; one that the program has kept,
and raises again in a later call, is too old.
"""


def mark_refusal(error: BudgetExceeded, refused_at_s: float) -> None:
    """Mark an error as raised by a budget at this moment of the monotonic clock."""
    _attributes_of(error)[REFUSED_AT] = refused_at_s


def _is_zero(code: object) -> bool:
    """Return whether the interpreter ends with status 0 for this code: None and every kind of integer 0, as False.

    Any other object is printed, with the status 1: `0.0` and an empty text are errors.
    """
    return code is None or (issubclass(type(code), int) and int.__eq__(code, 0))  # type: ignore[operator]
