"""Calls as spans: `execute_tool {tool}`, or `chat {model}` for a call that is itself a model call."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks._otlp import conventions

SCOPE = InstrumentationScope("toolweaver_monitor", conventions.version())


def is_model_call(call: ToolCall) -> bool:
    """Return True if a call is itself a model call: it tells model, provider and tokens of input or output.

    Its result tells them, or the code records them. Figures that calls inside have told are theirs, in both ways.
    """
    details = call._details
    if details is None or details.model is None or details.provider is None or details.is_of_inside:
        return False
    return details.input_tokens + details.output_tokens > 0


def error_type(call: ToolCall) -> str | None:
    """Return why a call counts as an error, in the words of the conventions; None if it does not."""
    if call.outcome == "timeout":
        return "timeout"
    if call.outcome == "rejected":
        return "budget_exceeded"
    if call.outcome == "failure":
        return call.error_type or "_OTHER"
    return None


def as_span(call: ToolCall, context: SpanContext, parent: SpanContext | None, resource: Resource) -> ReadableSpan:
    """Return a closed call as a span that has ended."""
    is_chat = is_model_call(call)
    sent = dict(getattr(call._serial, "request", None) or ())  # of MCP: the same call, as its library recorded it
    error = error_type(call)
    told = sent.pop("error.type", error)
    started = int(call.started_at * 1e9)
    status = Status(StatusCode.UNSET)
    if error is not None:
        status = Status(StatusCode.ERROR, call.error or None)
    return ReadableSpan(
        f"chat {call.model}" if is_chat else f"execute_tool {call.tool_name}",
        context,
        parent,
        resource,
        sent | attributes_of(call, is_chat=is_chat, error=None if error is None else told),
        kind=SpanKind.CLIENT if is_chat or sent else SpanKind.INTERNAL,
        status=status,
        start_time=started,
        end_time=started + int(call.duration_s * 1e9),
        instrumentation_scope=SCOPE,
    )


def attributes_of(call: ToolCall, *, is_chat: bool, error: str | None) -> dict[str, Any]:
    """Return the attributes of a closed call's span."""
    shown: dict[str, Any] = {
        "gen_ai.operation.name": "chat" if is_chat else "execute_tool",
        "gen_ai.tool.name": call.tool_name,
        "gen_ai.tool.type": None if is_chat else "function",
        "error.type": error,
        "toolweaver.outcome": call.outcome,
    }
    if is_chat:
        shown |= {
            "gen_ai.request.model": call.model,
            "gen_ai.provider.name": call.provider,
            "gen_ai.usage.input_tokens": call.input_tokens,
            "gen_ai.usage.output_tokens": call.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": call.cached_tokens or None,
            "gen_ai.usage.cache_write.input_tokens": call.cache_write_tokens or None,
            "gen_ai.response.time_to_first_chunk": call.first_item_s,
        }
    elif call.tokens:
        shown |= {
            "toolweaver.usage.input_tokens": call.input_tokens or None,
            "toolweaver.usage.output_tokens": call.output_tokens or None,
            "toolweaver.usage.unsplit_tokens": call._unsplit_tokens or None,
            "toolweaver.usage.model": call.model,
        }
    if call.cost_usd is not None:
        shown["toolweaver.cost.amount"] = call.cost_usd
        shown["toolweaver.cost.currency"] = "USD"
        shown["toolweaver.cost.source"] = call.cost_source
    shown["toolweaver.attempt"] = call.attempt if call.attempt > 1 else None
    shown["toolweaver.cached"] = call.cached or None
    shown["toolweaver.items"] = call.items
    shown["gen_ai.tool.call.arguments"] = call.arguments  # captured, and without secrets
    shown["gen_ai.tool.call.result"] = call.result
    shown |= {f"toolweaver.tag.{name}": value for name, value in call.tags.items()}
    return {name: value for name, value in shown.items() if value is not None}
