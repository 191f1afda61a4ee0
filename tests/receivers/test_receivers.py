"""What real receivers of OTLP show of a program, beside what it did: `nox -s receivers`.

rotel, a collector, passes spans and measurements on to the receiver of the other tests. Arize Phoenix stores spans, and
is asked for them by its own HTTP interface.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, ToolCall, monitored, setup, shutdown, track
from toolweaver_monitor.sinks import OpenTelemetryExporter

pytest.importorskip("opentelemetry.sdk", reason="installed by `nox -s receivers`")
from helpers import free_port, wait_until
from otlp_receiver import Receiver, attributes

READY_S, ARRIVE_S = 180.0, 60.0


class Seen(NamedTuple):
    """A span, as the program knows it and as a receiver shows it."""

    name: str
    parent: str
    start_us: int
    took_us: int
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    error: str | None
    has_failed: bool


def needs(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is installed by `nox -s receivers`")


@contextmanager
def running(command: list[str], port: int, log: Path, **env: str) -> Iterator[None]:
    """A server, once it takes connections."""

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with log.open("wb") as file:
        process = subprocess.Popen(command, env=os.environ | env, stdout=file, stderr=file, cwd=log.parent)
    try:
        wait_until(answers, READY_S)
        yield
    finally:
        process.terminate()
        process.wait(30)


def run_program(endpoint: str) -> tuple[dict[str, Seen], list[ToolCall]]:
    """Let agents call models and tools, some of which fail, and return what they did, by the ids of the calls."""
    calls: list[ToolCall] = []

    @monitored("rx_llm")
    def llm(n: int) -> dict[str, Any]:
        time.sleep(0.001 * n)
        usage = {"prompt_tokens": 100 + n, "completion_tokens": n}
        return {"model": "gpt-4o", "provider": "openai", "cost": 0.002 * n, "usage": usage}

    @monitored("rx_ocr", cost=0.01)
    def ocr(n: int) -> str:
        if n % 3 == 0:
            raise (TimeoutError if n % 2 else ValueError)(f"page {n}")
        return "text"

    @monitored("rx_agent")
    def agent(n: int) -> dict[str, Any]:
        with track("rx_step", page=str(n)) as step:
            step.record(tokens=n)
            try:
                ocr(n)
            except (TimeoutError, ValueError):
                pass
        return llm(n)

    @monitored("rx_dear", cost=0.01)
    def dear() -> None: ...

    setup(calls.append, OpenTelemetryExporter(endpoint), budget=Budget(limit_usd=0.015, tool="rx_dear", per="run"))
    for n in range(1, 13):
        agent(n)
    for _ in range(3):
        try:
            dear()
        except BudgetExceeded:
            pass
    shutdown(30)
    by_id = {f"{call.call_id:016x}": expected(call) for call in calls}
    assert len(by_id) == 12 * 4 + 3
    return by_id, calls


def expected(call: ToolCall) -> Seen:
    is_chat = call.tool_name == "rx_llm"
    errors = {"timeout": "timeout", "rejected": "budget_exceeded", "failure": call.error_type}
    return Seen(
        f"chat {call.model}" if is_chat else f"execute_tool {call.tool_name}",
        f"{call.parent_id:016x}" if call.parent_id is not None else "",
        int(call.started_at * 1e6),
        int(call.duration_s * 1e6),
        call.input_tokens if is_chat else None,
        call.output_tokens if is_chat else None,
        call.cost_usd,
        errors.get(call.outcome),
        call.outcome in errors,
    )


def assert_same(shown: dict[str, Seen], done: dict[str, Seen]) -> None:
    """Times within 2 us, money within a nanodollar, all else equal."""
    assert shown.keys() == done.keys()
    for key, one in done.items():
        other = shown[key]
        exact = one._replace(start_us=0, took_us=0, cost=None)
        assert other._replace(start_us=0, took_us=0, cost=None) == exact
        assert abs(other.start_us - one.start_us) <= 2
        assert abs(other.took_us - one.took_us) <= 2
        assert (other.cost is None) == (one.cost is None)
        assert math.isclose(other.cost or 0.0, one.cost or 0.0, abs_tol=1e-9)
    assert sum(span.input_tokens or 0 for span in shown.values()) == sum(100 + n for n in range(1, 13))
    assert sum(span.has_failed for span in shown.values()) == 4 + 2


def report(name: str, done: dict[str, Seen]) -> None:
    cost = sum(span.cost or 0.0 for span in done.values())
    tokens = sum((span.input_tokens or 0) + (span.output_tokens or 0) for span in done.values())
    errors = sum(span.has_failed for span in done.values())
    print(f"\n{name}: {len(done)} spans, {tokens} tokens, ${cost:.4f}, {errors} errors, all as the program did")


def of_span(told: dict[str, Any], *parts: Any) -> Seen:
    """A span as a receiver has it: name, parent, start and duration in microseconds, whether it is an error."""
    name, parent, start_us, took_us, has_failed = parts
    return Seen(
        name,
        parent,
        start_us,
        took_us,
        told.get("gen_ai.usage.input_tokens"),
        told.get("gen_ai.usage.output_tokens"),
        told.get("toolweaver.cost.amount"),
        told.get("error.type"),
        has_failed,
    )


def test_a_collector_passes_on_what_the_program_did(tmp_path: Path) -> None:
    """Spans, counts, durations, tokens and money, through rotel.

    Seen red: with the parents' ids left out of the spans.
    """
    needs("rotel")
    agent = Path(str(find_spec("rotel").origin)).parent / "rotel-agent"  # type: ignore[union-attr]
    port, grpc, receiver = free_port(), free_port(), Receiver()
    command = [
        str(agent), "start", "--exporter", "otlp", "--otlp-exporter-protocol", "http",
        "--otlp-exporter-endpoint", receiver.url, "--batch-timeout", "200ms",
        "--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}",
    ]  # fmt: skip
    with running(command, port, tmp_path / "log"):
        done, calls = run_program(f"http://127.0.0.1:{port}")
        wait_until(lambda: len(receiver.spans) >= len(done) and "toolweaver.cost" in receiver.metrics, ARRIVE_S)
    receiver.stop()
    shown = {
        span.span_id.hex(): of_span(
            attributes(span),
            span.name,
            span.parent_span_id.hex(),
            span.start_time_unix_nano // 1_000,
            (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000,
            span.status.code == 2,
        )
        for span in receiver.spans
    }
    assert_same(shown, done)
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    for point in receiver.metrics["gen_ai.execute_tool.duration"].histogram.data_points:
        tool = attributes(point)["gen_ai.tool.name"]
        counts[tool] = counts.get(tool, 0) + point.count
        sums[tool] = sums.get(tool, 0.0) + point.sum
    ran = [call for call in calls if call.outcome != "rejected"]
    assert counts == {tool: sum(each.tool_name == tool for each in ran) for tool in counts}
    assert sum(counts.values()) == len(ran)
    assert math.isclose(sum(sums.values()), sum(call.duration_s for call in ran), rel_tol=1e-6)
    costs = receiver.metrics["toolweaver.cost"].sum.data_points
    paid = sum(call.cost_usd or 0.0 for call in calls)
    assert math.isclose(sum(point.as_double for point in costs), paid, abs_tol=1e-9)
    report("rotel", done)


def test_phoenix_shows_what_the_program_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans as Arize Phoenix stores them, asked for by its HTTP interface. It takes no measurements.

    Seen red: with costs of a hundred times.
    """
    needs("phoenix")
    port, grpc = free_port(), free_port()
    address = f"http://127.0.0.1:{port}"
    env = {
        "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(grpc), "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_WORKING_DIR": str(tmp_path), "PHOENIX_TELEMETRY_ENABLED": "false",
    }  # fmt: skip
    monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", "500")

    def stored() -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{address}/v1/projects/default/spans?limit=1000", timeout=10) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())["data"]
                return found
        except OSError:
            return []

    with running([str(Path(sys.executable).parent / "phoenix"), "serve"], port, tmp_path / "log", **env):
        done, _ = run_program(address)
        wait_until(lambda: len(stored()) >= len(done), ARRIVE_S)
        spans = stored()
    shown = {}
    for span in spans:
        start, end = (datetime.fromisoformat(span[key]) for key in ("start_time", "end_time"))
        took_us = (end - start).total_seconds() * 1e6
        parts = (span["name"], span["parent_id"] or "", int(start.timestamp() * 1e6), round(took_us))
        shown[span["context"]["span_id"]] = of_span(span["attributes"], *parts, span["status_code"] == "ERROR")
    assert_same(shown, done)
    report("Phoenix", done)
