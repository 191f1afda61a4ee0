"""The outcome, usage and cost of a call that closes. Plain successes need none of this."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.details import forget_dropped
from toolweaver_monitor._core.introspect import is_below, mro_of, name_of
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars
from toolweaver_monitor._instrument.results import Handler, deferred
from toolweaver_monitor._instrument.shield import call_extractor
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._text import safe_repr
from toolweaver_monitor._usage import (
    RAW_KEY,
    StreamUsage,
    Usage,
    answers_in,
    apply_dict,
    apply_failure,
    apply_usage,
    is_bare_usage,
)

MAX_SEEN = 32
"""The results that a call remembers as read by calls inside it. An agent may return the best of several."""

_TIMEOUT_NAMES = re.compile("Timeout|TimedOut|TooSlow|DeadlineExceeded|TimeLimitExceeded")
"""Many clients raise a class of their own instead of Python's `TimeoutError`: httpx, openai, requests, Celery."""

_CONTROL_FLOW = {
    ("builtins", "KeyboardInterrupt"),
    ("asyncio.exceptions", "CancelledError"),
    ("trio", "Cancelled"),
    ("greenlet", "GreenletExit"),
    ("langgraph.errors", "GraphBubbleUp"),  # `interrupt()`, `Command(graph=Command.PARENT)`
    ("celery.exceptions", "Ignore"),
    ("celery.exceptions", "Reject"),
    ("celery.exceptions", "Retry"),
    ("pydantic_ai.exceptions", "CallDeferred"),
    ("pydantic_ai.exceptions", "ApprovalRequired"),
}
"""Exceptions that request an end, or steer the framework around the call, and are no errors.

They are known by the module and the name of a base, so that none is imported.
"""

