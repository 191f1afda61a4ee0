"""How did a call end, and what did it use? The slow half of closing: only what plain successes do not need."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.introspect import mro_of, name_of
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars
from toolweaver_monitor._instrument.results import Handler, deferred
from toolweaver_monitor._instrument.shield import call_extractor
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor._text import safe_repr
from toolweaver_monitor._usage import Usage, apply_usage

RAW_ERROR_CHARS = 768
"""Kept until the secrets are out of it: the 256 that are shown and 512 more, so that no cut can halve a secret."""


MAX_SEEN = 32
"""Results that a call remembers as read by calls inside it: an agent may hand on the best of several."""


_CALLED_TIMEOUT = re.compile("Timeout|TimedOut|TooSlow|DeadlineExceeded")
"""Many clients do not raise Python's own `TimeoutError` but one of theirs: httpx, openai, requests, playwright."""

_CANCELLATIONS = (
    ("builtins", "KeyboardInterrupt"),
    ("asyncio", "CancelledError"),
    ("trio", "Cancelled"),
    ("greenlet", "GreenletExit"),
)
_members_of: Callable[[BaseException], tuple[BaseException, ...]] = vars(BaseExceptionGroup)["exceptions"].__get__


UNREAD = object()
"""Stands for the answer of an extractor that raised."""


def outcome_of(error: BaseException) -> Outcome:
    """What an exception says of the call it ended. Only its type is looked at: an exception can lie about its class."""
    kind = type(error)
    if issubclass(kind, TimeoutError) or _CALLED_TIMEOUT.search(" ".join(map(name_of, mro_of(kind)))) is not None:
        return "timeout"
    if issubclass(kind, GeneratorExit):
        return "abandoned"
    return "cancelled" if _is_cancellation(error) else "failure"


def _is_cancellation(error: BaseException, depth: int = 8) -> bool:
    """Whether somebody wanted an end: Ctrl-C, a cancelled task, a killed greenlet, a group of nothing but these."""
    kind = type(error)
    if issubclass(kind, Exception):
        return False
    if issubclass(kind, BaseExceptionGroup):  # so a nursery of trio's tells of its tasks
        return depth > 0 and all(_is_cancellation(each, depth - 1) for each in _members_of(error))
    for module, name in _CANCELLATIONS:
        cancelled = getattr(sys.modules.get(module), name, None)
        if cancelled is not None and issubclass(kind, cancelled):
            return True
    return False


def note_error(call: ToolCall, error: BaseException) -> Outcome:
    """Put the exception's type and text into the call; gives the outcome."""
    outcome = outcome_of(error)
    details = call._ensure_details()
    details.error_type = safe_repr.type_name(error)
    details.raw_error = safe_repr.error_text(error, RAW_ERROR_CHARS, bus.policy.error_text)
    return outcome


def read_usage(tool: Tool, call: ToolCall, handler: Handler | None, result: Any) -> None:
    """Read what the result says of tokens and money, unless a call inside this one has read that same object."""
    policy = bus.policy
    if policy.capture:
        call._ensure_details().result = safe_repr.capture_value(result)
    if tool.usage is False or (tool.usage is None and not policy.read_results):
        return
    if is_already_read(call, result):
        mark_read_by_parent(call, result)
        return
    if tool.usage is not None:
        usage = call_extractor(tool.usage, result, failed=UNREAD)
        if type(usage) is Usage:
            apply_usage(call, usage)
            mark_read_by_parent(call, result)
        elif usage is not None and usage is not UNREAD:
            Diagnostics.invalid_values += 1
        if usage is not None or not policy.read_results:
            return  # None says that it found nothing: then the result may speak for itself
    if handler is not None and handler is not deferred:
        handler(call, result)
        if call._details is not None:
            mark_read_by_parent(call, result)


def is_already_read(call: ToolCall, thing: Any) -> bool:
    """Whether a call inside this one has read that very object."""
    seen = call._details.seen if call._details is not None else None
    return seen is not None and any(thing is other for other in seen)


def mark_read_by_parent(call: ToolCall, result: Any) -> None:
    """Tell the call around this one that the result has been read, so that the same money is not counted twice."""
    if call._parent_serial is not None:
        tell(getattr(call._token, "old_value", None), result)


def tell(around: Any, thing: Any) -> None:
    """Tell a call, if it is one and open, that a result or an item has been read inside it."""
    if isinstance(around, ToolCall) and around.outcome == "open":
        details = around._ensure_details()
        details.seen = (*(details.seen or ())[1 - MAX_SEEN :], thing)


def settle(tool: Tool, call: ToolCall, result: Any, outcome: Outcome) -> None:
    """Give the call its cost: what was said of it, else what was declared for a success, else its price."""
    details = call._details
    if outcome == "success" and tool.charges and (details is None or details.cost_nanousd is None):
        cost = tool.cost_nanousd if tool.cost is None else nanodollars(call_extractor(tool.cost, result))
        if cost is not None:
            details = call._ensure_details()
            details.cost_nanousd, details.cost_source = cost, "declared"
    if details is None:
        return
    if details.cached_tokens and details.cached_tokens > details.tokens - details.output_tokens:
        Diagnostics.invalid_values += 1  # recorded piece by piece; priced as it stands it could cost less than nothing
        details.cached_tokens = details.tokens - details.output_tokens
    policy = bus.policy
    by_the_call = outcome == "success" and details.cost_nanousd is None and call.tool_name in policy.priced_tools
    if (details.lacks_price or by_the_call) and policy.price is not None:
        cost = policy.price(call)
        if cost is not None:
            details.cost_nanousd, details.cost_source = cost, "priced"
    if details.cached:
        details.saved_nanousd, details.cost_nanousd = details.cost_nanousd or 0, 0
