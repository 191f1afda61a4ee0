"""Every row of docs/reference/guide.md: what becomes of a block of ToolWeaver's guide with only its imports changed.

The statements are the public calls of the guide, written anew around a small orchestrator.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import CostTracker, ErrorTracker, MetricsCollector, instrument, setup
from toolweaver_monitor.sinks import PrometheusExporter, WandBLogger

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "guide.md"
ROWS = [line.split(" | ") for line in PAGE.read_text().splitlines() if re.match(r"\| (\d|Issue|Verification)", line)]


class Orchestrator:
    """What the guide takes for granted: tools by name, results with tokens and cost."""

    async def execute_tool(self, tool_name: str, params: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not params:
            raise ValueError("the image is empty")
        return {"text": "Coffee 3.20", "tokens_used": 800, "cost": 0.25}


def metrics_collector() -> None:
    metrics = MetricsCollector()
    assert metrics.summary()["count"] == metrics.summary()["total_operations"] == 0
    metrics.record(operation="ocr", duration=0.5, tokens=10, cost=0.25, success=True, error="")
    metrics.record("ocr", 1.5, success=False, error="blurred")
    summary = metrics.summary()
    assert (summary["total_operations"], summary["successes"], summary["failures"]) == (2, 1, 1)
    assert (summary["success_rate"], summary["avg_duration_s"]) == (0.5, 1.0)
    assert (summary["total_cost_usd"], summary["total_tokens"]) == (0.25, 10)
    assert metrics.cost_by_operation() == {"ocr": 0.25}
    assert [operation["error"] for operation in metrics.operations] == ["", "blurred"]
    metrics.operations.clear()
    assert len(metrics.operations) == 2


def execute_with_metrics() -> None:
    orchestrator, metrics = Orchestrator(), MetricsCollector()

    async def measured(tool: str, params: dict[str, Any]) -> Any:
        began = time.time()
        try:
            result = await orchestrator.execute_tool(tool, params)
        except Exception as error:
            metrics.record(operation=tool, duration=time.time() - began, success=False, error=str(error))
            raise
        tokens, cost = result.get("tokens_used", 0), result.get("cost", 0.0)
        metrics.record(operation=tool, duration=time.time() - began, tokens=tokens, cost=cost, success=True)
        return result

    assert asyncio.run(measured("ocr", {"image": "a.jpg"}))["tokens_used"] == 800
    with pytest.raises(ValueError, match="empty"):
        asyncio.run(measured("ocr", {}))
    assert (metrics.summary()["count"], metrics.summary()["failures"]) == (2, 1)


def refused(*names: str, says: str) -> Callable[[], None]:
    """Return what imports each name from both modules, and sees what to write instead."""

    def run() -> None:
        for module in ("toolweaver_monitor", "toolweaver_monitor.sinks"):
            for name in names:
                with pytest.raises(ImportError, match=f"{module} has no {name}; write .*{re.escape(says)}"):
                    exec(f"from {module} import {name}")

    return run


def names_of_prometheus_client() -> None:
    registry = importlib.import_module("prometheus_client")
    own = registry.CollectorRegistry()
    monitor = setup(PrometheusExporter(registry=own, listen=False))
    server, thread = registry.start_http_server(0, addr="127.0.0.1", registry=own)
    try:
        asyncio.run(instrument(Orchestrator()).execute_tool("ocr", {"image": "a.jpg"}))
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=5).read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert 'toolweaver_tool_executions_total{status="success",tool_name="ocr"} 1.0' in text
    monitor.shutdown()


def ask_for_metrics() -> None:
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    orchestrator = instrument(Orchestrator())
    asyncio.run(orchestrator.execute_tool("ocr", {"image": "a.jpg"}))
    with pytest.raises(ValueError, match="empty"):
        asyncio.run(orchestrator.execute_tool("ocr", {}))
    lines = urllib.request.urlopen(exporter.url, timeout=5).read().decode().splitlines()
    for found in (
        'toolweaver_tool_executions_total{tool_name="ocr",status="success"} 1',
        'toolweaver_tool_executions_total{tool_name="ocr",status="failure"} 1',
        'toolweaver_tool_cost_usd_total{tool_name="ocr"} 0.25',
        'toolweaver_tool_duration_seconds_count{tool_name="ocr"} 2',
        "toolweaver_active_operations 0",
    ):
        assert found in lines


def log_execution() -> None:
    logger = WandBLogger(project="receipt-processing")

    async def log() -> Any:
        return await logger.log_execution("ocr", {"image": "a.jpg"})

    with pytest.raises(AttributeError, match=r"write setup\(logger\) and instrument\(orchestrator\)"):
        asyncio.run(log())
    with pytest.raises(AttributeError, match=r"write logger.close\(\)"):
        logger.finish()


def wandb_program(code: str) -> Callable[[Path], None]:
    """Return what runs a program with an offline W&B, which must print `True`."""

    def run(folder: Path) -> None:
        begin = "import asyncio, wandb\nfrom tests.docs.test_guide import *\n"
        environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(folder)}
        environment["PYTHONPATH"] = str(PAGE.parents[2])
        command = [sys.executable, "-c", begin + textwrap.dedent(code)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        assert done.stdout.splitlines()[-1:] == ["True"], done.stdout + done.stderr

    return run


def cost_tracker() -> None:
    tracker = CostTracker()
    for cost in (0.10, 0.15):
        tracker.record("ocr", cost)
    tracker.record("parse", 0.5)
    assert (tracker.costs["ocr"], tracker.counts["ocr"]) == (0.25, 2)
    assert tracker.most_expensive(1) == [("parse", 0.5)]
    tracker.costs["ocr"] = 9.0
    assert tracker.costs["ocr"] == 0.25
    assert "$0.7500" in tracker.report()


def error_tracker() -> None:
    tracker = ErrorTracker()
    tracker.record_call("ocr", success=True)
    tracker.record_call("ocr", success=False, error="blurred")
    tracker.record_call("parse", success=True)
    assert (tracker.error_rate("ocr"), tracker.error_rate("unseen")) == (0.5, 0.0)
    assert [entry["error"] for entry in tracker.errors["ocr"]] == ["blurred"]
    assert tracker.errors["ocr"][0]["timestamp"] == pytest.approx(time.time(), abs=60)
    assert (tracker.total_calls["ocr"], tracker.total_calls["unseen"]) == (2, 0)
    assert "parse" not in tracker.errors
    assert "parse" in tracker.report()


def verification() -> None:
    metrics, tracker, errors = MetricsCollector(), CostTracker(), ErrorTracker()
    metrics.record("test_op", duration=1.5, tokens=100, cost=0.05)
    assert metrics.summary()["count"] == 1
    tracker.record("test_tool", 0.10)
    tracker.record("test_tool", 0.15)
    assert tracker.costs["test_tool"] == 0.25
    errors.record_call("test_tool", success=True)
    errors.record_call("test_tool", success=False, error="Test error")
    assert errors.error_rate("test_tool") == 0.5


def rotating_collector() -> None:
    refused("RotatingMetricsCollector", says="MetricsCollector(max_operations=")()
    rotating = MetricsCollector(max_operations=3)
    for number in range(5):
        rotating.record(operation=f"tool {number}", duration=0.1)
    assert [operation["operation"] for operation in rotating.operations] == ["tool 2", "tool 3", "tool 4"]
    assert rotating.summary()["count"] == 5


PIPELINE = """
class Pipeline:
    def __init__(self):
        self.metrics, self.costs, self.errors = MetricsCollector(), CostTracker(), ErrorTracker()
        self.logger = WandBLogger(project="receipt-processing")

    async def process(self, images):
        results = []
        for image in images:
            try:
                results.append(await orchestrator.execute_tool("gpt4_vision", {"image": image} if image else {}))
                self.costs.record("ocr", 0.10)
                self.errors.record_call("ocr", success=True)
            except Exception as error:
                self.errors.record_call("ocr", success=False, error=str(error))
                results.append({"error": str(error)})
        print(self.metrics.summary())
        self.costs.report()
        self.errors.report()
        self.logger.log_summary(self.metrics.summary())
        return results

