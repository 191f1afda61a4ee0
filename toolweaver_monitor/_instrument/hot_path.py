"""The path of a call, from opened to published. Every monitored call passes through this module.

`wrappers` (functions) and `track` (blocks) create a call and take it through the same three functions:

    begin(call, tool, args, kwargs)        Open it. It becomes the current call of its context and is put into the
                                           inbox. A budget may reject it here.
    finish(tool, call, result)             Close it after the function returned.
    finish_with_error(tool, call, error)   Close it after the function raised.

`begin` leaves what few calls need to `opening`: a computed name, tags, captured arguments, a price per call. `finish`
leaves calls with details, or with a result that may report usage, to `finish_slow`; and that leaves the outcome, usage
and cost to `closing`. A function that returned a coroutine or a future keeps its call open until that has completed
(`finish_later`). `publish` ends a call for good. The dispatcher (`_bus/bus.py`) takes it from the inbox to the sinks.

What is done for speed, and what it saves per call (CPython 3.11; a whole call takes about 0.65 us):

- A plain success never enters the slow half (`opening`, `closing`, `finish_slow`): 0.3 us. The wrappers of functions
  and coroutines, and blocks, repeat the steps of `begin` and `finish` without a frame or a store that they can do
  without: 0.15 us.
- A `ToolCall` holds eleven fields, all but five with their default, and takes a serial number only if one is needed:
  60 ns. A store into a field takes 7 ns, a third of the time that a msgspec Struct takes by itself (see
  `_core/structs.py`).
- The handler of a result is found by one dict lookup by exact type: 30 ns, a tenth of a chain of `isinstance`. It runs
  no code of the user.
- A call is appended to the inbox once, when it opens, and ends with a single store. So the list of open calls costs
  nothing (60 ns), and there is no lock: nothing that a signal handler, a `__del__` or a fork could meet half done.
- Bound methods are looked up once, at import: 5 ns each.

Nothing in here raises into the user's code but `BudgetExceeded`, and that only before the function runs.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from contextvars import Token
from typing import Any

from toolweaver_monitor._bus.bus import bus, inbox
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import SUPPRESSED as SUPPRESSED  # noqa: PLC0414 - exported, for `generators`
from toolweaver_monitor._core.context import TagScope, current
from toolweaver_monitor._core.context_tree import ToolKey
from toolweaver_monitor._core.details import CallDetails, CompactDetails, InsideDetails, UsageDetails
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._instrument import closing, opening
from toolweaver_monitor._instrument.outcomes import mark_refusal
from toolweaver_monitor._instrument.results import (
    container,
    deferred,
    handler_for,
    may_hold_answers,
    stream,
    unknown_type,
)
from toolweaver_monitor._instrument.results import handlers as handlers  # noqa: PLC0414 - exported, for `wrappers`
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._usage import MAX_ELEMENTS, MESSAGES_KEY, RAW_KEY
from toolweaver_monitor.errors import BudgetExceeded

UNTOLD = CallDetails(error_type="RecursionError", raw_error="maximum recursion depth exceeded", redacted=True)
"""The details of failed calls that had no room on the stack for details of their own."""

WATCHED = (stream, container)
"""The handlers of results that are streams, or may hold one."""

get_current = current.get
set_current = current.set
reset_current = current.reset
append_call = inbox.append
get_handler = handlers.get


def begin(
    call: ToolCall, tool: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any], key: ToolKey | None = None
) -> ToolCall:
    """Open a new call, whose clock is already running, and return it.

    Args:
        call: the new call.
        tool: its tool.
        args: the positional arguments of the function.
        kwargs: the keyword arguments of the function.
        key: what the call is counted by; that of the tool if not given.

    Raises:
        BudgetExceeded: a budget rejects the call. The rejection has been published.
    """
    try:
        parent = get_current()
        if parent is not None:
            if parent is SUPPRESSED:
                return begin_suppressed(call)
            call._set_parent(parent)
        known_nanousd, digest = tool.cost_nanousd, None
        policy = bus.policy
        key = key or tool.key
        if policy.needs_slow_open or tool.costs_nanousd:
            key, known_nanousd, digest = opening.prepare(policy, tool, key, call, args, kwargs)
        elif tool.name_from is not None:
            key = opening.find_key(tool, args, kwargs)
            call.tool_name = key.tool_name
        if (
            tool.is_super_call is not None
            and parent is not None
            and parent.tool_name == call.tool_name
            and tool.is_super_call(parent, args)
        ):
            return begin_super_call(call, parent)
        around = policy.tree.root if parent is None else parent._node or policy.tree.root
        call._node = around.child(key)
        if parent is not None and not parent._opened_at and type(parent) is TagScope:
            parent.request.adopt(call)  # the call may be the request itself, and one span with it
        if policy.admit is not None:
            ask_budgets(policy.admit, call, known_nanousd, digest)
        append_call(call)
        call._token = set_current(call)
    except BudgetExceeded:
        raise
    except BaseException as error:  # an interrupt: the function has not begun
        if call._token is None and get_current() is call:
            set_current(parent)
        finish_with_error(tool, call, error)
        raise
    return call


def begin_suppressed(call: ToolCall) -> ToolCall:
    """Open a suppressed call. Used on the library's own threads; neither it nor its children are published."""
    Diagnostics.suppressed_calls += 1
    call.outcome = "suppressed"
    call._token = set_current(SUPPRESSED)
    return call


