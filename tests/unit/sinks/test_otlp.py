"""Calls as spans and measurements, sent over OTLP/HTTP to a real receiver and read back there.

The names are those of the conventions' releases that `sinks/_otlp/conventions.py` tells.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Usage, current_call, monitored, setup, shutdown, track
from toolweaver_monitor._instrument.tagged import tagged
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import OpenTelemetryExporter, SQLiteStore

pytest.importorskip("opentelemetry.sdk", reason="needs pip install 'toolweaver_monitor[otlp]'")
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_receiver import Receiver, attributes

ERROR = 2
INTERNAL, CLIENT = 1, 3


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    shutdown(5)
    made.stop()


@pytest.fixture
def others() -> Iterator[tuple[trace.Tracer, InMemorySpanExporter]]:
    """The tracer of another instrumentation, and what it has recorded."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("others"), exporter
    provider.shutdown()


@monitored("otlp_ocr", cost=0.01)
def ocr(fails: bool = False) -> str:
    if fails:
        raise ValueError("no page in the scan")
    return "text"


@monitored("otlp_llm")
def llm() -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"model": "gpt-4o", "provider": "openai", "cost": 0.02, "usage": usage}


def test_a_tool_is_a_span_with_its_times_cost_and_tags(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))
    before = time.time_ns()
    with track("otlp_block", customer="acme") as call:
        call.record(tokens=7, cost=0.25)
        time.sleep(0.02)
    assert monitor.flush()
    span = receiver.named("execute_tool otlp_block")
    assert span.kind == INTERNAL
    assert span.span_id.hex() == f"{call.call_id:016x}"
    assert span.trace_id.hex() == f"{call.trace_id:032x}"
    assert abs(span.start_time_unix_nano - before) < 5e7
    assert span.end_time_unix_nano - span.start_time_unix_nano == pytest.approx(call.duration_s * 1e9, abs=1_000)
    assert attributes(span) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "otlp_block",
        "gen_ai.tool.type": "function",
        "toolweaver.outcome": "success",
        "toolweaver.usage.unsplit_tokens": 7,
        "toolweaver.cost.amount": 0.25,
        "toolweaver.cost.currency": "USD",
        "toolweaver.cost.source": "reported",
        "toolweaver.tag.customer": "acme",
    }


def test_only_a_model_call_has_usage_of_the_conventions(receiver: Receiver) -> None:
    """The agent around it hands the same figures on, and they are in no sum twice."""
    monitor = setup(OpenTelemetryExporter(receiver.url))

    @monitored("otlp_agent")
    def agent() -> dict[str, Any]:
        return llm()

    agent()
    assert monitor.flush()
    chat = receiver.named("chat gpt-4o")
    assert chat.kind == CLIENT
    told = attributes(chat)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (10, 5)
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("openai", "gpt-4o")
    assert told["gen_ai.tool.name"] == "otlp_llm"
    agents = receiver.named("execute_tool otlp_agent")
    assert chat.parent_span_id == agents.span_id
    assert not [name for name in attributes(agents) if "usage" in name or "cost" in name or "model" in name]


def test_a_block_that_records_what_a_call_inside_told_is_no_second_model_call(receiver: Receiver) -> None:
    """Its own call of a model, beside those inside, is one."""
    monitor = setup(OpenTelemetryExporter(receiver.url))
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    for name, used in (("otlp_same", usage), ("otlp_own", {"prompt_tokens": 7, "completion_tokens": 2})):
        with track(name) as call:
            llm()
            call.record(usage=used, model="gpt-4o", provider="openai")
    assert monitor.flush()
    told = [attributes(span) for span in receiver.spans if span.name == "chat gpt-4o"]
    assert [each["gen_ai.tool.name"] for each in told] == ["otlp_llm", "otlp_llm", "otlp_own"]
    assert [each["gen_ai.usage.input_tokens"] for each in told] == [10, 10, 7]
    same = attributes(receiver.named("execute_tool otlp_same"))
    assert same["toolweaver.usage.input_tokens"] == 10


def test_a_tool_that_tells_a_model_and_unsplit_tokens_is_no_model_call(receiver: Receiver) -> None:
    """It tells them to have a price, as a tool that does more than to call a model."""
    monitor = setup(OpenTelemetryExporter(receiver.url))
    with track("otlp_tool") as call:
        call.record(model="gpt-4o", provider="openai", tokens=15)
    assert monitor.flush()
    assert attributes(receiver.named("execute_tool otlp_tool"))["toolweaver.usage.model"] == "gpt-4o"


