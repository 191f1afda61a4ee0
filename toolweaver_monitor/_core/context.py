"""The current call of a context, the no-op call, and the suppression of calls on this library's own threads."""

from __future__ import annotations

from contextvars import ContextVar

from toolweaver_monitor._core import gc_guard
from toolweaver_monitor._core.call import ToolCall


class NoopCall(ToolCall, gc=False, eq=False):
    """The call that `current_call()` returns outside any call. It has the same methods and records nothing."""

    def record(self, **_: object) -> None:
        """Record nothing."""

    def __reduce__(self) -> str:  # type: ignore[override]
        """Pickle by name: a function that is sent by value must meet the constants of the process it arrives in."""
        return "SUPPRESSED" if self is SUPPRESSED else "NOOP_CALL"

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


def current_call() -> ToolCall:
    """Return the innermost open call, from any depth; outside any call, a no-op call that records nothing."""
    return current.get() or NOOP_CALL