def begin_super_call(call: ToolCall, parent: ToolCall) -> ToolCall:
    """Open a call that is part of its parent: it is not published, and its parent stays the current call."""
    call.outcome = "suppressed"
    call._token = set_current(parent)
    return call


def ask_budgets(
    admit: Callable[[ToolCall, int | None, bytes | None], None],
    call: ToolCall,
    known_nanousd: int | None,
    digest: bytes | None = None,
) -> None:
    """Ask the budgets to admit a call, before it is put into the inbox.

    Args:
        admit: raises if a budget rejects the call.
        call: the new call.
        known_nanousd: its cost in nano-dollars, if known before it runs.
        digest: of its tool and arguments, if a budget limits repeats.

    Raises:
        BudgetExceeded: a budget rejects the call. The rejection has been published.
    """
    try:
        admit(call, known_nanousd, digest)
    except BudgetExceeded as rejection:
        call._opened_at = monotonic_s()
        mark_refusal(rejection, call._opened_at)
        closing.note_error(call, rejection)
        append_call(call)
        publish(call, "rejected")
        raise
    except Exception as error:  # noqa: BLE001 - an error in the accounts is no reason to stop the tool
        report_internal_error(error)
    call._opened_at = monotonic_s()  # an `on_exceed` may have taken long


def finish(tool: ToolSpec, call: ToolCall, result: Any) -> Any:
    """Close a call that returned `result`, and return the same object, or the coroutine that stands for it."""
    call.duration_s = monotonic_s() - call._opened_at
    try:
        handler = get_handler(type(result), unknown_type)
        if (
            (handler is not None and (handler is not container or may_hold_answers(result)))
            or tool.has_extractors
            or call.outcome != "open"
            or (call._details is not None and not is_complete(call, getattr(call._token, "old_value", None)))
        ):
            return finish_slow(tool, call, result)
        reset_current(call._token)  # type: ignore[arg-type]
        call._token = None
        call.outcome = "success"
        if next(bus.ticks, True):
            bus.apply_backpressure()
    except Exception as error:  # noqa: BLE001 - the tool succeeded, and its caller must see just that
        recover(call, "success", error)
    return result


def is_complete(call: ToolCall, around: Any) -> bool:
    """Return True if a call with details needs neither a price nor anything else when it succeeds.

    The call around it learns what it used: it may hand on these figures.
    """
    details = call._details
    if type(details) is InsideDetails:
        if call._parent_serial is not None:
            closing.tell(around, details)
        call._details = None
        return True
    if call._admission is not None or (
        type(details) is not CompactDetails
        and (type(details) is not UsageDetails or details.cost_nanousd is None or details.cached_tokens)
    ):
        return False
    if call._parent_serial is not None:
        closing.tell(around, details)
    return True


