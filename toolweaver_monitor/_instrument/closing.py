"""The outcome, usage and cost of a call that closes. Plain successes need none of this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core import known_results
from toolweaver_monitor._core.call import ERROR_OUTCOMES, Outcome, ToolCall
from toolweaver_monitor._core.context import call_around
from toolweaver_monitor._core.details import CallDetails, InsideDetails
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars
from toolweaver_monitor._instrument.outcomes import ExceptionClasses, outcome_of
from toolweaver_monitor._instrument.results import Handler, container, deferred, handlers
from toolweaver_monitor._instrument.retries import note_failure
from toolweaver_monitor._instrument.shield import call_extractor, report_extractor_answer
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._text import safe_repr
from toolweaver_monitor._usage import (
    MESSAGES_KEY,
    RAW_KEY,
    StreamUsage,
    Usage,
    UsageInside,
    add_figures,
    answers_in,
    apply_amounts,
    apply_dict,
    apply_failure,
    apply_usage,
    clear_usage,
    figure_keys,
    id_of,
    is_bare_usage,
    is_counted,
    is_spending,
    mark_counted,
    messages_in,
    read_into,
)

UNREAD = object()
"""Stands for the answer of an extractor that raised, or did not return what it is asked for."""


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
    details = CallDetails(
        error_type=safe_repr.class_name(type(error)), raw_error=safe_repr.error_text(error, source=policy.error_text)
    )
    if call._details is None:  # no other thread runs from here to the store: see `ToolCall._add_used`
        call._details = details
    else:
        filled = call._ensure_details()
        filled.error_type, filled.raw_error = details.error_type, details.raw_error
    return outcome


def read_usage(tool: ToolSpec, call: ToolCall, handler: Handler | None, result: Any) -> None:
    """Read tokens and cost from a result, unless they have been counted: by a call inside this one, or earlier."""
    policy = bus.policy
    if policy.capture:
        call._ensure_details().result = safe_repr.capture_value(result)
    if tool.usage is False or (tool.usage is None and not policy.read_results):
        return
    if known_results.is_known(result):
        apply_failure(call, result)  # as an exception that passes through is a failure of each call
        note_known(call, result)
        mark_read_by_parent(call, result)
        return
    recorded = is_told(call)
    if not _read_new(tool, call, handler, result):
        leave_out_handed_on(call, *recorded)
    if tool.of_module and tool.name.rpartition(".")[2].startswith("retry"):
        hand_to_parent(call)


def hand_to_parent(call: ToolCall) -> None:
    """Hand the figures of a function that only runs another one again to the call around it, if that is open."""
    around = call_around(getattr(call._token, "old_value", None))
    if has_figures(call) and isinstance(around, ToolCall) and around.outcome == "open":
        details = call._ensure_details()
        add_figures(around, details)
        clear_usage(details)


def _read_new(tool: ToolSpec, call: ToolCall, handler: Handler | None, result: Any) -> bool:
    """Read a result that is not known yet. Return whether known answers were left out of it: the rest is new then."""
    left_out = False
    if tool.usage is not None:
        apply_failure(call, result)
        usage = ask_usage(tool.usage, result)
        if usage is UNREAD:
            note_unknown_cost(call)
        elif usage is not None:
            apply_usage(call, usage)
            mark_read_by_parent(call, result)
        if usage is not None or not bus.policy.read_results:
            return False  # None means that it found nothing, so the result is read as without it
    if type(result) is tuple or type(result) is list:
        left_out = read_answers(call, result, of_module=tool.of_module)
    elif handler is not None and handler is not deferred:
        if handler is apply_dict:
            if tool.of_module and not is_spending(result):
                note_statistics(call.tool_name, result)
                return False
            read_into(call, result)
            if RAW_KEY in result or (MESSAGES_KEY in result and not has_figures(call)):
                left_out = read_answers(call, result)
        else:
            handler(call, result)
        if call._details is not None:
            mark_read_by_parent(call, result)
    return left_out


def ask_usage(reader: Callable[[Any], Any], result: Any) -> Any:
    """Return the `Usage` that a tool's `usage` callable reads from a result, or an item of its generator.

    Returns None if it finds none, and `UNREAD` if it raises or returns anything else.
    """
    usage = call_extractor("usage", reader, result, failed=UNREAD)
    if usage is None or usage is UNREAD or type(usage) is Usage:
        return usage
    Diagnostics.invalid_values += 1
    report_extractor_answer("usage", reader, usage, "Usage")
    return UNREAD


def ask_cost(cost: Callable[[Any], Any], result: Any) -> Any:
    """Return the nano-dollars that a tool's `cost` callable says of a result, or an item of its generator.

    Returns None if it says none, and `UNREAD` if it raises or returns no amount.
    """
    dollars = call_extractor("cost", cost, result, failed=UNREAD)
    if dollars is None or dollars is UNREAD:
        return dollars
    amount = nanodollars(dollars)
    if amount is not None:
        return amount
    report_extractor_answer("cost", cost, dollars, "amount of dollars")
    return UNREAD


def ask_failed(failed: Callable[[Any], str | None], call: ToolCall, result: Any) -> None:
    """Ask a tool's `failed` callable about a result. What it says holds, also if the result itself tells a failure.

    None, an empty text and False say that it is none.

    Args:
        failed: returns the text of the failure, or None.
        call: a call that had not been marked as failed when its function returned.
        result: what the function returned, or an item of its generator.
    """
    text = call_extractor("failed", failed, result, failed=UNREAD)
    if text is None or text is False or (type(text) is str and not text):
        if call._details is not None and call._details.error_type is not None:
            details = call._ensure_details()
            details.error_type, details.raw_error = None, ""
    elif text is not UNREAD:
        call.fail(text)


def note_statistics(tool_name: str, result: Any) -> None:
    """Note once that a dict was not counted: a function of a module may return statistics of what others spent."""
    keys = figure_keys(result)
    if keys:
        FigureNotes.add("statistics", tool_name, keys)


def read_answers(call: ToolCall, result: Any, *, of_module: bool = False) -> bool:
    """Read the answers in a tuple, list or `include_raw`, without those that have been counted.

    Figures without an answer count only if no call inside has told any: they would be those, handed on.

    Returns:
        Whether there are answers among them that have been counted.
    """
    answers = answers_in(result)
    usage = StreamUsage()
    left_out = False
    has_inner = call._details is not None and call._details.inside is not None
    if not answers:
        answers, left_out = new_messages(call, messages_in(result), has_inner=has_inner), True
    for answer in answers:
        if known_results.is_known(answer):
            note_known(call, answer)
            left_out = True
        elif is_counted(id_of(answer)):
            left_out = True
        elif of_module and type(answer) is dict and not is_spending(answer):
            note_statistics(call.tool_name, answer)
            continue
        elif not (has_inner and is_bare_usage(answer)):
            usage.observe(answer)
        mark_read_by_parent(call, answer)
    total = usage.total()
    if total is not None:
        apply_usage(call, total)
        call._ensure_details().is_repeat &= not has_figures(call)  # else some of it is new
    return left_out


def new_messages(call: ToolCall, answers: Sequence[Any], *, has_inner: bool) -> Sequence[Any]:
    """Return the answers of a conversation whose ids no call has counted.

    An answer without an id may be of an earlier turn: it is not counted, and the call is unpriced, unless calls inside
    have told figures, which are those.
    """
    with_id = [answer for answer in answers if id_of(answer) is not None]
    new = [answer for answer in with_id if not is_counted(id_of(answer))]
    unknown = [answer for answer in answers if id_of(answer) is None and not known_results.is_known(answer)]
    if unknown and not new and not has_inner:
        note_unknown_cost(call)
    return new


def has_figures(call: ToolCall) -> bool:
    """Return whether a call has tokens or a cost so far."""
    details = call._details
    return details is not None and (details.tokens > 0 or details.cost_nanousd is not None)


def is_told(call: ToolCall) -> tuple[bool, bool]:
    """Return whether a call has figures so far, and whether it has a model."""
    return has_figures(call), call._details is not None and call._details.model is not None


def note_known(call: ToolCall, thing: Any) -> None:
    """Note on a call that its result was counted before, unless a call inside it returned that."""
    inside = None if call._details is None else call._details.inside
    if inside is None or id(thing) not in inside.results:
        call._ensure_details().is_repeat = True


def leave_out_handed_on(call: ToolCall, had_figures: bool = False, had_model: bool = False) -> None:
    """Leave out the figures of a result, or its model without figures, if they are those of calls inside, handed on.

    Args:
        call: a call that is about to close.
        had_figures: whether it had figures before its result was read. What `record()` said counts.
        had_model: whether it had a model before.
    """
    details = call._details
    if details is None:
        return
    if had_figures:
        if details.inside is not None and details.provider is not None:
            details.is_of_inside = details.inside.covers(details)
        return
    if had_model and not has_figures(call):
        return
    if details.inside is not None and details.inside.covers(details):
        if has_figures(call):
            FigureNotes.add("handed on", call.tool_name)
        clear_usage(details)
    elif call._serial and details.cost_source == "reported":
        call._ensure_details().has_cost_of_result = True  # of declared costs inside the drain knows, see `CallEnricher`


def mark_read_by_parent(call: ToolCall, result: Any) -> None:
    """Mark a result as read on the call around this one, so that the same money is not counted twice."""
    mark_read(getattr(call._token, "old_value", None) if call._parent_serial is not None else None, result)


def mark_read(around: Any, thing: Any) -> None:
    """Remember a result or an item as counted, by a call inside the one around, if it is one and open."""
    known_results.remember(thing)
    mark_counted(id_of(thing))
    inside = inside_of(around)
    if inside is not None:
        inside.mark(thing)
    kind = type(thing)
    if kind is tuple or kind is list or (kind is dict and RAW_KEY in thing):  # a part of it may be handed on
        for answer in answers_in(thing):
            mark_read(around, answer)


def read_amounts(call: ToolCall, around: ToolCall, result: dict[Any, Any]) -> bool:
    """Read a dict that a call inside another returned, if it tells no more than tokens and cost, and hand these on.

    Args:
        call: a call without details. Nothing is declared for its tool.
        around: the call around it.
        result: what it returned.

    Returns:
        False, with nothing read, if the dict tells more or was counted before.
    """
    if call._admission is not None or not apply_amounts(call, result):
        return False
    if call._details is not None:
        inside = inside_of(around)
        if inside is not None:
            inside.mark(result)
            inside.add(call._details)
    return True


def tell(around: Any, details: CallDetails) -> None:
    """Add what a call used, and what ended inside it, to the call around it, which may hand on these figures."""
    inside = inside_of(around, details.inside)
    if inside is not None:
        inside.add(details)


def inside_of(around: Any, inside: UsageInside | None = None) -> UsageInside | None:
    """Return what calls inside an open call have told; None if there is no such call.

    Args:
        around: what is current around the call that tells something.
        inside: what calls inside that one have told. It is taken over if nothing else has been told.
    """
    around = call_around(around)
    if not isinstance(around, ToolCall) or around.outcome != "open":
        return None
    details = around._details
    if details is None or details.inside is None:
        inside = inside or UsageInside()
        if details is None:
            few = InsideDetails(inside)
            if around._details is None:  # no other thread runs from here to the store: see `ToolCall._add_used`
                around._details = few
        details = around._details if type(around._details) is InsideDetails else around._ensure_details()
        if details.inside is None:
            details.inside = inside
    return details.inside  # type: ignore[no-any-return]


def note_unknown_cost(call: ToolCall) -> None:
    """Note that a provider charges for a call, and that nothing has told how much: it is unpriced."""
    details = call._ensure_details()
    details.rare_parts = {**(details.rare_parts or {}), "other_units": 1}


def set_cost(tool: ToolSpec, call: ToolCall, result: Any, outcome: Outcome) -> None:
    """Set the cost of a call: the recorded one, else the one declared for a success, else its price.

    A call that has failed gets the number of its attempt, too.
    """
    if outcome in ERROR_OUTCOMES and call._token is not None:  # not one that was recorded by hand
        note_failure(call)
    details = call._details
    if outcome == "success" and tool.has_declared_cost and (details is None or details.cost_nanousd is None):
        cost = tool.declared_nanousd(call.tool_name)
        if cost is None and tool.cost is not None:
            cost = ask_cost(tool.cost, result)
            if cost is UNREAD:
                cost = None
                if details is None or not details.lacks_price:  # else its tokens may have a price
                    note_unknown_cost(call)
                    details = call._details
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
            details = call._ensure_details()
            details.cost_nanousd, details.cost_source = cost, "priced"
    if details.is_repeat and outcome == "success":  # an error that comes again is no answer of a cache
        count_as_cached(tool, call, details, result)
    elif details.cached:
        details.saved_nanousd, details.cost_nanousd = details.cost_nanousd or 0, 0
        tell_saved(call, details, details.saved_nanousd, are_tokens_counted=True)
    if call._parent_serial is not None and (details.inside is not None or has_figures(call)):
        tell(getattr(call._token, "old_value", None), details)


def count_as_cached(tool: ToolSpec, call: ToolCall, details: CallDetails, result: Any) -> None:
    """Count a call whose result came again as served from a cache.

    What its result tells was counted before. A cost that was recorded or declared, and a price per call, stay.
    """
    details.cached = True
    again = ToolCall(call.tool_name)
    read_again(tool, again, result if details.is_repeat is True else details.is_repeat)
    told = again._details
    if details.cost_nanousd is None:
        details.cost_nanousd, details.cost_source = 0, "reported"
    if told is not None:
        price = None if details.cost_source == "priced" else bus.policy.price  # else a price per call has been charged
        cost = price(again) if told.lacks_price and price is not None else told.cost_nanousd
        details.saved_nanousd = cost or 0
        details.model, details.provider = details.model or told.model, details.provider or told.provider
        tell_saved(call, told, cost, are_tokens_counted=False)


def read_again(tool: ToolSpec, call: ToolCall, result: Any) -> None:
    """Read what a result, or the `Usage` of the items of a generator, tells that was counted before."""
    usage = result
    if callable(tool.usage) and type(result) is not Usage:
        usage = call_extractor("usage", tool.usage, result, failed=None)
    if type(usage) is Usage:
        apply_usage(call, usage)
        return
    handler = handlers.get(type(result))
    answers = answers_in(result) if handler is container or handler is apply_dict else ()
    found = StreamUsage()
    for answer in answers:
        found.observe(answer)
    total = found.total()
    if total is not None:
        apply_usage(call, total)
    elif handler is apply_dict:
        read_into(call, result)
    elif handler is not container and handler is not None and handler is not deferred:
        handler(call, result)


def tell_saved(call: ToolCall, told: CallDetails, saved_nanousd: int | None, *, are_tokens_counted: bool) -> None:
    """Add the figures that a cache saved to the call around, which may hand them on: see `UsageInside.add_saved`."""
    inside = inside_of(getattr(call._token, "old_value", None)) if call._parent_serial is not None else None
    if inside is not None:
        inside.add_saved(told, saved_nanousd, are_tokens_counted=are_tokens_counted)
