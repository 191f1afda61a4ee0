"""Where spans and measurements go: the providers of the program, or an OTLP/HTTP exporter of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import requests
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import ToolweaverMonitorError
from toolweaver_monitor.sinks._otlp import runtime_context
from toolweaver_monitor.sinks._otlp.conventions import Conventions
from toolweaver_monitor.sinks._otlp.mcp_requests import has_no_span
from toolweaver_monitor.sinks._otlp.metrics import Instruments
from toolweaver_monitor.sinks._otlp.spans import as_span

RETRYABLE = (408, 429, 502, 503, 504)
"""Statuses after which the OTLP specification has a request tried again; other errors of 400 and above are final."""

NO_PARENT = Context()


class NotAccepted(ToolweaverMonitorError):
    """A batch of spans that the receiver did not take."""

    is_final = False
    """Whether it is useless to send the batch again."""


class _Session(requests.Session):
    """The connection to the receiver, which remembers how the last request ended."""

    status: int | None = None
    is_untrusted = False
    """No TLS connection could be made."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        self.status, self.is_untrusted = None, False
        try:
            response = super().send(request, **options)
        except requests.exceptions.SSLError:
            self.is_untrusted = True
            raise
        self.status = response.status_code
        return response


class Pipeline:
    """What one process sends with.

    Args:
        release: the names to use.
        tracer_provider: gets the spans; None for the program's, or one made here.
        meter_provider: gets the measurements; None for the program's, or one made here.
        endpoint: the collector; None for what the environment says.
        headers: of each request.
        timeout_s: seconds that a request may take.
        instance: `service.instance.id` of what is made here.
    """

    def __init__(
        self,
        release: Conventions,
        tracer_provider: Any,
        meter_provider: Any,
        *,
        endpoint: str | None,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        instance: str,
    ) -> None:
        self._session = _Session()
        self._exporter: OTLPSpanExporter | None = None
        self._own_meters: MeterProvider | None = None
        given = {"headers": None if headers is None else dict(headers), "timeout": timeout_s}
        resource = Resource.create({"service.instance.id": instance})
        if endpoint is None:
            tracer_provider = tracer_provider or _program_s(trace.get_tracer_provider(), TracerProvider)
            meter_provider = meter_provider or _program_s(metrics.get_meter_provider(), MeterProvider)
        if tracer_provider is None:
            tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            address = None if endpoint is None else f"{endpoint}/v1/traces"
            self._exporter = OTLPSpanExporter(address, session=self._session, **given)  # type: ignore[arg-type]
        if meter_provider is None:
            address = None if endpoint is None else f"{endpoint}/v1/metrics"
            exporter = OTLPMetricExporter(address, **given)  # type: ignore[arg-type]
            reader = PeriodicExportingMetricReader(exporter)
            meter_provider = self._own_meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._tracers = tracer_provider
        self._meters = meter_provider
        self.instruments = Instruments(meter_provider, release)
        self.target = "the program's provider" if self._exporter is None else self._exporter._endpoint
        self._contexts = runtime_context.install()
        self._contexts.is_sampled = self._is_sampled
        self._contexts.processor = None if self._exporter else tracer_provider._active_span_processor

    def _is_sampled(self, trace_id: int) -> bool:
        decision = self._tracers.sampler.should_sample(NO_PARENT, trace_id, "execute_tool").decision
        return bool(decision is Decision.RECORD_AND_SAMPLE)

    def send(self, calls: Sequence[ToolCall]) -> None:
        """Send the spans of closed calls, without those that are not sampled or that have none of their own.

        Raises:
            NotAccepted: they were refused, or not taken for as long as a request may take with its repetitions.
        """
        contexts, resource = self._contexts, self._tracers.resource
        spans = [
            as_span(call, contexts.own_context(call), contexts.parent_of(call), resource)
            for call in calls
            if contexts.flags_of(call) and not has_no_span(call)
        ]
        if self._exporter is None:
            for span in spans:
                self._tracers._active_span_processor.on_end(span)
        elif spans:
            self._export(spans)

    def probe(self) -> None:
        """Ask the receiver for an answer, with no span.

        Raises:
            NotAccepted: there is none, or a refusal.
        """
        self._export(())

    def _export(self, spans: Sequence[ReadableSpan]) -> None:
        session = self._session
        session.status, session.is_untrusted = None, False
        with suppress(requests.RequestException):  # of exporters before 1.40, if nothing listens
            if self._exporter is None or self._exporter.export(spans) is SpanExportResult.SUCCESS:
                return
        status, cure = session.status, _cure(session.status)
        answer = "gives no answer" if status is None else f"answers with HTTP {status}"
        if session.is_untrusted:
            answer = "has a certificate that is not trusted, or does not speak TLS"
            cure = "give its CA's certificate in OTEL_EXPORTER_OTLP_CERTIFICATE, or http:// if it does not speak TLS"
        error = NotAccepted(f"{self.target} {answer}", hint=cure)
        error.is_final = status is not None and status >= 400 and status not in RETRYABLE
        raise error

    def flush(self) -> None:
        """Send what providers keep back."""
        if self._exporter is None:
            self._tracers.force_flush()
        self._meters.force_flush()

    def close(self) -> None:
        """Send the measurements and end what was made here."""
        self._contexts.is_sampled = self._contexts.processor = None
        if self._exporter is None:
            self._tracers.force_flush()
        else:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
        if self._own_meters is not None:
            self._own_meters.shutdown()
        else:
            self._meters.force_flush()


def _program_s(provider: Any, kind: type[Any]) -> Any:
    """Return the provider that the program has set, or None if it is not one of the SDK."""
    return provider if isinstance(provider, kind) else None


def _cure(status: int | None) -> str:
    if status is None:
        return "check endpoint= or OTEL_EXPORTER_OTLP_ENDPOINT, and that a collector listens there"
    if status in (401, 403):
        return "check the key in headers= or OTEL_EXPORTER_OTLP_HEADERS"
    if status == 404:
        return "check endpoint= or OTEL_EXPORTER_OTLP_ENDPOINT: /v1/traces is added to it"
    return "see the log of the receiver"
