"""One span for a tool call over MCP: the one of the MCP library and that of our call, with the attributes of both.

The conventions want it so. It is the outer one of the two: the library's span at a server, where our call opens inside
it, and our call's at a client.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from toolweaver_monitor._core import ids
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor.sinks._otlp.spans import attributes_of, error_type, is_model_call

NOT_EXPORTED = SpanProcessor()

served: WeakKeyDictionary[Any, ToolCall] = WeakKeyDictionary()
"""The calls that are one span with the request that a server has received, by that span."""


class SendingSerial(int):
    """The serial of a call that sends a request of MCP, and is one span with it."""

    request: dict[str, Any] | None = None
    """The attributes of the library's span, once that has ended."""


class McpRequest:
    """The library's span of a tool call, while it is current."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.is_sent = span.kind is SpanKind.CLIENT
        self.tool_name = ""
        """For a span that does not tell it yet."""
        self.call: ToolCall | None = None
        """The call that is one span with it."""

    def _is_of(self, call: ToolCall) -> bool:
        told = (self.span.attributes or {}).get("gen_ai.tool.name") or self.span.name.partition("tools/call ")[2]
        return call.tool_name == (told or self.tool_name)

    def adopt(self, call: ToolCall) -> None:
        """Give the span to a call that opens directly inside, if it is the first of the same tool."""
        if self._is_of(call) and served.setdefault(self.span, call) is call:
            self.call = call
            call._serial = ids.LinkedSerial.link(call._assign_id(), self.span.context)

    def join(self, call: ToolCall) -> bool:
        """Make the span a part of the open call around it. Return False if it is another tool's, or a second one."""
        serial = call._assign_id()
        if not self._is_of(call) or ids.span_of(serial) or getattr(serial, "request", None):
            return False
        self.call, call._serial = call, SendingSerial(serial)
        self.span._span_processor = NOT_EXPORTED
        return True

    def end(self) -> None:
        """Give the attributes of the inner one to the outer one, which has not ended yet."""
        call, span = self.call, self.span
        if call is None:
            return
        serial, known = call._serial, span.attributes or {}
        if type(serial) is SendingSerial:
            serial.request = (serial.request or {}) | dict(known)
        elif call.outcome == "open":  # it goes on in the background, and gets a span of its own
            call._serial = int(serial)
        elif has_no_span(call):
            error = error_type(call)
            shown = attributes_of(call, is_chat=False, error=error)
            if "toolweaver.usage.model" in shown:  # the bus may not have redacted it yet
                shown["toolweaver.usage.model"] = scrub(shown["toolweaver.usage.model"])
            span.set_attributes({name: value for name, value in shown.items() if name not in known})
            if error is not None and span.status.status_code is StatusCode.UNSET:
                span.set_status(Status(StatusCode.ERROR, call.error or None))


def request_of(span: Any) -> McpRequest | None:
    """Return the request to call a tool whose span it is; None if it is another span of the SDK."""
    method = (span.attributes or {}).get("mcp.method.name")
    return McpRequest(span) if method == "tools/call" and method in span.name else None


def has_no_span(call: ToolCall) -> bool:
    """Return whether a closed call has the span of a request that a server received. A model call has its own."""
    return ids.span_of(call._serial) is not None and not is_model_call(call)
