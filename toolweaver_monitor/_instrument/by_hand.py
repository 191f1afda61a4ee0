"""Calls that have ended elsewhere and are recorded by hand: `Monitor.record()` and the records of the trackers.

A program may tell several trackers about one call, one after the other. So a call that `MetricsCollector.record`
hands in waits for what the others say of it. It stays open until the next such call of its context, a read, or a drain
closes it. Budgets know of its cost from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from toolweaver_monitor._bus.bus import INTERVAL_S, bus, inbox
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import Outcome, ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._core.context_tree import tool_key
from toolweaver_monitor._core.sanitize import NO_TAGS, Diagnostics
from toolweaver_monitor._instrument import closing, hot_path, opening
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.tool import tool_for


class WaitingCall:
    """A call that has ended, and what was said of it."""

    __slots__ = ("call", "has_cost", "has_other_cost", "has_other_outcome", "is_closed", "outcome", "since_s")

    def __init__(self, call: ToolCall, outcome: Outcome) -> None:
        self.call = call
        self.outcome = outcome
        self.has_cost = call._cost_nanousd is not None
        self.has_other_cost = False
        """Whether the tracker of costs has told its cost."""
        self.has_other_outcome = False
        """Whether the tracker of errors has told its outcome."""
        self.is_closed = False
        self.since_s = monotonic_s()


_lock = locks.new_rlock("calls recorded by hand")
_waiting: dict[int, WaitingCall] = {}
_last: ContextVar[WaitingCall | None] = ContextVar("toolweaver_monitor_recorded", default=None)


class HandRecorder:
    """Sends calls that were recorded by hand the way of all others, for as long as its setup is the current one.

    Args:
        is_current: returns whether it is.
    """

    def __init__(self, is_current: Callable[[], bool]) -> None:
        self._is_current = is_current

    def hand_in(self, call: ToolCall, waits: bool = False, figures: Mapping[str, Any] = NO_TAGS) -> bool:
        """Send an ended call to the budgets, which do not refuse it, and to the sinks. Never raises.

        Args:
            call: it has its outcome and its duration.
            waits: whether trackers may tell more of it.
            figures: what `ToolCall.record` takes.

        Returns:
            False if calls are not monitored.
        """
        if bus.active is None or not self._is_current():
            return False
        if current.get() is SUPPRESSED:
            Diagnostics.suppressed_calls += 1
            return True
        outcome, call.outcome = call.outcome, "open"
        finish_own()
        try:
            _open(call, figures)
            waiting = WaitingCall(call, outcome)
            _waiting[id(waiting)] = waiting
            if waits:
                _last.set(waiting)
            else:
                _finish(waiting)
            if next(bus.ticks, True):
                bus.apply_backpressure()
        except Exception as error:  # noqa: BLE001 - the program's own work goes on
            report_internal_error(error)
        return True

    def add_cost(self, told: ToolCall) -> bool:
        """Give the waiting call a cost. The first one is left out if the call came with its own; others are added.

        Returns False if no call of that tool was handed in before.
        """
        waiting = self._find(told)
        if waiting is None:
            return False
        if told._cost_nanousd is None:
            return not waiting.has_other_cost
        with _lock:
            is_known = waiting.has_cost and not waiting.has_other_cost
            if not is_known and not waiting.is_closed:
                waiting.has_cost = is_known = True
                waiting.call.record(cost=told.cost_usd)
            waiting.has_other_cost = True
            return is_known

    def add_outcome(self, told: ToolCall) -> bool:
        """Make the waiting call a failure, if it failed. Returns False if no call of that tool was handed in."""
        waiting = self._find(told)
        if waiting is None or waiting.has_other_outcome:
            return False
        with _lock:
            waiting.has_other_outcome = True
            if told.outcome in (waiting.outcome, "success"):
                return True
            if not waiting.is_closed:
                waiting.outcome = told.outcome
                details = waiting.call._ensure_details()
                details.error_type, details.raw_error = told.error_type, told.error
            return not waiting.is_closed

    def _find(self, told: ToolCall) -> WaitingCall | None:
        waiting = _last.get()
        if waiting is None or waiting.call.tool_name != told.tool_name or not self._is_current():
            return None
        return waiting


def _open(call: ToolCall, figures: Mapping[str, Any]) -> None:
    """Open a call that has ended: give it its place in the tree, and charge the budgets."""
    policy = bus.policy
    if policy.on_first_call is not None:
        policy.on_first_call()
    parent = current.get()
    if parent is not None:
        call._set_parent(parent)
    if call._details is not None:
        call._details.redacted = False  # figures may follow
    if figures:
        call.record(**figures)  # before it has its place: budgets are asked once, with its tags
    key = tool_key(call.tool_name)
    if call._own_tags:
        key = key.with_tags(call._own_tags)
    if policy.tags:
        key = opening.add_setup_tags(policy, key)
    around = policy.tree.root if parent is None else parent._node or policy.tree.root
    call._node = around.child(key)
    if policy.charge is not None:
        policy.charge(call)
    inbox.append(call)


def _finish(waiting: WaitingCall) -> None:
    """Close a call, once."""
    with _lock:
        is_mine = _waiting.pop(id(waiting), None) is not None
        waiting.is_closed = True
    if is_mine:
        call = waiting.call
        closing.set_cost(tool_for(call.tool_name), call, None, waiting.outcome)
        hot_path.publish(call, waiting.outcome)


def finish_own() -> None:
    """Close the call that waits in this context."""
    waiting = _last.get()
    if waiting is not None:
        _last.set(None)
        _finish(waiting)


def finish_waiting(is_periodic: bool) -> None:
    """Close the calls that wait, for a drain.

    Args:
        is_periodic: no reader waits; leave those that have only just been handed in.
    """
    newest_s = monotonic_s() - (INTERVAL_S if is_periodic else 0.0)
    for waiting in list(_waiting.values()):
        if waiting.since_s <= newest_s:
            _finish(waiting)


bus.before_drain = finish_waiting
locks.after_fork_in_child(_waiting.clear)