_members_of: Callable[[BaseException], tuple[BaseException, ...]] = vars(BaseExceptionGroup)["exceptions"].__get__
_code_of: Callable[[BaseException], object] = vars(SystemExit)["code"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__

MAX_KINDS = 1_024
_outcomes: dict[type, Outcome] = {}
"""The outcomes of exceptions by their class."""

UNREAD = object()
"""Stands for the answer of an extractor that raised."""


def outcome_of(error: BaseException, declared: tuple[type[BaseException], ...] = ()) -> Outcome:
    """Return the outcome of a call that raised `error`. Only its type counts: an exception can lie about its class.

    Args:
        error: what was raised.
        declared: further classes that are control flow, and no errors.
    """
    kind = type(error)
    if declared and _is_control_flow(error, declared):
        return "cancelled"
    known = _outcomes.get(kind)
    if known is not None:
        return known
    outcome: Outcome
    if issubclass(kind, TimeoutError) or _TIMEOUT_NAMES.search(" ".join(map(name_of, mro_of(kind)))) is not None:
        outcome = "timeout"
    elif issubclass(kind, GeneratorExit):
        outcome = "abandoned"
    else:
        outcome = "cancelled" if _is_control_flow(error, ()) else "failure"
    if issubclass(kind, Exception) and not issubclass(kind, BaseExceptionGroup) and len(_outcomes) < MAX_KINDS:
        _outcomes[kind] = outcome  # that of a group depends on what is in it, that of an exit on its code
    return outcome


def _is_control_flow(error: BaseException, declared: tuple[type[BaseException], ...], depth: int = 8) -> bool:
    """Return whether an exception is no error.

    It is none if the task was cancelled, Ctrl-C pressed, or the program exits with a status of 0; if it steers a
    framework or was declared to be control flow; or if it is a group of only these.
    """
    kind = type(error)
    if any(is_below(kind, each) for each in declared):
        return True
    if issubclass(kind, BaseExceptionGroup):  # a nursery of trio reports its tasks as a group
        return depth > 0 and all(_is_control_flow(each, declared, depth - 1) for each in _members_of(error))
    if issubclass(kind, SystemExit):
        return _is_zero(_code_of(error))
    return any((_module_of(base), name_of(base)) in _CONTROL_FLOW for base in mro_of(kind))


def _is_zero(code: object) -> bool:
    """Return whether the interpreter ends with status 0 for this code: None and every kind of integer 0, as False.

    Any other object is printed, with the status 1: `0.0` and an empty text are errors.
    """
    return code is None or (issubclass(type(code), int) and int.__eq__(code, 0))  # type: ignore[operator]


def note_error(call: ToolCall, error: BaseException, control_flow: tuple[type[BaseException], ...] = ()) -> Outcome:
    """Store the type and text of an exception in its call, and return the outcome.

    The text is longer than what is shown, so that no cut can halve a secret before it is redacted.
    """
    outcome = outcome_of(error, control_flow)
    details = call._ensure_details()
    details.error_type = safe_repr.type_name(error)
    details.raw_error = safe_repr.error_text(error, source=bus.policy.error_text)
    return outcome


def read_usage(tool: ToolSpec, call: ToolCall, handler: Handler | None, result: Any) -> None:
    """Read tokens and cost from a result, unless a call inside this one has read the same object."""
    policy = bus.policy
    if policy.capture:
        call._ensure_details().result = safe_repr.capture_value(result)
    if tool.usage is False or (tool.usage is None and not policy.read_results):
        return
    if is_already_read(call, result):
        apply_failure(call, result)  # as an exception that passes through is a failure of each call
        mark_read_by_parent(call, result)
        return
    if tool.usage is not None:
        apply_failure(call, result)
        usage = call_extractor(tool.usage, result, failed=UNREAD)
        if type(usage) is Usage:
            apply_usage(call, usage)
            mark_read_by_parent(call, result)
        elif usage is not None and usage is not UNREAD:
            Diagnostics.invalid_values += 1
        if usage is not None or not policy.read_results:
            return  # None means that it found nothing, so the result is read as without it
    if type(result) is tuple or type(result) is list:
        read_answers(call, result)
    elif handler is not None and handler is not deferred:
        handler(call, result)
        if handler is apply_dict and RAW_KEY in result:
            read_answers(call, result)
        if call._details is not None:
            mark_read_by_parent(call, result)


def read_answers(call: ToolCall, result: Any) -> None:
    """Read the answers in a tuple, list or `include_raw`, without those that a call inside this one has read.

    Figures without an answer count only if no call inside has told any: they would be those, handed on.
    """
    answers = answers_in(result)
    if not answers:
        return
    usage = StreamUsage()
    has_inner = call._details is not None and call._details.seen is not None
    for answer in answers:
        if not is_already_read(call, answer) and not (has_inner and is_bare_usage(answer)):
            usage.observe(answer)
        mark_read_by_parent(call, answer)
    total = usage.total()
    if total is not None:
        apply_usage(call, total)


def is_already_read(call: ToolCall, thing: Any) -> bool:
    """Return whether a call inside this one has read the same object."""
    seen = call._details.seen if call._details is not None else None
    if not seen:
        return False
    held = seen.get(id(thing))
    return held is thing or (type(held) is weakref.ref and held() is thing)


def mark_read_by_parent(call: ToolCall, result: Any) -> None:
    """Mark a result as read on the call around this one, so that the same money is not counted twice."""
    if call._parent_serial is not None:
        mark_read(getattr(call._token, "old_value", None), result)


def mark_read(call: Any, thing: Any) -> None:
    """Mark a result or an item as read on a call, if it is one and open.

    An object without weak references, such as a dict, is kept until the next one is marked or a drain finds that
    nothing else refers to it.
    """
    if not isinstance(call, ToolCall) or call.outcome != "open":
        return
    details = call._ensure_details()
    seen = details.seen
    if seen is None:
        seen = details.seen = {}
    else:
        forget_dropped(seen)
        if len(seen) >= MAX_SEEN:
            seen.pop(next(iter(seen)), None)
    held = thing
    if type(thing) is not dict:
        try:
            held = weakref.ref(thing)
        except TypeError:
            pass
    seen[id(thing)] = held
    kind = type(thing)
    if kind is tuple or kind is list or (kind is dict and RAW_KEY in thing):  # the call around may hand on a part of it
        for answer in answers_in(thing):
            mark_read(call, answer)


def set_cost(tool: ToolSpec, call: ToolCall, result: Any, outcome: Outcome) -> None:
    """Set the cost of a call: the recorded one, else the one declared for a success, else its price."""
    details = call._details
    if outcome == "success" and tool.has_declared_cost and (details is None or details.cost_nanousd is None):
        cost = tool.cost_nanousd if tool.cost is None else nanodollars(call_extractor(tool.cost, result))
        if cost is not None:
            details = call._ensure_details()
            details.cost_nanousd, details.cost_source = cost, "declared"
    if details is None:
        return
    if details.cached_tokens and details.cached_tokens > details.tokens - details.output_tokens:
        Diagnostics.invalid_values += 1  # recorded piece by piece; priced like this, the call could cost less than 0
        details.cached_tokens = details.tokens - details.output_tokens
    policy = bus.policy
    priced_per_call = outcome == "success" and details.cost_nanousd is None and call.tool_name in policy.priced_tools
    if (details.lacks_price or priced_per_call) and policy.price is not None:
        cost = policy.price(call)
        if cost is not None:
            details.cost_nanousd, details.cost_source = cost, "priced"
    if details.cached:
        details.saved_nanousd, details.cost_nanousd = details.cost_nanousd or 0, 0
