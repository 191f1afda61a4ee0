"""The current call of a context, the no-op call, and the suppression of calls on this library's own threads."""

from __future__ import annotations

import copyreg
from contextvars import ContextVar
from typing import Any

from toolweaver_monitor._core import gc_guard
from toolweaver_monitor._core.call import ToolCall


class NoopCall(ToolCall, gc=False, eq=False):
    """The call that `current_call()` returns outside any call. It has the same methods and records nothing."""

    def record(self, **_: object) -> None:
        """Record nothing."""

    def fail(self, reason: str) -> None:
        """Record nothing."""

    def __repr__(self) -> str:
        return "<NoopCall>"


NOOP_CALL = NoopCall("", "success")

SUPPRESSED = NoopCall("", "success")
"""The current call on this library's own threads. Calls opened under it are not published."""

current: ContextVar[ToolCall | None] = ContextVar("toolweaver_monitor_call", default=None)
"""The innermost open call of this context."""
gc_guard.install()


def _get_variable() -> ContextVar[ToolCall | None]:
    return current


def _reduce_variable(variable: ContextVar[Any]) -> Any:
    """Let a monitored function that is pickled by value use the variable of the process in which it arrives."""
    if variable is current:
        return _get_variable, ()
    if _previous_reducer is not None:
        return _previous_reducer(variable)
    raise TypeError("cannot pickle '_contextvars.ContextVar' object")  # as without this library


_previous_reducer = copyreg.dispatch_table.get(ContextVar)
copyreg.pickle(ContextVar, _reduce_variable)


def current_call() -> ToolCall:
    """Return the innermost open call, from any depth; outside any call, a no-op call that records nothing."""
    return current.get() or NOOP_CALL
