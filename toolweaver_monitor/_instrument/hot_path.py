"""What happens to a call, from opened to published? The one place that every monitored call passes through.

Every kind of callable is driven through the same three functions (see `drivers`):

    begin(call, tool, args, kwargs)       opened: it is the innermost of its context, and it is listed; a budget may
                                          refuse it here
    leave(tool, call, result)             it returned: closed and published
    finish_with_error(tool, call, error)      it raised: closed and published

What is done for speed, and what it buys per call (CPython 3.11; a whole call takes about 0.65 us):

- A plain success never enters the slow half (`opening`, `ending`, `finish_slow`): 0.3 us. In the drivers of functions
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

import types
import weakref
from collections.abc import Callable
from contextvars import Token
from typing import Any

from toolweaver_monitor._bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._instrument import closing, opening
from toolweaver_monitor._instrument.results import deferred, handler_for, handlers, unknown_type
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor.errors import BudgetExceeded

_current_call = current.get
_set_current = current.set
_restore = current.reset
_append = inbox.append
_handler = handlers.get


def begin(call: ToolCall, tool: Tool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolCall:
    """Open a call of this tool, new and with its clock running; gives it back.

    Raises:
        BudgetExceeded: a budget refuses it; the refusal has been published.
    """
    try:
        parent = _current_call()
        if parent is not None:
            if parent is SUPPRESSED:
                return begin_suppressed(call)
            call._set_parent(parent)
        known_nanousd = tool.cost_nanousd
        policy = bus.policy
        if tool.special or policy.needs_slow_open:
            known_nanousd = opening.prepare(policy, tool, call, args, kwargs)
        if (
            tool.is_super_call is not None
            and parent is not None
            and parent.tool_name == call.tool_name
            and tool.is_super_call(parent, args)
        ):
            return begin_super_call(call, parent)
        if policy.admit is not None:
            ask_budgets(policy.admit, call, known_nanousd)
        _append(call)
        call._token = _set_current(call)
    except BudgetExceeded:
        raise
    except BaseException as error:  # an interrupt: the function has not begun
        if call._token is None and _current_call() is call:
            _set_current(parent)
        finish_with_error(tool, call, error)
        raise
    return call


def leave(tool: Tool, call: ToolCall, result: Any) -> Any:
    """Close a call that returned `result`; gives what its caller is to get, which is that same object."""
    call.duration_s = monotonic_s() - call._opened_at
    try:
        if _handler(type(result), unknown_type) is not None or call._details is not None or tool.special:
            return finish_slow(tool, call, result)
        _restore(call._token)  # type: ignore[arg-type]
        call._token = None
        call.outcome = "success"
        if len(inbox) > HIGH_WATER:
            bus.apply_backpressure()
    except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
        recover(call, "success", error)
    return result


def finish_slow(tool: Tool, call: ToolCall, result: Any) -> Any:
    """As `leave`, for a call that something is to be said of."""
    if call.outcome == "suppressed":  # not published; the result of a `super()` call is read by the call around it
        restore(call)
        return result
    outcome: Outcome = "success" if call.error_type is None else "failure"
    try:
        handler = handler_for(type(result))
        if handler is deferred and tool.defers and call.outcome == "open":
            restore(call)
            return finish_later(tool, call, result)
        closing.read_usage(tool, call, handler, result)
        if call.error_type is not None:  # the result may have said so
            outcome = "failure"
        closing.settle(tool, call, result, outcome)
    except Exception as error:  # noqa: BLE001 - as in leave
        report_internal_error(error)
    restore(call)
    publish(call, outcome)
    return result


def finish_read(tool: Tool, call: ToolCall, result: Any) -> Any:
    """As `leave`, for a call whose result has been read already, but not priced, or not told to its budgets."""
    try:
        closing.settle(tool, call, result, "success")
    except Exception as error:  # noqa: BLE001 - as in leave
        report_internal_error(error)
    restore(call)
    publish(call, "success")
    return result


def finish_awaitable(tool: Tool, call: ToolCall, result: Any) -> None:
    """Close a call whose function only returned the promise of `result`."""
    call.duration_s = monotonic_s() - call._opened_at
    try:
        closing.read_usage(tool, call, handler_for(type(result)), result)
        closing.settle(tool, call, result, "success" if call.error_type is None else "failure")
    except Exception as error:  # noqa: BLE001 - as in leave
        report_internal_error(error)
    restore(call)
    publish(call, "success" if call.error_type is None else "failure")


def finish_later(tool: Tool, call: ToolCall, result: Any) -> Any:
    """Keep a call open until the awaitable that its function returned has completed.

    Args:
        tool: the call's tool.
        call: the open call.
        result: a coroutine, or a future with `add_done_callback`.

    Returns:
        A coroutine for a coroutine; a future or task itself.
    """
    if type(result) is not types.CoroutineType:
        result.add_done_callback(lambda future: _finish_future(tool, call, future))
        return result
    coroutine: Any = result
    monitored: Any = _await(tool, call, coroutine)
    monitored.__name__, monitored.__qualname__ = coroutine.__name__, coroutine.__qualname__
    weakref.finalize(monitored, _abandon, call, coroutine).atexit = False
    return monitored


async def _await(tool: Tool, call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> Any:
    """Run the coroutine under its call."""
    call._token = _set_current(call)
    try:
        result = await coroutine
        finish_awaitable(tool, call, result)
    except BaseException as error:
        finish_with_error(tool, call, error)
        raise
    return result


def _abandon(call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> None:
    """Close a call whose coroutine was dropped without being awaited: its work was never done."""
    if call.outcome == "open":
        coroutine.close()  # Python warns about the coroutine that the caller dropped, not about both
        call._ensure_details()
        publish(call, "abandoned")


def _finish_future(tool: Tool, call: ToolCall, future: Any) -> None:
    """Close the call of a completed future.

    The exception is read from the attribute in which the future keeps it: `exception()` would mark it as retrieved,
    and asyncio would no longer warn of an error that was never looked at.
    """
    if future.cancelled():
        call._ensure_details()
        call.duration_s = monotonic_s() - call._opened_at
        publish(call, "cancelled")
    elif getattr(future, "_exception", None) is not None:
        finish_with_error(tool, call, future._exception)
    else:
        finish_awaitable(tool, call, getattr(future, "_result", None))


def finish_with_error(tool: Tool, call: ToolCall, error: BaseException) -> None:
    """Close a call that raised `error`, which its caller raises on."""
    try:
        if call._token is None and _current_call() is call:  # an interrupt, before the token was stored
            _set_current(None)
        if call.outcome != "open":
            restore(call)
            return
        if tool.stops_with is not None and type(error) is tool.stops_with:
            leave(tool, call, None)
            return
        if call._opened_at:
            call.duration_s = monotonic_s() - call._opened_at
        outcome: Outcome = "failure"
        try:
            outcome = closing.note_error(call, error)
            closing.settle(tool, call, None, outcome)
        except Exception as own:  # noqa: BLE001 - the user's error must go on, not ours
            report_internal_error(own)
        finally:  # a Ctrl-C in the exception's own `__str__` goes on to the caller, and the call is closed all the same
            if outcome != "abandoned" or _current_call() is call:  # else dropped, and ended by the garbage collector
                restore(call)
            publish(call, outcome)
    except RecursionError:  # the stack has no room for a single call more; these stores take none
        call._token = None
        if call.outcome == "open":
            call.outcome = "failure"


def begin_suppressed(call: ToolCall) -> ToolCall:
    """Open a call on a thread of ours: nobody hears of it, nor of what is called inside it."""
    Diagnostics.suppressed_calls += 1
    call.outcome = "suppressed"
    call._token = _set_current(SUPPRESSED)
    return call


def begin_super_call(call: ToolCall, parent: ToolCall) -> ToolCall:
    """Open a call that is part of its parent: it is not published, and its parent stays the current call."""
    call.outcome = "suppressed"
    call._token = _set_current(parent)
    return call


def ask_budgets(admit: Callable[[ToolCall, int | None], None], call: ToolCall, known_nanousd: int | None) -> None:
    """Have the call let in, before it is listed.

    Raises:
        BudgetExceeded: a budget refuses it; the refusal has been published.
    """
    try:
        admit(call, known_nanousd)
    except BudgetExceeded as refusal:
        call._opened_at = monotonic_s()
        closing.note_error(call, refusal)
        _append(call)
        publish(call, "rejected")
        raise
    except Exception as error:  # noqa: BLE001 - a fault in the books is no reason to stop the tool
        report_internal_error(error)
    call._opened_at = monotonic_s()  # an `on_exceed` may have taken its time


def restore(call: ToolCall) -> None:
    """Make the call around this one the innermost again."""
    token, call._token = call._token, None
    if token is not None:
        try:
            _restore(token)
        except (ValueError, RuntimeError):  # closed in another context than it was opened in
            if _current_call() is call:  # as a block that a generator holds open, when another thread closes that
                around = token.old_value
                _set_current(None if around is Token.MISSING else around)


def publish(call: ToolCall, outcome: Outcome) -> None:
    """Close the call for good and hand it to the bus, once."""
    try:
        details = call._details
        if details is not None:
            if details.seen is not None:
                details.seen = None
            if call._admission is not None:
                kept = call._admission if details.lacks_price else None  # in case the price is found in the drain
                admission, call._admission = call._admission, None
                admission.settle(call)
                call._admission = kept
        if call.outcome == "open":
            call.outcome = outcome
        if len(inbox) > HIGH_WATER:
            bus.apply_backpressure()
    except Exception as error:  # noqa: BLE001 - as in leave
        recover(call, outcome, error)


def recover(call: ToolCall, outcome: Outcome, error: Exception) -> None:
    """Publish a call whose closing met an error: another context than it was opened in, a stack with no room left."""
    restore(call)
    if call.outcome == "open":
        call.outcome = outcome
    if type(error) not in (ValueError, RecursionError):
        report_internal_error(error)
