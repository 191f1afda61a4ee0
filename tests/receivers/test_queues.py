"""One trace from a call that enqueues a job to a call in the worker that runs it: `nox -s queues`.

OpenTelemetry's instrumentation of Celery and of RQ carries `traceparent` with the job. Its spans and ours go to one
receiver.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="installed by `nox -s queues`")
from helpers import OURS, wait_until
from otlp_receiver import Receiver

ARRIVE_S = 60.0
SETUP = """
import os
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from toolweaver_monitor import get_monitor, monitored, setup, track
from toolweaver_monitor.sinks import OpenTelemetryExporter

def begin():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(os.environ["RECEIVER"] + "/v1/traces")))
    trace.set_tracer_provider(provider)
    setup(OpenTelemetryExporter(os.environ["RECEIVER"]))

@monitored("queued_ocr", cost=0.01)
def ocr():
    return "text"
"""
CELERY = """
from celery import Celery
from celery.signals import worker_process_init
from opentelemetry.instrumentation.celery import CeleryInstrumentor

folder = os.environ["FOLDER"]
for name in ("in", "processed"):
    os.makedirs(f"{folder}/{name}", exist_ok=True)
app = Celery("app", broker="filesystem://", broker_transport_options={
    "data_folder_in": f"{folder}/in", "data_folder_out": f"{folder}/in", "processed_folder": f"{folder}/processed",
    "control_folder": f"{folder}/control",
})
app.conf.update(task_ignore_result=True)

@app.task
def work():
    ocr()

@worker_process_init.connect
def start(**_):
    begin()
    CeleryInstrumentor().instrument()
"""
SEND_BY_CELERY = """
import app
app.start()
with app.track("enqueues"):
    app.work.delay()
"""
RQ = """
from opentelemetry_instrumentation_rq import RQInstrumentor
from redis import Redis
from rq import Queue

begin()
RQInstrumentor().instrument()
jobs = Queue(connection=Redis(port=int(os.environ["REDIS"])))

def work():
    ocr()
    get_monitor().flush(5)  # RQ leaves the process of a job by os._exit
"""
SEND_BY_RQ = """
import app
with app.track("enqueues"):
    app.jobs.enqueue(app.work)
"""
WORK_BY_RQ = """
import app
from rq import Worker
Worker([app.jobs], connection=app.jobs.connection).work(burst=True)
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def start(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program beside `app.py`; those that still run are ended after the test."""
    programs: list[subprocess.Popen[bytes]] = []
    env = os.environ | {
        "PYTHONPATH": f"{OURS}{os.pathsep}{tmp_path}", "FOLDER": str(tmp_path), "RECEIVER": receiver.url,
        "C_FORCE_ROOT": "1", "TOOLWEAVER_MONITOR_SINKS": "",
    }  # fmt: skip

    def started(*command: str, **more: str) -> subprocess.Popen[bytes]:
        programs.append(subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=env | more))
        return programs[-1]

    yield started
    for program in programs:
        program.terminate()
        program.wait(30)


def ancestors(receiver: Receiver, name: str) -> list[str]:
    """The names of the spans around one, the innermost first."""
    spans = {span.span_id: span for span in receiver.spans}
    span, found = receiver.named(name), []
    while span.parent_span_id:
        span = spans[span.parent_span_id]
        found.append(span.name)
    return found


def arrived(receiver: Receiver) -> Callable[[], Any]:
    def look() -> bool:
        names = {span.name for span in receiver.spans}
        return {"execute_tool enqueues", "execute_tool queued_ocr"} <= names

    return look


def test_a_job_of_celery_is_in_the_trace_of_who_sent_it(
    start: Callable[..., subprocess.Popen[bytes]], receiver: Receiver, tmp_path: Path
) -> None:
    """Sent by one process, run by a prefork worker."""
    if find_spec("opentelemetry.instrumentation.celery") is None:
        pytest.skip("installed by `nox -s queues`")
    (tmp_path / "app.py").write_text(SETUP + CELERY)
    start("-m", "celery", "-A", "app", "worker", "-c", "1", "--loglevel", "warning")
    assert start("-c", SEND_BY_CELERY).wait(60) == 0
    wait_until(arrived(receiver), ARRIVE_S)
    assert ancestors(receiver, "execute_tool queued_ocr") == [
        "run/app.work", "apply_async/app.work", "execute_tool enqueues",
    ]  # fmt: skip


def test_a_job_of_rq_is_in_the_trace_of_who_sent_it(
    start: Callable[..., subprocess.Popen[bytes]], receiver: Receiver, tmp_path: Path
) -> None:
    """Sent by one process, run by the forked child of a worker."""
    if find_spec("opentelemetry_instrumentation_rq") is None or find_spec("fakeredis") is None:
        pytest.skip("installed by `nox -s queues`")
    from fakeredis import TcpFakeServer

    redis = TcpFakeServer(("127.0.0.1", 0))
    threading.Thread(target=redis.serve_forever, daemon=True).start()
    port = str(redis.server_address[1])
    (tmp_path / "app.py").write_text(SETUP + RQ)
    assert start("-c", SEND_BY_RQ, REDIS=port).wait(60) == 0
    assert start("-c", WORK_BY_RQ, REDIS=port).wait(60) == 0
    redis.shutdown()
    redis.server_close()
    wait_until(arrived(receiver), ARRIVE_S)
    around = ancestors(receiver, "execute_tool queued_ocr")
    assert around[-1] == "execute_tool enqueues"
    assert len(around) >= 3
    assert receiver.named("execute_tool queued_ocr").trace_id == receiver.named("execute_tool enqueues").trace_id
