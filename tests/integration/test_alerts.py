"""Planted faults fire the alerts, which reach a real Alertmanager; a program without faults fires none."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import free_port

from toolweaver_monitor import Budget, BudgetExceeded, setup, track
from toolweaver_monitor._cli.dashboards.rules import Thresholds, list_alerts, render_rules
from toolweaver_monitor.sinks import PrometheusExporter

pytestmark = pytest.mark.system

SHORTER = {"[6h]": "[20s]", "[1d] offset 1h": "[20s] offset 5s", "for: ": "for: 0s #"}
"""The windows of the rules, for a test that cannot wait for hours; all others become ten seconds."""


def read(url: str) -> object:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Alarm:
    """A Prometheus that scrapes one target and evaluates the rules, and the Alertmanager that it tells."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port, self.manager, cluster = free_port(), free_port(), free_port()
        rules = render_rules(Thresholds(p95_s=0.2, usd_an_hour=1.0, job="tools"))
        for window, shorter in SHORTER.items():
            rules = rules.replace(window, shorter)
        rules = re.sub(r"offset \d+[mh]\b", "offset 10s", rules)
        (folder / "rules.yml").write_text(re.sub(r"\[\d+[mh]\]", "[10s]", rules))
        (folder / "alertmanager.yml").write_text("route: {receiver: none, group_wait: 0s}\nreceivers: [{name: none}]\n")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 300ms, scrape_timeout: 300ms, evaluation_interval: 500ms}\n"
            "rule_files: [rules.yml]\n"
            f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{self.manager}']}}]}}]}}\n"
            f"scrape_configs: [{{job_name: tools, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        )
        commands = (
            [
                "prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'manager'}", f"--web.listen-address=127.0.0.1:{self.manager}",
                f"--cluster.listen-address=127.0.0.1:{cluster}",
            ],
            [
                "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
        )  # fmt: skip
        self.processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
        ]

    def received(self) -> set[str]:
        """The names of the alerts that Alertmanager has."""
        try:
            found = read(f"http://127.0.0.1:{self.manager}/api/v2/alerts")
        except OSError:
            return set()
        return {alert["labels"]["alertname"] for alert in found}  # type: ignore[attr-defined]

    def healths(self) -> set[str]:
        """The health of every rule: `ok` once it has been evaluated without an error."""
        found = read(f"http://127.0.0.1:{self.port}/api/v1/rules")
        return {rule["health"] for group in found["data"]["groups"] for rule in group["rules"]}  # type: ignore[index]


@pytest.fixture
def alarm(tmp_path: Path, require_program: Callable[..., str]) -> Iterator[Callable[[int], Alarm]]:
    require_program("prometheus", "apt-get install prometheus")
    require_program("prometheus-alertmanager", "apt-get install prometheus-alertmanager")
    started: list[Alarm] = []

    def start(target: int) -> Alarm:
        started.append(Alarm(tmp_path, target))
        return started[-1]

    yield start
    for one in started:
        for process in one.processes:
            process.terminate()
        for process in one.processes:
            process.wait(10)


def losing_sink(_calls: object) -> None:
    raise ValueError("planted")


def test_planted_faults_reach_the_alertmanager(alarm: Callable[[int], Alarm]) -> None:
    """Each of the faults is named by its alert, and the program's end by the last."""
    exporter = PrometheusExporter(port=0)
    budget = Budget(limit_usd=400, name="planted", tool="alert_budget")
    with setup(exporter, losing_sink, budget=[budget, Budget(limit_calls=1, name="few", tool="alert_few")]) as monitor:
        server = alarm(exporter.port)
        deadline = time.monotonic() + 120
        wanted = {alert.name for alert in list_alerts(Thresholds(), native=False)} - {"ToolweaverIsDown"}
        seen: set[str] = set()
        began = time.monotonic()
        with track("alert_hangs"):
            while not wanted <= seen and time.monotonic() < deadline:
                since = time.monotonic() - began
                for _ in range(40 if since < 15 else 0):  # then silence
                    monitor.record("alert_hardly_called", duration_s=0.1)
                monitor.record("alert_slow", duration_s=3.0)
                monitor.record("alert_fails", duration_s=0.1, outcome="failure", error="broken")
                monitor.record("alert_fails", duration_s=0.1)
                monitor.record("alert_cut", duration_s=0.1, outcome="cancelled")
                monitor.record("alert_unknown", duration_s=0.1, input_tokens=10, model="a-model-nobody-prices")
                monitor.record("alert_dear", duration_s=0.1, cost=0.01 if since < 12 else 5.0)
                with suppress(BudgetExceeded), track("alert_budget") as call:
                    call.record(cost=3.0)
                with suppress(BudgetExceeded), track("alert_few"):
                    pass
                time.sleep(0.25)
                seen |= server.received()
        assert seen == wanted, (wanted - seen, seen - wanted)
        assert server.healths() == {"ok"}
        exporter._endpoint.close()
        while "ToolweaverIsDown" not in server.received() and time.monotonic() < deadline + 20:
            time.sleep(0.3)
        assert "ToolweaverIsDown" in server.received()


def test_a_program_without_faults_fires_no_alert(alarm: Callable[[int], Alarm]) -> None:
    """Calls that succeed, cost little and end soon."""
    exporter = PrometheusExporter(port=0)
    with setup(exporter, budget=Budget(limit_usd=1_000_000, name="ample")) as monitor:
        server = alarm(exporter.port)
        began = time.monotonic()
        while time.monotonic() < began + 25:
            monitor.record("alert_fine", duration_s=0.05, cost=0.001)
            time.sleep(0.2)
            assert server.received() == set()
        assert server.healths() == {"ok"}
