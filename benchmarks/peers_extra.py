"""Other libraries, each measured only if it is installed, with a sink that does nothing.

`pip install -e '.[bench]'` brings all of them but autometrics, which asks for an older prometheus_client than we do:
`pip install autometrics`, then `pip install -U prometheus-client`.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import say
from benchmarks.peers import Peer


def prometheus_async() -> Peer:
    """Its three decorators for coroutines, on the guide's metrics."""
    aio = importlib.import_module("prometheus_async.aio")
    prom = importlib.import_module("prometheus_client")
    registry = prom.CollectorRegistry()
    active = prom.Gauge("pa_active", "Running now", registry=registry)
    duration = prom.Histogram("pa_duration_seconds", "How long", ["tool_name"], registry=registry).labels("tool")
    failed = prom.Counter("pa_failed", "Failures", ["tool_name"], registry=registry).labels("tool")
    return Peer(
        "prometheus-async",
        None,
        lambda f: aio.track_inprogress(active)(aio.count_exceptions(failed)(aio.time(duration)(f))),
    )


def autometrics() -> Peer:
    """Its decorator with the Prometheus tracker."""
    found = importlib.import_module("autometrics")
    found.init(tracker="prometheus")
    return Peer("autometrics", found.autometrics, found.autometrics)


def _batches_to_nowhere() -> tuple[Any, Any]:
    """A batching span processor whose exporter does nothing, and the exporter."""
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    base: Any = export.SpanExporter

    class Nowhere(base):  # type: ignore[misc]
        def export(self, _spans: object) -> object:
            return export.SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

        def force_flush(self, _timeout_millis: int = 30_000) -> bool:
            return True

    exporter = Nowhere()
    return export.BatchSpanProcessor(exporter, max_queue_size=65_536), exporter


def opentelemetry() -> Peer:
    """A span a call, batched; the queue is large enough that nothing is dropped."""
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    processor, _ = _batches_to_nowhere()
    provider = sdk.TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("benchmarks")

    def wrap(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> object:
            with tracer.start_as_current_span("execute_tool tool"):
                return function(*args, **kwargs)

        return wrapper

    def wrap_async(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> object:
            with tracer.start_as_current_span("execute_tool tool"):
                return await function(*args, **kwargs)

        return wrapper

    return Peer("opentelemetry", wrap, wrap_async, provider.force_flush)


def logfire() -> Peer:
    """`logfire.instrument`, nothing sent."""
    found = importlib.import_module("logfire")
    processor, _ = _batches_to_nowhere()
    found.configure(
        send_to_logfire=False,
        console=False,
        metrics=False,
        additional_span_processors=[processor],
        inspect_arguments=False,
    )
    wrap = found.instrument("tool", extract_args=False)
    return Peer("logfire", wrap, wrap, processor.force_flush, 2_000)


def langfuse() -> Peer:
    """`langfuse.observe` with an exporter that does nothing, no arguments or results captured."""
    os.environ["LANGFUSE_TRACING_ENABLED"] = "true"
    logging.getLogger("langfuse").setLevel(logging.CRITICAL)
    found = importlib.import_module("langfuse")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    _, exporter = _batches_to_nowhere()
    client = found.Langfuse(
        public_key="pk-lf-benchmark",
        secret_key="sk-lf-benchmark",
        host="http://127.0.0.1:9",
        tracer_provider=sdk.TracerProvider(),
        span_exporter=exporter,
    )
    wrap = found.observe(name="tool", capture_input=False, capture_output=False)
    return Peer("langfuse", wrap, wrap, client.flush, 2_000)


def _one_line(log: Callable[..., object]) -> Callable[[Any], Any]:
    """A decorator that writes one log line a call."""

    def wrap(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> object:
            began = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                log("tool call", tool_name="tool", duration_s=perf_counter() - began)

        return wrapper

    return wrap


def _one_line_async(log: Callable[..., object]) -> Callable[[Any], Any]:
    def wrap(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> object:
            began = perf_counter()
            try:
                return await function(*args, **kwargs)
            finally:
                log("tool call", tool_name="tool", duration_s=perf_counter() - began)

        return wrapper

    return wrap


def structlog() -> Peer:
    """One JSON line a call into the null device."""
    found = importlib.import_module("structlog")
    null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open for the life of the process
    log = found.wrap_logger(
        found.PrintLogger(null),
        processors=[found.processors.TimeStamper(fmt="iso"), found.processors.JSONRenderer()],
    ).info
    return Peer("structlog", _one_line(log), _one_line_async(log))


def loguru() -> Peer:
    """One line a call into the null device."""
    found = importlib.import_module("loguru")
    found.logger.remove()
    found.logger.add(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open for the life of the process
    log = found.logger.info
    return Peer("loguru", _one_line(log), _one_line_async(log))


MAKERS = (prometheus_async, autometrics, opentelemetry, logfire, langfuse, structlog, loguru)

_made: list[Peer] = []
_missing: list[str] = []


def installed() -> list[Peer]:
    """The peers that could be made, once a process."""
    if not _made and not _missing:
        for make in MAKERS:
            try:
                _made.append(make())
            except Exception as error:  # noqa: BLE001 - whatever keeps a peer from starting leaves it out
                _missing.append(make.__name__)
                say(f"  without {make.__name__}: {type(error).__name__}: {error}"[:150])
    return _made
