"""What happens to a call, from opened to published? The one place that every monitored call passes through.

Every kind of callable is driven through the same three functions (see `drivers`):

    begin(call, tool, args, kwargs)       opened: it is the innermost of its context, and it is listed; a budget may
                                          refuse it here
    leave(tool, call, result)             it returned: closed and published
    leave_raising(tool, call, error)      it raised: closed and published

What is done for speed, and what it buys per call (CPython 3.11; a whole call takes about 0.65 us):

- A plain success never enters the slow half (`opening`, `ending`, `leave_slowly`): 0.3 us. In the drivers of functions
  and coroutines its steps are written out once more, without a frame or a store that it can do without: 0.15 us.
- A `ToolCall` holds ten fields, all but three by default, and no number until someone asks for it: 60 ns. A store into
  one takes 7 ns, a third of what a Struct's takes by itself (see `records`).
- The look at a result is one dict lookup by exact type: 30 ns, ten times less than a chain of isinstance, and it runs
  no code of the user's.
- A call is appended to the inbox once, when it opens; its end is one store. So the list of open calls costs nothing
  (60 ns), and there is no lock, nothing that a signal handler, a `__del__` or a fork could meet half done.
- Bound methods are looked up once, here: 5 ns each.

Nothing in here raises into the user's code but `BudgetExceeded`, and that only before the function runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Token
from typing import Any

from toolweaver_monitor._bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import MUTED, innermost
from toolweaver_monitor._core.sanitize import Invalid
from toolweaver_monitor._instrument import closing, later, opening
from toolweaver_monitor._instrument.results import deferred, handler_for, handlers, unseen
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor.errors import BudgetExceeded

_innermost = innermost.get
_make_innermost = innermost.set
_restore = innermost.reset
_append = inbox.append
_handler = handlers.get


def begin(call: ToolCall, tool: Tool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolCall:
    """Open a call of this tool, new and with its clock running; gives it back.

    Raises:
        BudgetExceeded: a budget refuses it; the refusal has been published.
    """
    try:
        parent = _innermost()
        if parent is not None:
            if parent is MUTED:
                return begin_muted(call)
            call.inside(parent)
        known_nanousd = tool.cost_nanousd
        if tool.special or bus.special:
            known_nanousd = opening.prepare(tool, call, args, kwargs)
        if bus.admit is not None:
            ask_budgets(bus.admit, call, known_nanousd)
        _append(call)
        call.token = _make_innermost(call)
    except BudgetExceeded:
        raise
    except BaseException as error:  # an interrupt: the function has not begun
        if call.token is None and _innermost() is call:
            _make_innermost(parent)
        leave_raising(tool, call, error)
        raise
    return call


def leave(tool: Tool, call: ToolCall, result: Any) -> Any:
    """Close a call that returned `result`; gives what its caller is to get, which is that same object."""
    call.duration_s = monotonic_s() - call.opened_at
    try:
        if _handler(type(result), unseen) is not None or call.details is not None or tool.special:
            return leave_slowly(tool, call, result)
        _restore(call.token)  # type: ignore[arg-type]
        call.token = None
        call.outcome = "success"
        if len(inbox) > HIGH_WATER:
            bus.relieve()
    except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
        patch_up(call, "success", error)
    return result


def leave_slowly(tool: Tool, call: ToolCall, result: Any) -> Any:
    """As `leave`, for a call that something is to be said of."""
    outcome: Outcome = "success" if call.error_type is None else "failure"
    try:
        handler = handler_for(type(result))
        if handler is deferred and tool.defers and call.outcome == "open":
            restore(call)
            return later.defer(sys.modules[__name__], tool, call, result)
        closing.use_result(tool, call, handler, result)
        if call.error_type is not None:  # the result may have said so
            outcome = "failure"
        closing.settle(tool, call, result, outcome)
    except Exception as error:  # noqa: BLE001 - as in leave
        closing.mishap(error)
    restore(call)
    publish(call, outcome)
    return result


def leave_settled(tool: Tool, call: ToolCall, result: Any) -> Any:
    """As `leave`, for a call whose result has been read already, but not priced, or not told to its budgets."""
    try:
        closing.settle(tool, call, result, "success")
    except Exception as error:  # noqa: BLE001 - as in leave
        closing.mishap(error)
    restore(call)
    publish(call, "success")
    return result


def close_late(tool: Tool, call: ToolCall, result: Any) -> None:
    """Close a call whose function only returned the promise of `result`."""
    call.duration_s = monotonic_s() - call.opened_at
    try:
        closing.use_result(tool, call, handler_for(type(result)), result)
        closing.settle(tool, call, result, "success" if call.error_type is None else "failure")
    except Exception as error:  # noqa: BLE001 - as in leave
        closing.mishap(error)
    restore(call)
    publish(call, "success" if call.error_type is None else "failure")


def leave_raising(tool: Tool, call: ToolCall, error: BaseException) -> None:
    """Close a call that raised `error`, which its caller raises on."""
    try:
        if call.token is None and _innermost() is call:  # an interrupt, before the token was stored
            _make_innermost(None)
        if call.outcome != "open":
            restore(call)
            return
        if tool.stops_with is not None and type(error) is tool.stops_with:
            leave(tool, call, None)
            return
        if call.opened_at:
            call.duration_s = monotonic_s() - call.opened_at
        outcome: Outcome = "failure"
        try:
            outcome = closing.note_error(call, error)
            closing.settle(tool, call, None, outcome)
        except Exception as own:  # noqa: BLE001 - the user's error must go on, not ours
            closing.mishap(own)
        if outcome != "abandoned" or _innermost() is call:  # else dropped, and ended by whoever collects the garbage
            restore(call)
        publish(call, outcome)
    except RecursionError:  # the stack has no room for a single call more; these stores take none
        call.token = None
        if call.outcome == "open":
            call.outcome = "failure"


def begin_muted(call: ToolCall) -> ToolCall:
    """Open a call on a thread of ours: nobody hears of it, nor of what is called inside it."""
    Invalid.reentrant += 1
    call.outcome = "muted"
    call.token = _make_innermost(MUTED)
    return call


def ask_budgets(admit: Callable[[ToolCall, int | None], None], call: ToolCall, known_nanousd: int | None) -> None:
    """Have the call let in, before it is listed.

    Raises:
        BudgetExceeded: a budget refuses it; the refusal has been published.
    """
    try:
        admit(call, known_nanousd)
    except BudgetExceeded as refusal:
        call.opened_at = monotonic_s()
        closing.note_error(call, refusal)
        _append(call)
        publish(call, "rejected")
        raise
    except Exception as error:  # noqa: BLE001 - a fault in the books is no reason to stop the tool
        closing.mishap(error)
    call.opened_at = monotonic_s()  # an `on_exceed` may have taken its time


def restore(call: ToolCall) -> None:
    """Make the call around this one the innermost again."""
    token, call.token = call.token, None
    if token is not None:
        try:
            _restore(token)
        except (ValueError, RuntimeError):  # closed in another context than it was opened in
            if _innermost() is call:  # as a block that a generator holds open, when another thread closes that
                around = token.old_value
                _make_innermost(None if around is Token.MISSING else around)


def publish(call: ToolCall, outcome: Outcome) -> None:
    """Close the call for good and hand it to the bus, once."""
    try:
        details = call.details
        if details is not None:
            if details.seen is not None:
                details.seen = None
            if call.admission is not None:
                kept = call.admission if details.lacks_price else None  # in case the price is found in the drain
                admission, call.admission = call.admission, None
                admission.settle(call)
                call.admission = kept
        if call.outcome == "open":
            call.outcome = outcome
        if len(inbox) > HIGH_WATER:
            bus.relieve()
    except Exception as error:  # noqa: BLE001 - as in leave
        patch_up(call, outcome, error)


def patch_up(call: ToolCall, outcome: Outcome, error: Exception) -> None:
    """Publish a call whose closing met an error: another context than it was opened in, a stack with no room left."""
    restore(call)
    if call.outcome == "open":
        call.outcome = outcome
    if type(error) not in (ValueError, RecursionError):
        closing.mishap(error)
