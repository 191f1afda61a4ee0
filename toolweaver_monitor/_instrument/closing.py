"""The outcome, usage and cost of a call that closes. Plain successes need none of this."""

from __future__ import annotations

import weakref
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.details import forget_dropped
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars
from toolweaver_monitor._instrument.outcomes import ExceptionClasses, outcome_of
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

UNREAD = object()
"""Stands for the answer of an extractor that raised."""


def note_error(call: ToolCall, error: BaseException, control_flow: ExceptionClasses = ()) -> Outcome:
    """Store the type and text of an exception in its call, and return the outcome.

    The text is longer than what is shown, so that no cut can halve a secret before it is redacted.

    Args:
        call: a call that is about to close.
        error: what it raised.
        control_flow: the classes that its tool declares as control flow.
    """
    policy = bus.policy
    outcome = outcome_of(error, call, control_flow + policy.control_flow)
    details = call._ensure_details()
    details.error_type = safe_repr.type_name(error)
    details.raw_error = safe_repr.error_text(error, source=policy.error_text)
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


def note_unknown_cost(call: ToolCall) -> None:
    """Note that a provider charges for a call, and that nothing has told how much: it is unpriced."""
    details = call._ensure_details()
    details.rare_parts = {**(details.rare_parts or {}), "other_units": 1}


def set_cost(tool: ToolSpec, call: ToolCall, result: Any, outcome: Outcome) -> None:
    """Set the cost of a call: the recorded one, else the one declared for a success, else its price."""
    details = call._details
    if outcome == "success" and tool.has_declared_cost and (details is None or details.cost_nanousd is None):
        cost = tool.declared_nanousd(call.tool_name)
        if cost is None and tool.cost is not None:
            cost = nanodollars(call_extractor(tool.cost, result))
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