def test_spans_are_parents_and_children_of_calls(
    receiver: Receiver, others: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    """Request span, call, span inside it, call inside that: one trace, each the parent of the next."""
    tracer, recorded = others
    monitor = setup(OpenTelemetryExporter(receiver.url))
    with tracer.start_as_current_span("request"), track("otlp_outer"), tracer.start_as_current_span("query"):
        ocr()
    ocr()
    assert monitor.flush()
    theirs = {span.name: span for span in recorded.get_finished_spans()}
    outer = receiver.named("execute_tool otlp_outer")
    inner, alone = (span for span in receiver.spans if span.name == "execute_tool otlp_ocr")
    assert outer.parent_span_id == theirs["request"].context.span_id.to_bytes(8, "big")
    assert theirs["query"].parent.span_id == int(outer.span_id.hex(), 16)
    assert inner.parent_span_id == theirs["query"].context.span_id.to_bytes(8, "big")
    traces = {inner.trace_id, outer.trace_id, *(span.context.trace_id.to_bytes(16, "big") for span in theirs.values())}
    assert len(traces) == 1
    assert alone.parent_span_id == b""
    assert alone.trace_id not in traces


def test_our_own_tree_is_the_same_with_spans_between(
    receiver: Receiver, others: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    """Paths, roots and tags know nothing of spans, also with a block of tags around or inside a span."""
    tracer, _ = others
    monitor = setup(OpenTelemetryExporter(receiver.url))
    with tracer.start_as_current_span("request"), tagged(customer="initech"), track("otlp_way"):
        with tracer.start_as_current_span("query"):
            ocr()
        assert current_call().tool_name == "otlp_way"
    (path,) = [line for line in monitor.tree().folded("calls").splitlines() if "otlp_ocr" in line]
    assert path == "otlp_way;otlp_ocr 1"
    told = monitor.costs.by_tag("customer")["initech"]
    assert (told["calls"], told["cost_usd"]) == (2, pytest.approx(0.01))
    assert [root["tool_name"] for root in monitor.costs.roots()] == ["otlp_way"]


def test_a_store_beside_it_knows_the_trace(
    receiver: Receiver, others: tuple[trace.Tracer, InMemorySpanExporter], tmp_path: Path
) -> None:
    tracer, _ = others
    monitor = setup(OpenTelemetryExporter(receiver.url), SQLiteStore(tmp_path / "runs.db"))
    with tracer.start_as_current_span("request"), track("otlp_stored") as call:
        ocr()
    ocr()
    assert monitor.flush()
    with StoreReader(tmp_path / "runs.db") as store:
        alone, outer, inner = store.calls(limit=None)
    assert inner.more == outer.more == {"otel_trace_id": f"{call.trace_id:032x}"}
    assert alone.more == {}
    assert (inner.parent, inner.root) == (outer.id, outer.id)


async def test_tasks_keep_their_parents_apart(
    receiver: Receiver, others: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    tracer, recorded = others
    monitor = setup(OpenTelemetryExporter(receiver.url))

    @monitored("otlp_async")
    async def tool(number: int) -> str:
        with tracer.start_as_current_span(f"inside {number}"):
            await asyncio.sleep(0.001)
        return f"{current_call().call_id:016x}"

    made = await asyncio.gather(*(tool(number) for number in range(20)))
    parents = {span.name: f"{span.parent.span_id:016x}" for span in recorded.get_finished_spans() if span.parent}
    assert parents == {f"inside {number}": call_id for number, call_id in enumerate(made)}
    assert monitor.flush()


def test_headers_sent_inside_a_call_name_it(receiver: Receiver) -> None:
    """What a propagator injects; and a header that came in is the parent, whose decision to sample holds."""
    monitor = setup(OpenTelemetryExporter(receiver.url))
    sent: dict[str, str] = {}
    with track("otlp_client") as call:
        propagate.inject(sent)
    assert sent["traceparent"] == f"00-{call.trace_id:032x}-{call.call_id:016x}-01"
    for flag in ("01", "00"):
        came = propagate.extract({"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-{flag}"})
        token = otel_context.attach(came)
        with track(f"otlp_server_{flag}") as served:
            propagate.inject(sent)
        otel_context.detach(token)
        assert served.trace_id == 0xABC
        assert sent["traceparent"] == f"00-{0xABC:032x}-{served.call_id:016x}-{flag}"
    assert monitor.flush()
    assert receiver.named("execute_tool otlp_server_01").parent_span_id.hex() == f"{0xDEF:016x}"
    assert not [span for span in receiver.spans if span.name == "execute_tool otlp_server_00"]


def test_a_context_handed_to_a_thread_keeps_the_call_as_parent(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))

    def work(context: otel_context.Context) -> None:
        token = otel_context.attach(context)
        ocr()
        otel_context.detach(token)

    with track("otlp_pool") as call:
        thread = threading.Thread(target=work, args=(otel_context.get_current(),))
        thread.start()
        thread.join()
    assert monitor.flush()
    assert receiver.named("execute_tool otlp_ocr").parent_span_id.hex() == f"{call.call_id:016x}"


@pytest.mark.parametrize(
    ("raised", "told"), [(ValueError("bad"), "ValueError"), (TimeoutError(), "timeout"), (KeyError("k"), "KeyError")]
)
def test_errors_have_the_types_of_the_conventions(receiver: Receiver, raised: Exception, told: str) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))
    with pytest.raises(type(raised)), track("otlp_bad"):
        raise raised
    assert monitor.flush()
    span = receiver.named("execute_tool otlp_bad")
    assert attributes(span)["error.type"] == told
    assert span.status.code == ERROR


