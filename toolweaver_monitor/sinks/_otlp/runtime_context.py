"""Join the current call and OpenTelemetry's current span, so that each is the parent of what begins inside it.

OpenTelemetry asks one object for its current context. `CallContext` takes its place and passes on to it. Nothing is
added to the path of a call:

- A span that becomes current inside a call becomes the current call's stand-in (a `TagScope`): calls that open inside
  learn of the span from it.
- Who asks for the current context while a call is innermost gets one whose span is that call (a `CallSpan`). So spans
  that others begin are its children, and propagators send its ids to other processes.
- The span of an MCP library for a tool call, and our call of that tool, are one: see `mcp_requests`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Token
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

from toolweaver_monitor._core import ids
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import SUPPRESSED, TagScope, call_around, current
from toolweaver_monitor.sinks._otlp.mcp_requests import McpRequest, request_of, served

SAMPLED, NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class CallSpan(NonRecordingSpan):
    """An open call as OpenTelemetry sees it. The call is exported once it has ended, so nothing is recorded here."""

    def __init__(self, call: ToolCall, context: SpanContext) -> None:
        super().__init__(context)
        self.call = call


class _Tokens:
    """What restores both contexts."""

    __slots__ = ("call", "request", "span")

    def __init__(self, span: Token[Context], call: Token[ToolCall | None] | None, request: McpRequest | None) -> None:
        self.span, self.call, self.request = span, call, request


class CallContext(_RuntimeContext):
    """OpenTelemetry's current context with the innermost open call in it."""

    is_sampled: Callable[[int], bool] | None = None
    """Whether the calls of a trace are exported, given its id. None while no exporter needs the contexts joined."""
    processor: Any = None
    """What receives the spans of calls, if it is that of a provider of the program."""

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
        elif ids.span_of(call._serial) is not None:
            return context  # the span is that of the call
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
        request = None
        is_recorded = self.processor is not None and getattr(span, "_span_processor", None) is self.processor
        own = span.call if isinstance(span, CallSpan) else served.get(span) if is_recorded else None
        if own is not None:
            if own is around:
                return token
            around, link = own, None  # handed to another thread
        elif link is None or not link.is_valid or (type(call) is TagScope and call.span == link):
            return token
        elif is_recorded and (request := request_of(span)) is not None and request.is_sent:
            is_inside = around is not None and around.outcome == "open" and getattr(call, "span", None) is None
            if is_inside and self.flags_of(around) and request.join(around):
                return _Tokens(token, None, request)
            request = None
        scope = TagScope("" if around is None or request is not None else around.tool_name, "open")
        if request is not None:
            scope.request = request
        if type(call) is TagScope:
            scope.tags_inside = call.tags_inside
        scope._node = around._node if link is None else None if call is None else call._node
        scope._stand_for(around, link)
        return _Tokens(token, current.set(scope), request)

    def detach(self, token: Any) -> None:
        """Restore what was current before `attach`."""
        if type(token) is not _Tokens:
            self.inner.detach(token)
            return
        if token.request is not None:
            with suppress(Exception):  # the library's span ends as it would without us
                token.request.end()
        try:
            if token.call is not None:
                current.reset(token.call)
        except (ValueError, RuntimeError):
            pass  # it is detached in another context, of which OpenTelemetry tells the user
        self.inner.detach(token.span)

    def context_of(self, call: ToolCall) -> SpanContext:
        """Return the ids of a call's span, as those inside have them for their parent's."""
        span: SpanContext | None = ids.span_of(call._serial)
        return self.own_context(call) if span is None else span

    def own_context(self, call: ToolCall) -> SpanContext:
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
