"""The adapters of OpenTelemetry and logfire. Both create spans, which an exporter in memory keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from .base import Peer, Seen


class OpenTelemetry(Peer):
    title = "OpenTelemetry `start_as_current_span()`"
    distribution = "opentelemetry-sdk"

    def start(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("conformance")

    def decorate(self, name: str) -> Callable[[Any], Any]:
        return self.tracer.start_as_current_span(name)

    def block(self, name: str) -> Any:
        return self.tracer.start_as_current_span(name)

    def say(self, **what: Any) -> None:
        trace.get_current_span().set_attributes(what)

    def seen(self) -> list[Seen]:
        return [
            Seen(
                span.name,
                "success" if span.status.is_ok or span.status.is_unset else "failure",
                (span.end_time - span.start_time) / 1e9,
                call_id=span.context.span_id,
                parent_id=span.parent.span_id if span.parent else None,
                trace_id=span.context.trace_id,
                said=dict(span.attributes),
            )
            for span in self.exporter.get_finished_spans()
        ]


class Logfire(OpenTelemetry):
    title = "logfire `instrument()`"
    distribution = "logfire"

    def start(self) -> None:
        import logfire

        self.exporter = InMemorySpanExporter()
        logfire.configure(
            send_to_logfire=False,
            console=False,
            additional_span_processors=[SimpleSpanProcessor(self.exporter)],
        )

    def decorate(self, name: str) -> Callable[[Any], Any]:
        import logfire

        return logfire.instrument(name)

    def decorate_bare(self, function: Any) -> Any:
        import logfire

        return logfire.instrument(function)

    def block(self, name: str) -> Any:
        import logfire

        return logfire.span(name)

    def seen(self) -> list[Seen]:
        return [call for call in super().seen() if call.said.get("logfire.span_type") != "pending_span"]