def test_rejections_and_told_failures_have_types_of_their_own(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url), budget=Budget(limit_usd=0.005))
    with pytest.raises(BudgetExceeded):
        ocr()
    with track("otlp_told") as call:
        call.fail("nothing found")
    assert monitor.flush()
    assert attributes(receiver.named("execute_tool otlp_ocr"))["error.type"] == "budget_exceeded"
    told = receiver.named("execute_tool otlp_told")
    assert (attributes(told)["error.type"], told.status.message) == ("tool_error", "nothing found")


def test_measurements_equal_what_the_program_did(receiver: Receiver) -> None:
    setup(OpenTelemetryExporter(receiver.url))
    for _ in range(3):
        llm()
    for fails in (False, True):
        try:
            ocr(fails)
        except ValueError:
            pass
    shutdown(5)
    points = {
        name: [(attributes(point), point) for point in (metric.histogram.data_points or metric.sum.data_points)]
        for name, metric in receiver.metrics.items()
    }
    durations = {
        (told["gen_ai.tool.name"], told.get("error.type")): point.count
        for told, point in points["gen_ai.execute_tool.duration"]
    }
    assert durations == {("otlp_llm", None): 3, ("otlp_ocr", None): 1, ("otlp_ocr", "ValueError"): 1}
    ((_, point),) = points["gen_ai.client.inference.duration"]
    assert point.count == 3
    assert list(point.explicit_bounds) == [pytest.approx(0.01 * 2**power) for power in range(14)]
    ((_, inputs),) = points["gen_ai.client.inference.usage.input_tokens"]
    assert inputs.as_int == 30
    costs = {told["gen_ai.tool.name"]: point.as_double for told, point in points["toolweaver.cost"]}
    assert costs == {"otlp_llm": pytest.approx(0.06), "otlp_ocr": pytest.approx(0.01)}


def test_histograms_are_exponential_if_the_environment_says_so(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's variable stands above the explicit buckets. Seen red: without the variable."""
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(name, "base2_exponential_bucket_histogram")
    setup(OpenTelemetryExporter(receiver.url))
    for _ in range(3):
        ocr()
    shutdown(5)
    metric = receiver.metrics["gen_ai.execute_tool.duration"]
    (point,) = metric.exponential_histogram.data_points
    assert (metric.WhichOneof("data"), point.count) == ("exponential_histogram", 3)


def test_an_earlier_release_has_its_names(receiver: Receiver) -> None:
    setup(OpenTelemetryExporter(receiver.url, conventions="semconv-1.41.0"))
    llm()
    shutdown(5)
    assert "gen_ai.client.operation.duration" in receiver.metrics
    usage = receiver.metrics["gen_ai.client.token.usage"].histogram.data_points
    assert {attributes(point)["gen_ai.token.type"]: point.sum for point in usage} == {"input": 10, "output": 5}


def test_the_programs_own_providers_are_used(others: tuple[trace.Tracer, InMemorySpanExporter]) -> None:
    recorded, provider, reader = InMemorySpanExporter(), TracerProvider(), InMemoryMetricReader()
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    meters = MeterProvider([reader])
    monitor = setup(OpenTelemetryExporter(tracer_provider=provider, meter_provider=meters))
    ocr()
    assert monitor.flush()
    (span,) = recorded.get_finished_spans()
    assert span.name == "execute_tool otlp_ocr"
    data = reader.get_metrics_data()
    assert data is not None
    assert any(metric.name == "toolweaver.cost" for metric in data.resource_metrics[0].scope_metrics[0].metrics)
    shutdown(5)
    with provider.get_tracer("mine").start_as_current_span("still works"):
        pass
    assert len(recorded.get_finished_spans()) == 2
    provider.shutdown()
    meters.shutdown()


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_for_good_is_counted_at_once_and_said(receiver: Receiver, status: int) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))
    receiver.answers = [status]
    ocr()
    monitor.flush(5)
    state = monitor.health()["sinks"]["otlp"]
    assert (state["failed"], state["delivered"], state["queued"]) == (1, 0, 0)
    assert f"HTTP {status}" in state["note"]
    ocr()
    monitor.flush(5)
    assert monitor.health()["sinks"]["otlp"]["note"] == ""
    assert len(receiver.spans) == 1