monitor = setup()
orchestrator = instrument(Orchestrator())
pipeline = Pipeline()
results = asyncio.run(pipeline.process(["a.jpg", "", "b.jpg"]))
counts = (len(results), pipeline.costs.counts["ocr"], pipeline.errors.error_rate("ocr"))
print(counts == (3, 2, 1 / 3) and monitor.summary()["count"] == 3 and pipeline.metrics.summary()["count"] == 0)
"""

LOGGER = """
monitor = setup(logger := WandBLogger(project="receipt-processing", entity="team"))
orchestrator = instrument(Orchestrator())
before = logger.run
asyncio.run(orchestrator.execute_tool("ocr", {"image": "a.jpg"}))
monitor.flush(60)
print(before is None and logger.run is not None and monitor.health()["sinks"]["wandb"]["rows"] == 1)
"""

SUMMARY = """
metrics = MetricsCollector()
metrics.record("ocr", 0.5, tokens=10, cost=0.25)
logger = WandBLogger(project="receipt-processing")
logger.log_summary(metrics.summary())
written = logger.run.summary["summary/total_cost"]
logger.close()
print(written == 0.25)
"""

FINISH = """
monitor = setup(logger := WandBLogger(project="receipt-processing"))
orchestrator = instrument(Orchestrator())
for _ in range(2):
    asyncio.run(orchestrator.execute_tool("ocr", {"image": "a.jpg"}))
    monitor.flush(60)
    wandb.finish()
