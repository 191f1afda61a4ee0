"""One trace through two processes over HTTP, with OpenTelemetry's instrumentation of httpx and ASGI between them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import free_port, wait_until

from toolweaver_monitor import monitored, setup, shutdown
from toolweaver_monitor.sinks import OpenTelemetryExporter

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("real_otlp")]

SERVER = """
import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from toolweaver_monitor import monitored, setup
from toolweaver_monitor.sinks import OpenTelemetryExporter

setup(OpenTelemetryExporter(ENDPOINT))
app = FastAPI()

@monitored("remote_ocr", cost=0.01)
async def ocr() -> str:
    return "text"

@app.get("/ocr")
async def answer() -> str:
    return await ocr()

provider = TracerProvider()
uvicorn.run(OpenTelemetryMiddleware(app, tracer_provider=provider), port=PORT, log_level="error")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    from otlp_receiver import Receiver

    receiver = Receiver()
    port = free_port()
    program = tmp_path / "server.py"
    program.write_text(f"ENDPOINT, PORT = {receiver.url!r}, {port}\n{SERVER}")
    env = {**os.environ, "TOOLWEAVER_MONITOR_SINKS": ""}
    process = subprocess.Popen([sys.executable, str(program)], env=env)
    yield receiver, f"http://127.0.0.1:{port}/ocr"
    process.terminate()
    process.wait(10)
    shutdown(5)
    receiver.stop()


def test_a_tool_here_is_the_ancestor_of_a_tool_there(server: tuple[str, str]) -> None:
    import httpx
    from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    receiver, url = server
    monitor = setup(OpenTelemetryExporter(receiver.url))
    recorded, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    client = httpx.Client(transport=SyncOpenTelemetryTransport(httpx.HTTPTransport(), tracer_provider=provider))

    @monitored("local_agent")
    def agent() -> int:
        return client.get(url, timeout=5).status_code

    for _ in range(100):
        try:
            client.get(url.replace("/ocr", "/none"))
            break
        except httpx.ConnectError:
            time.sleep(0.1)
    recorded.clear()
    assert agent() == 200
    client.close()
    assert monitor.flush(5)
    wait_until(lambda: len(receiver.spans) >= 2)
    here, there = receiver.named("execute_tool local_agent"), receiver.named("execute_tool remote_ocr")
    (request,) = recorded.get_finished_spans()
    assert request.parent is not None
    assert request.parent.span_id == int(here.span_id.hex(), 16)
    assert there.trace_id == here.trace_id
    assert there.parent_span_id not in (b"", here.span_id)  # the span of the server, a child of the client's
    provider.shutdown()