def test_a_busy_receiver_is_asked_again_when_it_says(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))
    receiver.answers = [(503, "1"), (429, "0")]
    ocr()
    started = time.monotonic()
    assert monitor.flush(10)
    assert time.monotonic() - started >= 0.9
    assert len(receiver.spans) == 1
    assert monitor.health()["sinks"]["otlp"]["delivered"] == 1


def test_no_caller_feels_a_receiver_that_is_down_or_slow(receiver: Receiver) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monitor = setup(OpenTelemetryExporter(nowhere, timeout_s=0.2))
    started = time.monotonic()
    for _ in range(100):
        ocr()
    assert time.monotonic() - started < 1
    assert not monitor.flush(1.5)
    state = monitor.health()["sinks"]["otlp"]
    assert state["emitted"] == 100 == state["failed"] + state["queued"] + state["dropped"]
    assert "gives no answer" in state["note"]
    assert monitor.summary()["count"] == 100
    receiver.delay_s = 1.0
    slow = setup(OpenTelemetryExporter(receiver.url, timeout_s=0.2))
    ocr()
    assert not slow.flush(0.5)


def test_a_forked_child_is_an_instance_of_its_own(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))
    ocr()
    assert monitor.flush()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        ocr()
        os._exit(0 if monitor.flush(5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(receiver.spans) == 2
    assert len({resource["service.instance.id"] for resource in receiver.resources}) == 2


def test_headers_and_arguments_are_checked(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url, headers={"api-key": "k"}))
    ocr()
    assert monitor.flush()
    assert receiver.headers[0]["api-key"] == "k"
    for wrong in ({"endpoint": "collector:4318"}, {"conventions": "genai-0.1"}, {"timeout_s": 0}, {"timeout_s": True}):
        with pytest.raises(ConfigurationError, match=r"give|did you mean|there are"):
            OpenTelemetryExporter(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="TracerProvider"):
        OpenTelemetryExporter(tracer_provider=trace.NoOpTracerProvider())


@pytest.mark.parametrize(
    "headers", [{"api-key": "sesame\nopen"}, {"api-key": " sesame "}, {"api-key": 7}, {"api key": "k"}, {"": "k"}]
)
def test_a_header_that_cannot_be_sent_is_an_error_at_once(headers: dict[str, Any]) -> None:
    """And its value, which may be a key, is in no message. Seen red: it was known by calls that failed, later."""
    with pytest.raises(ConfigurationError, match=r"give (one such|printable)") as raised:
        OpenTelemetryExporter(headers=headers)
    assert "sesame" not in str(raised.value)


def test_a_certificate_that_is_not_trusted_is_named(receiver: Receiver, tmp_path: Path, require_program: Any) -> None:
    """The calls are counted as failed, and the note has the cure. Seen red: it said that there is no answer."""
    require_program("openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 2 -subj /CN=localhost"
    subprocess.run([*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    receiver.serve_tls(str(cert), str(key))
    monitor = setup(OpenTelemetryExporter(receiver.url, timeout_s=0.5))
    ocr()
    assert not monitor.flush(3)
    state = monitor.health()["sinks"]["otlp"]
    assert state["emitted"] == 1 == state["failed"] + state["queued"]
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in state["note"]
    assert receiver.spans == []


def test_after_the_end_spans_are_as_before(
    receiver: Receiver, others: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    tracer, recorded = others
    setup(OpenTelemetryExporter(receiver.url))
    token = otel_context.attach(otel_context.get_current())
    shutdown(5)
    otel_context.detach(token)
    setup()
    with track("otlp_after"), tracer.start_as_current_span("free"):
        ocr()
    (span,) = recorded.get_finished_spans()
    assert span.parent is None


def test_usage_of_a_stream_has_its_first_chunk(receiver: Receiver) -> None:
    monitor = setup(OpenTelemetryExporter(receiver.url))

    @monitored("otlp_stream", usage=lambda _: Usage(input_tokens=3, output_tokens=2, model="m-1", provider="p"))
    def stream() -> Iterator[str]:
        yield from "ab"

    assert list(stream()) == ["a", "b"]
    assert monitor.flush()
    (span,) = receiver.spans
    first = attributes(span).get("gen_ai.response.time_to_first_chunk")
    assert first is None or (first >= 0 and not math.isnan(first))