def finish_slow(tool: ToolSpec, call: ToolCall, result: Any) -> Any:
    """Do what `finish` does, for a call that has details or may get them from its result or its declarations."""
    if call.outcome == "suppressed":  # not published; the result of a `super()` call is read by the call around it
        restore(call)
        return result
    outcome: Outcome = "success" if call.error_type is None else "failure"
    try:
        handler = handler_for(type(result))
        if handler is deferred and tool.may_return_awaitable and call.outcome == "open":
            return finish_later(tool, call, result)
        if handler in WATCHED and (watched := watch_stream(tool, call, result)) is not None:
            return watched
        closing.read_usage(tool, call, handler, result)
        if tool.failed is not None and outcome == "success":
            closing.ask_failed(tool.failed, call, result)
        if call.error_type is not None:  # the result tells it, or a callable, with `fail()`
            outcome = "failure"
        closing.set_cost(tool, call, result, outcome)
    except Exception as error:  # noqa: BLE001 - as in finish
        report_internal_error(error)
    restore(call)
    publish(call, outcome)
    return result


def watch_stream(tool: ToolSpec, call: ToolCall, result: Any, *, in_place: bool = False) -> Any:
    """Keep a call open until the end of the stream that its function returned.

    Args:
        tool: the tool of the call.
        call: the open call.
        result: a generator, a stream of an SDK, or a short tuple or list that may hold one.
        in_place: only if the result can be watched as it is, since no other can take its place.

    Returns:
        What stands for the result: a generator for a generator, a stream itself. None if it is not watched.
    """
    if tool.watch is None or call.outcome != "open":
        return None
    if type(result) is tuple or type(result) is list:
        streams = [part for part in result if handler_for(type(part)) is stream] if len(result) <= MAX_ELEMENTS else []
        return result if streams and watch_stream(tool, call, streams[0], in_place=True) is not None else None
    watched = tool.watch(tool, call, result, in_place)
    if watched is not None:
        restore(call)
    return watched


def finish_read(tool: ToolSpec, call: ToolCall, result: Any) -> Any:
    """Do what `finish` does, for a call whose result has been read, but has no price yet or must be charged."""
    outcome: Outcome = "success" if call.error_type is None else "failure"
    try:
        if RAW_KEY in result or (MESSAGES_KEY in result and not closing.has_figures(call)):
            closing.read_answers(call, result)
        if call._serial:
            closing.leave_out_handed_on(call)
        closing.set_cost(tool, call, result, outcome)
    except Exception as error:  # noqa: BLE001 - as in finish
        report_internal_error(error)
    restore(call)
    publish(call, outcome)
    return result


def finish_later(tool: ToolSpec, call: ToolCall, result: Any) -> Any:
    """Keep a call open until the awaitable that its function returned has completed.

    Args:
        tool: the tool of the call.
        call: the open call.
        result: a coroutine, or a future with `add_done_callback`.

    Returns:
        A coroutine for a coroutine; a future or task itself.
    """
    token = call._token
    restore(call)
    if type(result) is not types.CoroutineType:
        call._token = token  # used up by now, and still names the call around, which may hand on what this one used
        result.add_done_callback(lambda future: _finish_future(tool, call, future))
        return result
    coroutine: Any = result
    monitored: Any = _run_coroutine(tool, call, coroutine)
    monitored.__name__, monitored.__qualname__ = coroutine.__name__, coroutine.__qualname__
    weakref.finalize(monitored, _abandon, call, coroutine).atexit = False
    return monitored