print(monitor.health()["sinks"]["wandb"]["rows"] == 2 and monitor.health()["ok"])
"""

SETUP = "setup(PrometheusExporter(port=8000))"
BLOCKS: dict[str, Callable[..., None]] = {
    "2.1 `MetricsCollector()`": metrics_collector,
    "2.2 `execute_with_metrics(...)`": execute_with_metrics,
    "3.2 `from ... import execute_with_prometheus`": refused(
        "execute_with_prometheus", says=f"{SETUP} and instrument(orchestrator), then orchestrator.execute_tool(...)"
    ),
    "3.2 `tool_executions`": refused(
        *("tool_executions", "tool_duration", "tool_cost", "active_operations"), says="instrument(orchestrator)"
    ),
    "3.2 `start_http_server(8000)`": names_of_prometheus_client,
    "3.3 `curl": ask_for_metrics,
    "4.2 `WandBLogger(project": wandb_program(LOGGER),
    "4.2 `await logger.log_execution(...)`": log_execution,
    "4.2 `logger.log_summary(": wandb_program(SUMMARY),
    "4.2 `wandb.finish()`": wandb_program(FINISH),
    "5.1 `CostTracker()`": cost_tracker,
    "6.1 `ErrorTracker()`": error_tracker,
    "7 `MonitoredReceiptPipeline`": wandb_program(PIPELINE),
    "Verification": verification,
    "Issue 1": refused("start_http_server", says=SETUP),
    "Issue 3": rotating_collector,
}
ELSEWHERE = {"Issue 2": "test_not_logged_in_is_a_problem_from_the_start_and_ends_with_a_login"}
"""Rows that other tests show."""


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_guide_does_what_its_row_says(
    block: str, tmp_path: Path, require_package: Callable[[str, str], None]
) -> None:
    """With only its imports changed it runs, or fails with what to write instead.

    Seen red: `log_execution` and the names of the guide's own code were refused with no word of what to write.
    """
    assert [row for row in ROWS if row[0].startswith(f"| {block}")], "the page has no such row"
    run = BLOCKS[block]
    if run.__qualname__.startswith("wandb_program"):
        require_package("wandb", "pip install 'toolweaver_monitor[all]'")
        run(tmp_path)
    else:
        run()


def test_every_row_of_the_page_is_run() -> None:
    for row in ROWS:
        assert any(row[0].startswith(f"| {block}") for block in {**BLOCKS, **ELSEWHERE}), row[0]
