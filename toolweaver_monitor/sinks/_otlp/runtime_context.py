"""Join the current call and OpenTelemetry's current span, so that each is the parent of what begins inside it.

OpenTelemetry asks one object for its current context. `CallContext` takes its place and passes on to it. Nothing is
added to the path of a call:

- A span that becomes current inside a call becomes the current call's stand-in (a `TagScope`): calls that open inside
  learn of the span from it.
- Who asks for the current context while a call is innermost gets one whose span is that call (a `CallSpan`). So spans
  that others begin are its children, and propagators send its ids to other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

from toolweaver_monitor._core import ids
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import SUPPRESSED, TagScope, call_around, current

SAMPLED, NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class CallSpan(NonRecordingSpan):
    """An open call as OpenTelemetry sees it. The call is exported once it has ended, so nothing is recorded here."""

    def __init__(self, call: ToolCall, context: SpanContext) -> None:
        super().__init__(context)
        self.call = call


class _Tokens:
    """What restores both contexts."""

    __slots__ = ("call", "span")

    def __init__(self, span: Token[Context], call: Token[ToolCall | None]) -> None:
        self.span, self.call = span, call


class CallContext(_RuntimeContext):
    """OpenTelemetry's current context with the innermost open call in it."""

    is_sampled: Callable[[int], bool] | None = None
    """Whether the calls of a trace are exported, given its id. None while no exporter needs the contexts joined."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def get_current(self) -> Context:
        """Return the current context; its span is the innermost open call if no other span began inside that."""
        context: Context = self.inner.get_current()
        call = current.get()
        if call is None or self.is_sampled is None:
            return context
        if type(call) is TagScope:
            if call.span is not None or call.around is None:
                return context
            call = call.around
        if call is SUPPRESSED:  # the exporter's own requests, on a thread of this library
            return context_api.set_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, True, context)
        return set_span_in_context(CallSpan(call, self.context_of(call)), context)

    def attach(self, context: Context) -> Any:
        """Make a context current, and its span, if it has one, the parent of the calls that open inside."""
        token = self.inner.attach(context)
        call = current.get()
        if self.is_sampled is None or call is SUPPRESSED:
            return token
        span = get_current_span(context)
        around = call_around(call)
        link: SpanContext | None = span.get_span_context()
        if isinstance(span, CallSpan):
            if span.call is around:
                return token
            around, link = span.call, None  # handed to another thread
        elif link is None or not link.is_valid or (type(call) is TagScope and call.span == link):
            return token
        scope = TagScope("" if around is None else around.tool_name, "open")
        if type(call) is TagScope:
            scope.tags_inside = call.tags_inside
        scope._node = around._node if link is None else None if call is None else call._node
        scope._stand_for(around, link)
        return _Tokens(token, current.set(scope))

    def detach(self, token: Any) -> None:
        """Restore what was current before `attach`."""
        if type(token) is not _Tokens:
            self.inner.detach(token)
            return
        try:
            current.reset(token.call)
        except (ValueError, RuntimeError):
            pass  # it is detached in another context, of which OpenTelemetry tells the user
        self.inner.detach(token.span)

    def context_of(self, call: ToolCall) -> SpanContext:
        """Return a call's ids as OpenTelemetry has them."""
        return SpanContext(call.trace_id, call.call_id, is_remote=False, trace_flags=self.flags_of(call))

    def parent_of(self, call: ToolCall) -> SpanContext | None:
        """Return what was current when a call opened: a span, or the call around it; None if there was neither."""
        if call._parent_serial is None:
            call._assign_id()
            outer: SpanContext | None = ids.span_of(call._root_serial)
            return outer
        span: SpanContext | None = ids.span_of(call._parent_serial)
        if span is not None:
            return span
        return SpanContext(
            call.trace_id, ids.mix(call._parent_serial), is_remote=False, trace_flags=self.flags_of(call)
        )

    def flags_of(self, call: ToolCall) -> TraceFlags:
        """Return whether a call is exported: as the span around its trace says, or else the sampler."""
        call._assign_id()
        span: SpanContext | None = ids.span_of(call._root_serial)
        if span is not None:
            return span.trace_flags
        try:
            return SAMPLED if self.is_sampled is None or self.is_sampled(call.trace_id) else NOT_SAMPLED
        except Exception:  # noqa: BLE001 - a sampler of the program's that raises decides nothing
            return SAMPLED


def install() -> CallContext:
    """Put a `CallContext` in the place of OpenTelemetry's runtime context, once in a process, and return it."""
    found = context_api._RUNTIME_CONTEXT
    if not isinstance(found, CallContext):
        found = context_api._RUNTIME_CONTEXT = CallContext(found)
    return found