async def _run_coroutine(tool: ToolSpec, call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> Any:
    """Run the coroutine under its call."""
    call._token = set_current(call)
    try:
        return finish_awaitable(tool, call, await coroutine)
    except BaseException as error:
        finish_with_error(tool, call, error)
        raise


def _abandon(call: ToolCall, coroutine: types.CoroutineType[Any, Any, Any]) -> None:
    """Close a call whose coroutine was dropped without being awaited: its work was never done."""
    if call.outcome == "open" and coroutine.cr_frame is not None:  # else it has returned a stream that is being read
        coroutine.close()  # Python warns about the coroutine that the caller dropped, not about both
        call._ensure_details()
        publish(call, "abandoned")


def _finish_future(tool: ToolSpec, call: ToolCall, future: Any) -> None:
    """Close the call of a completed future.

    The exception is read from the attribute in which the future keeps it: `exception()` would mark it as retrieved,
    and asyncio would no longer warn of an error that was never looked at.
    """
    if future.cancelled():
        call._ensure_details()
        call._token = None
        call.duration_s = monotonic_s() - call._opened_at
        publish(call, "cancelled")
    elif getattr(future, "_exception", None) is not None:
        finish_with_error(tool, call, future._exception)
    else:
        finish_awaitable(tool, call, getattr(future, "_result", None), in_place=True)


def finish_awaitable(tool: ToolSpec, call: ToolCall, result: Any, *, in_place: bool = False) -> Any:
    """Close a call whose function returned an awaitable that has completed with `result`.

    Returns:
        The result, or the generator that stands for it.
    """
    call.duration_s = monotonic_s() - call._opened_at
    try:
        handler = handler_for(type(result))
        if handler in WATCHED and (watched := watch_stream(tool, call, result, in_place=in_place)) is not None:
            return watched
        was_marked = call.error_type is not None
        closing.read_usage(tool, call, handler, result)
        if tool.failed is not None and not was_marked:
            closing.ask_failed(tool.failed, call, result)
        closing.set_cost(tool, call, result, "success" if call.error_type is None else "failure")
    except Exception as error:  # noqa: BLE001 - as in finish
        report_internal_error(error)
    restore(call)
    publish(call, "success" if call.error_type is None else "failure")
    return result


def finish_with_error(tool: ToolSpec, call: ToolCall, error: BaseException) -> None:
    """Close a call that raised `error`. The caller of this function re-raises it."""
    try:
        if call._token is None and get_current() is call:  # an interrupt, before the token was stored
            set_current(None)
        if call.outcome != "open":
            restore(call)
            return
        if tool.stop_exception is not None and type(error) is tool.stop_exception:
            finish(tool.without_extractors(), call, None)
            return
        if call._opened_at:
            call.duration_s = monotonic_s() - call._opened_at
        outcome: Outcome = "failure"
        try:
            outcome = closing.note_error(call, error, tool.control_flow)
            closing.set_cost(tool, call, None, outcome)
        except Exception as own:  # noqa: BLE001 - the user's error must propagate, not this one
            report_internal_error(own)
        finally:  # a Ctrl-C in the exception's own `__str__` goes on to the caller, and the call is closed all the same
            if outcome != "abandoned" or get_current() is call:  # otherwise the garbage collector ends the call
                restore(call)
            publish(call, outcome)
    except RecursionError:  # the stack has no room for one more call; these stores need none
        call._token = None
        call._details = call._details or UNTOLD
        if call.outcome == "open":
            call.outcome = "failure"


def restore(call: ToolCall) -> None:
    """Make the call around this one the current call again."""
    token, call._token = call._token, None
    if token is not None:
        try:
            reset_current(token)
        except (ValueError, RuntimeError):  # closed in another context than it was opened in
            if get_current() is call:  # as a block that a generator holds open, if another thread closes the generator
                around = token.old_value
                set_current(None if around is Token.MISSING else around)


def publish(call: ToolCall, outcome: Outcome) -> None:
    """Close the call for good, once, so that the dispatcher takes it to the sinks."""
    try:
        details, to_warn = call._details, None
        if details is not None:
            if details.inside is not None:
                details.inside = None
                if type(details) is InsideDetails and outcome == "success":
                    call._details = None
            if call._admission is not None:
                admission, call._admission = call._admission, None
                if admission.settle(call):
                    to_warn = admission
                call._admission = admission  # until the dispatcher enriches the call, see `Admission`
        if call.outcome == "open":
            call.outcome = outcome
        if to_warn is not None:  # last, since it may run the user's code
            to_warn.warn()
        if next(bus.ticks, True):
            bus.apply_backpressure()
    except Exception as error:  # noqa: BLE001 - as in finish
        recover(call, outcome, error)


def recover(call: ToolCall, outcome: Outcome, error: Exception) -> None:
    """Publish a call although closing it raised `error`: in another context, or with no room left on the stack."""
    restore(call)
    if call.outcome == "open":
        call.outcome = outcome
    if type(error) not in (ValueError, RecursionError):
        report_internal_error(error)
