"""A real Prometheus server scrapes the exporter, and its queries give exactly what the program did."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from helpers import free_port, wait_until
from prometheus_program import PrometheusProgram

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, monitored, setup, track
from toolweaver_monitor._cli.dashboards.panels import render_dashboard
from toolweaver_monitor._cli.dashboards.rules import Thresholds, list_alerts
from toolweaver_monitor.sinks import LogSink, PrometheusExporter
from toolweaver_monitor.sinks._prometheus import catalog

pytestmark = pytest.mark.system


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), LogSink(), budget=Budget(limit_usd=1.0, tool="dear", name="dear")) as found:
        yield found


def work() -> None:
    """A known number of calls of every kind and outcome."""

    @monitored("ocr", cost=0.10)
    def ocr(fail: bool = False) -> str:
        if fail:
            raise ValueError("unreadable")
        return "text"

    @monitored("vision")
    async def vision() -> dict[str, object]:
        return {"tokens_used": 100, "cost": 0.25}

    @monitored("words")
    def words() -> Iterator[str]:
        yield from ("a", "b", "c")

    @monitored("dear", cost=0.4)
    def dear() -> None:
        pass

    async def several() -> None:
        await asyncio.gather(*(vision() for _ in range(4)))
        waiting = asyncio.create_task(slow())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    @monitored("slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    for _ in range(7):
        ocr()
    for _ in range(3):
        with pytest.raises(ValueError, match="unreadable"):
            ocr(fail=True)
    asyncio.run(several())
    assert list(words()) == ["a", "b", "c"]
    for _ in range(2):
        dear()
    with pytest.raises(BudgetExceeded):
        dear()
    with track("chat", customer="acme") as call:
        call.record(input_tokens=90, output_tokens=10, cached_tokens=40, model="a-model-nobody-prices", attempt=2)
    with track("chat") as call:
        call.record(cached=True, cost=0.5)


def test_a_real_server_sees_exactly_what_the_program_did(
    monitor: Monitor, tmp_path: Path, require_program: object
) -> None:
    """Counts, sums and costs of every metric, asked of Prometheus itself."""
    require_program("prometheus")  # type: ignore[operator]
    exporter = monitor.sinks[0]
    server = PrometheusProgram(tmp_path, exporter.port)
    try:
        work()
        total = monitor.metrics.summary()
        server.wait_for(
            "toolweaver_tool_executions_total > 0",
            {
                ("success", "ocr"): 7,
                ("failure", "ocr"): 3,
                ("success", "vision"): 4,
                ("cancelled", "slow"): 1,
                ("success", "words"): 1,
                ("success", "dear"): 2,
                ("rejected", "dear"): 1,
                ("success", "chat"): 2,
            },
        )
        server.wait_for("sum(toolweaver_tool_duration_seconds_count)", {(): total["count"] - 1})  # one was rejected
        server.wait_for(
            "sum(toolweaver_tool_duration_seconds_sum)", {(): total["avg_duration_s"] * (total["count"] - 1)}
        )
        server.wait_for("toolweaver_tool_duration_seconds_bucket{tool_name='ocr',le='+Inf'}", {("+Inf", "ocr"): 10})
        server.wait_for(
            "toolweaver_tool_cost_usd_total",
            {("ocr",): 0.7, ("vision",): 1.0, ("dear",): 0.8, ("chat",): 0.0},
        )
        server.wait_for("toolweaver_tool_failures_total", {("ValueError", "ocr"): 3})
        server.wait_for(
            "toolweaver_tool_tokens_total",
            {("vision", "unsplit"): 400, ("chat", "input"): 90, ("chat", "output"): 10, ("chat", "cached"): 40},
        )
        server.wait_for("toolweaver_tool_time_to_first_item_seconds_count", {("words",): 1})
        server.wait_for("toolweaver_tool_unpriced_calls_total", {("chat",): 1})
        server.wait_for("toolweaver_tool_cache_hits_total", {("chat",): 1})
        server.wait_for("toolweaver_tool_retries_total", {("chat",): 1})
        server.wait_for("toolweaver_budget_limit_usd", {("dear",): 1.0})
        server.wait_for("toolweaver_budget_spent_usd", {("dear",): 0.8})
        server.wait_for("toolweaver_budget_rejections_total", {("dear",): 1})
        server.wait_for("toolweaver_monitor_calls_total{result='delivered'}", {("delivered", "log"): total["count"]})
        server.wait_for("toolweaver_monitor_queue_size", {("log",): 0})
        for metric in catalog.METRICS:
            name = f"{metric.name}_count" if metric.type == "histogram" else metric.name
            assert server.query(name), f"{name} is in the catalogue, and nothing here asks for it"
        server.wait_for("toolweaver_active_operations", {(): 0})
        with track("long"):
            server.wait_for("toolweaver_active_operations", {(): 1})
            server.wait_for("toolweaver_tool_active_operations > 0", {("long",): 1})
        server.wait_for("toolweaver_tool_active_operations{tool_name='long'}", {("long",): 0})
    finally:
        server.stop()


@pytest.mark.parametrize("native", [False, True], ids=["classic", "native"])
def test_every_panel_of_the_dashboard_has_something_to_show(
    monitor: Monitor, native: bool, tmp_path: Path, require_program: object
) -> None:
    """The queries of the Grafana dashboard, asked of Prometheus as Grafana asks them; one of them by its value.

    The alert that asks histograms is asked, too. Seen red: with `_bucket` in native queries, durations were not found.
    """
    require_program("prometheus")  # type: ignore[operator]
    queries = {
        (
            panel["title"],
            re.sub(r"\$(tool|job|instance|customer)\b", ".*", target["expr"])
            .replace("$__range", "1h")
            .replace("$__rate_interval", "1m"),
        )
        for panel in json.loads(render_dashboard(["customer"], native))["panels"]
        for target in panel.get("targets", ())
    }
    alerts = list_alerts(Thresholds(p95_s=1e-9, p95_of_tools_s={"ocr": 1e-9}), native)
    queries |= {(alert.name, alert.expression) for alert in alerts if alert.name == "ToolIsSlow"}
    server = PrometheusProgram(tmp_path, monitor.sinks[0].port, *(["native-histograms"] if native else []))
    try:
        work()
        server.wait_for("toolweaver_tool_executions_total{status='cancelled'}", {("cancelled", "slow"): 1})
        for number in range(4):  # growth between two scrapes, which is what a rate is
            with track("ocr") as call:
                if number == 0:
                    call.fail("unreadable")
        for title, query in queries:
            wait_until(partial(server.query, query), 30, fault=f"{title}: {query}")
        [rate] = [query for title, query in queries if title == "Error rate by tool"]
        server.wait_for(rate.replace('tool_name=~".*"', 'tool_name="ocr"'), {("ocr",): 0.25})
    finally:
        server.stop()


def test_the_first_error_of_a_declared_tool_is_an_increase(tmp_path: Path, require_program: object) -> None:
    """`increase()` counts what a series gained since its first value, so a series must be there at 0 before the error.

    Of a tool that only `track()` names, a success brings the series of its failures. `increase()` extrapolates to the
    whole window, so it is about 1.

    Seen red: without the declared tools in `list_tools`, `increase()` of the first error gave no series or 0.
    """
    require_program("prometheus")  # type: ignore[operator]

    @monitored("ocr", cost=0.10)
    def ocr() -> None:
        raise ValueError("unreadable")

    with setup(PrometheusExporter(port=0), prices={"search": {"per_call": 0.02}}) as monitor:
        server = PrometheusProgram(tmp_path, monitor.sinks[0].port)
        try:
            with track("parse"):
                pass
            errors = 'toolweaver_tool_executions_total{status="failure"}'
            server.wait_for(errors, {("failure", "ocr"): 0, ("failure", "search"): 0, ("failure", "parse"): 0})
            server.wait_for("toolweaver_tool_cost_usd_total", {("ocr",): 0, ("search",): 0})
            time.sleep(1)  # a few scrapes at 0
            with pytest.raises(ValueError, match="unreadable"):
                ocr()
            for tool in ("search", "parse"):
                with track(tool) as call:
                    call.fail("no answer")
            server.wait_for(errors, {("failure", "ocr"): 1, ("failure", "search"): 1, ("failure", "parse"): 1})
            found = server.query(f"round(increase({errors}[10s]))")
            assert found == {("failure", "ocr"): 1, ("failure", "search"): 1, ("failure", "parse"): 1}
        finally:
            server.stop()


def test_labels_of_the_users_choice_are_summed_by_the_server(tmp_path: Path, require_program: object) -> None:
    """By customer, by model, and over all: each query gives what was spent. An empty label is none.

    Seen red: with `(none)` for a missing tag, the last query found nothing.
    """
    require_program("prometheus", "apt-get install prometheus")  # type: ignore[operator]
    exporter = PrometheusExporter(port=0, labels=["customer", "model"])
    with setup(exporter):
        server = PrometheusProgram(tmp_path, exporter.port)
        try:
            for customer, model, cost in (("acme", "gpt-4o", 0.25), ("acme", "haiku", 0.5), ("bob", "haiku", 1.0)):
                with track("ask", customer=customer) as call:
                    call.record(model=model, cost=cost, input_tokens=10)
            with track("ask") as call:
                call.record(cost=2.0)
            cost = "toolweaver_tool_cost_usd_total"
            server.wait_for(f"sum({cost})", {(): 3.75})
            assert server.query(f"sum by (model) ({cost})") == {("gpt-4o",): 0.25, ("haiku",): 1.5, (): 2.0}
            assert server.query(f'sum by (customer) ({cost}{{customer!=""}})') == {("acme",): 0.75, ("bob",): 1.0}
            assert server.query('sum(toolweaver_tool_tokens_total{type="input",customer="acme"})') == {(): 20}
            assert server.query(f'{cost}{{customer=""}}') == {("ask",): 2.0}
        finally:
            server.stop()


def test_promtool_has_nothing_to_say(monitor: Monitor, require_program: object) -> None:
    """The exposition is valid and follows Prometheus' own rules for names and help."""
    require_program("promtool")  # type: ignore[operator]
    work()
    found = subprocess.run(
        ["promtool", "check", "metrics"], input=monitor.sinks[0].text(), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_endpoint_serves_what_ended_before_the_scrape(monitor: Monitor) -> None:
    """A scrape right after a call includes it, every time."""
    with track("counted"):
        pass
    for n in range(1, 50):
        text = ask(monitor.sinks[0].url)
        assert f'toolweaver_tool_executions_total{{tool_name="counted",status="success"}} {n}\n' in text
        with track("counted"):
            pass


def test_a_port_in_use_is_told_and_nothing_breaks(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """The program runs on; `health()` and one log line say what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        again = setup(PrometheusExporter(port=taken.getsockname()[1]))
        with track("anything"):
            pass
        health = again.health()
    assert health["ok"] is False
    assert "port=0 takes a free one" in health["sinks"]["prometheus"]["last_error"]
    assert sum("waiting for the port" in record.message for record in caplog.records) == 1
    assert again.summary()["count"] == 1


def test_setup_again_frees_the_port_for_the_next(tmp_path: Path) -> None:
    """A second setup with the same port is no clash: the first one lets go of it."""
    port = free_port()
    first = setup(PrometheusExporter(port=port))
    second = setup(PrometheusExporter(port=port))
    assert first.closed
    assert second.health()["ok"] is True
    assert "toolweaver_active_operations" in ask(f"http://localhost:{port}/metrics")
    assert second.shutdown()
