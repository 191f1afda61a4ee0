"""The current call of a context, the no-op call, and the suppression of calls on our own threads."""

from __future__ import annotations

import copyreg
from contextvars import ContextVar
from typing import Any

from toolweaver_monitor._core import gc_guard
from toolweaver_monitor._core.call import ToolCall


class NoopCall(ToolCall, gc=False, eq=False):
    """What `current_call()` returns outside any call: it has the same methods and records nothing."""

    def record(self, **_: object) -> None:
        """Record nothing."""

    def fail(self, reason: str) -> None:
        """Record nothing."""


NOOP_CALL = NoopCall("", "success")

SUPPRESSED = NoopCall("", "success")
"""Stands as the innermost call on our own threads: calls opened under it are not published."""

current: ContextVar[ToolCall | None] = ContextVar("toolweaver_monitor_call", default=None)
"""The innermost open call of this context."""
gc_guard.install()


def _the_innermost() -> ContextVar[ToolCall | None]:
    return current


def _reduced(variable: ContextVar[Any]) -> Any:
    """As pickle asks: a watched function that is sent by value meets the variable of the process it arrives in."""
    if variable is current:
        return _the_innermost, ()
    if _reduced_before is not None:
        return _reduced_before(variable)
    raise TypeError("cannot pickle '_contextvars.ContextVar' object")  # as without us


_reduced_before = copyreg.dispatch_table.get(ContextVar)
copyreg.pickle(ContextVar, _reduced)


def current_call() -> ToolCall:
    """The innermost open call, from any depth; outside any call, an inert one that records nothing."""
    return current.get() or NOOP_CALL
