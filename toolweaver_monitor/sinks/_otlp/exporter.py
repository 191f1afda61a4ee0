"""The OpenTelemetry sink: every call a span, and every call measured."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._otlp.conventions import RELEASES, Release

if TYPE_CHECKING:
    from toolweaver_monitor.sinks._otlp.pipeline import Pipeline

INSTALL = "pip install 'toolweaver_monitor[otlp]'"


HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~\t]*[!-~])?)?")


class OpenTelemetryExporter:
    """A sink that sends every call to OpenTelemetry, as a span and as measurements.

    A call is a span `execute_tool {tool}`; a call that is itself a model call, with model, provider and tokens, is a
    span `chat {model}` and the only one that has `gen_ai.usage.*`, so that no token is counted twice. A span of
    OpenTelemetry that is current when a call opens is its parent; spans that begin inside a call are its children, and
    `traceparent` headers that other instrumentation sends name the call.

    It sends to the providers given here, or else to those of the program (`trace.set_tracer_provider`), or else over
    OTLP/HTTP as `OTEL_EXPORTER_OTLP_*` say; `OTEL_SERVICE_NAME` names the service.

    Args:
        endpoint: the address of a collector, such as `"http://collector:4318"`. Default: what the environment says, or
            `http://localhost:4318`.
        headers: HTTP headers of each request, such as an API key.
        timeout_s: seconds that a request may take, with those of its repetitions.
        tracer_provider: an SDK `TracerProvider` that gets the spans instead.
        meter_provider: a `MeterProvider` that gets the measurements instead.
        conventions: the release of the conventions for generative AI whose names are used.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    name = "otlp"
    max_batch = 512

    @suggest_keywords(
        url="give endpoint=",
        service_name="set OTEL_SERVICE_NAME in the environment",
        insecure="give endpoint='http://...'",
    )
    def __init__(
        self,
        endpoint: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        conventions: Release = "genai-0.1.0",
    ) -> None:
        if endpoint is not None and not str(endpoint).startswith(("http://", "https://")):
            raise ConfigurationError(f"endpoint={endpoint!r} is no address", hint="give http://host:4318")
        if conventions not in RELEASES:
            close = suggest(str(conventions), RELEASES)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(RELEASES)}"
            raise ConfigurationError(f"conventions={conventions!r} are unknown", hint=hint)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
            raise ConfigurationError(f"timeout_s={timeout_s!r} is no time", hint="give seconds above 0")
        if tracer_provider is not None and not hasattr(tracer_provider, "_active_span_processor"):
            raise ConfigurationError(
                f"tracer_provider is {type(tracer_provider).__name__}, which takes no ended spans",
                hint="give an opentelemetry.sdk.trace.TracerProvider",
            )
        self._endpoint = None if endpoint is None else endpoint.rstrip("/")
        self._headers = None if headers is None else _validate_headers(headers)
        self._timeout_s = timeout_s
        self._providers = tracer_provider, meter_provider
        self._release = RELEASES[conventions]
        self._pipeline: Pipeline | None = None
        self._pid = 0
        self._measured: Sequence[ToolCall] = ()
        self._fault = ""
        locks.after_fork_in_child_weak(self, OpenTelemetryExporter._in_child)

    def __repr__(self) -> str:
        return "OpenTelemetryExporter()" if self._endpoint is None else f"OpenTelemetryExporter({self._endpoint!r})"

    def _in_child(self) -> None:
        self._measured = ()

    def start(self) -> None:
        """Make or find the providers, and make calls and spans each other's parents.

        Raises:
            SinkUnavailable: OpenTelemetry is not installed.
        """
        try:
            from toolweaver_monitor.sinks._otlp.pipeline import Pipeline
        except ImportError as error:
            raise SinkUnavailable(f"the extra otlp is not installed ({error})", hint=INSTALL) from error
        self._pid = os.getpid()
        self._pipeline = Pipeline(
            self._release,
            *self._providers,
            endpoint=self._endpoint,
            headers=self._headers,
            timeout_s=self._timeout_s,
            instance=str(uuid.uuid4()),
        )

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Send a batch: measure it once, and send its spans.

        Raises:
            SinkUnavailable: OpenTelemetry is not installed.
            NotAccepted: the spans were not accepted. The batch is tried again, unless it is refused for good.
        """
        if self._pipeline is None or self._pid != os.getpid():  # a child is an instance of its own
            self.start()
        pipeline = self._pipeline
        if pipeline is None:
            return
        if calls is not self._measured:
            pipeline.instruments.record(calls)
            self._measured = calls
        try:
            pipeline.send(calls)
        except Exception as error:
            self._fault = str(error)
            raise
        self._measured, self._fault = (), ""

    def flush(self) -> None:
        """Send the measurements, and the spans that the program's own provider has not sent yet."""
        if self._pipeline is not None and self._pid == os.getpid():
            self._pipeline.flush()

    def close(self) -> None:
        """Send the measurements and end what was made here. The program's own providers go on."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and self._pid == os.getpid():
            pipeline.close()

    def probe(self) -> None:
        """Ask the receiver for an answer, without a call: `toolweaver-monitor doctor` does.

        Raises:
            SinkUnavailable: OpenTelemetry is not installed.
            NotAccepted: there is no answer, or a refusal; the hint is the cure.
        """
        self.start()
        if self._pipeline is not None:
            self._pipeline.probe()

    def status(self) -> dict[str, Any]:
        """Return where calls are sent to, and why the last batch was not accepted, for `health()`."""
        target = "" if self._pipeline is None else self._pipeline.target
        return {"target": target, "note": self._fault}


def _validate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers.

    Raises:
        ConfigurationError: one cannot be sent. Its value is not in the message, since it may be a key.
    """
    for name, value in headers.items():
        if not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
            raise ConfigurationError(f"headers= has the name {name!r}", hint="give one such as 'api-key'")
        if not (isinstance(value, str) and HEADER_VALUE.fullmatch(value)):
            hint = "give printable ASCII, with no line end or space around it"
            raise ConfigurationError(f"headers={{{name!r}: ...}} cannot be sent", hint=hint)
    return dict(headers)
