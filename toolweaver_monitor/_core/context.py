"""The current call of a context, the no-op call, and the suppression of calls on this library's own threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from toolweaver_monitor._core import gc_guard, ids
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NO_TAGS, TagValue


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


class TagScope(NoopCall, gc=False, eq=False):
    """The current call inside a block of tags, or inside a span of OpenTelemetry.

    It stands for the call around the block, if there is one.
    """

    owner: object = None
    """The block."""
    around: ToolCall | None = None
    tags_inside: Mapping[str, TagValue] = NO_TAGS
    """The tags of this block and of those around it, up to the call around."""
    span: Any = None
    """The `SpanContext` of OpenTelemetry that is current inside, if it began inside the call around."""
    request: Any = None
    """The request of MCP whose span that is; `begin` shows it the calls that open directly inside.

    They open the slow way, since `_opened_at` is 0, as that of `SUPPRESSED`.
    """

    def _stand_for(self, around: ToolCall | None, span: Any) -> None:
        """Stand for this call, with a span that has begun inside it."""
        self.around, self.span, self._opened_at = around, span, 1.0 if self.request is None else 0.0
        if around is not None:
            serial = around._assign_id()
            self._serial = serial if span is None else ids.LinkedSerial.link(serial, span)

    def _assign_id(self) -> int:
        """Return the serial that calls inside have as their parent's; None outside any call."""
        return self._serial or None  # type: ignore[return-value]

    @property  # type: ignore[misc]  # a field of other calls
    def _root_serial(self) -> int:  # type: ignore[override]
        """The serial of the outermost call, or a new one that carries the span for an outermost call inside."""
        if self.around is not None:
            return self.around._root_serial
        return 0 if self.span is None else ids.LinkedSerial.link(next(ids.serials), self.span)


def call_around(call: Any) -> Any:
    """Return the call that what `current` holds stands for: itself, or for a block of tags the call around it."""
    return call.around if type(call) is TagScope else call


def current_call() -> ToolCall:
    """Return the innermost open call, from any depth; outside any call, a no-op call that records nothing."""
    call = current.get()
    if type(call) is TagScope:
        call = call.around
    return call or NOOP_CALL
