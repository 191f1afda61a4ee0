"""A real Prometheus takes native histograms from the endpoint, and its quantiles are the truth within 5 %."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_program import PrometheusProgram

from toolweaver_monitor import setup
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks import PrometheusExporter

pytestmark = pytest.mark.system

CALLS = 20_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
INSIDE_A_MODE = (0.1, 0.3, 0.5, 0.8, 0.95)
"""Of a distribution with two modes: its 70 % point lies between them, where no histogram can tell the truth."""


def durations(kind: str) -> list[float]:
    chance = random.Random(16)
    match kind:
        case "lognormal":
            return [chance.lognormvariate(-1.0, 1.0) for _ in range(CALLS)]
        case "pareto":
            return [0.05 * chance.paretovariate(1.5) for _ in range(CALLS)]
        case _:
            return [chance.gauss(0.1, 0.01) if chance.random() < 0.7 else chance.gauss(8.0, 0.5) for _ in range(CALLS)]


@pytest.fixture
def start(tmp_path: Path, require_program: Callable[..., str]) -> Iterator[Callable[..., PrometheusProgram]]:
    require_program("prometheus", "apt-get install prometheus")
    started: list[PrometheusProgram] = []

    def run(target: int, *features: str) -> PrometheusProgram:
        started.append(PrometheusProgram(tmp_path, target, *features))
        return started[-1]

    yield run
    for server in started:
        server.stop()


def test_quantiles_of_three_distributions_are_within_5_percent(start: Callable[..., PrometheusProgram]) -> None:
    """`histogram_quantile` of a lognormal and a Pareto distribution, and of one with two modes inside each of them.

    Counts and sums are exact. Seen red: with bucket `k` as index `k`, every quantile was 9 % too low.
    """
    exporter = PrometheusExporter(port=0)
    kinds = {"lognormal": QUANTILES, "pareto": QUANTILES, "bimodal": INSIDE_A_MODE}
    truth = {kind: sorted(durations(kind)) for kind in kinds}
    with setup(exporter):
        for kind, seconds in truth.items():
            exporter.write([ToolCall(kind, "success", one) for one in seconds])
        server = start(exporter.port, "native-histograms")
        metric = "toolweaver_tool_duration_seconds"
        for kind, quantiles in kinds.items():
            server.wait_for(f'histogram_count({metric}{{tool_name="{kind}"}})', CALLS)
            total = server.value(f'histogram_sum({metric}{{tool_name="{kind}"}})')
            assert total == pytest.approx(sum(truth[kind]), rel=1e-12)
            for share in quantiles:
                found = server.value(f'histogram_quantile({share}, {metric}{{tool_name="{kind}"}})')
                assert found == pytest.approx(truth[kind][int(share * CALLS)], rel=0.05), (kind, share)
        assert server.value(f"sum(histogram_count({metric}))") == 3 * CALLS
        assert server.value(f"{metric}_bucket") is None  # Prometheus keeps one of the two forms


def test_a_server_without_the_feature_still_gets_classic_buckets(start: Callable[..., PrometheusProgram]) -> None:
    """It asks for OpenMetrics, and has the buckets, the traces and the times of start of every series."""
    exporter = PrometheusExporter(port=0)
    with setup(exporter) as monitor:
        for seconds in (0.001, 0.3, 0.3, 5.0):
            monitor.record("native_off", duration_s=seconds)
        server = start(exporter.port, "exemplar-storage")
        server.wait_for('toolweaver_tool_duration_seconds_bucket{tool_name="native_off",le="0.5"}', 3)
        server.wait_for('toolweaver_tool_duration_seconds_count{tool_name="native_off"}', 4)
        created = server.value('toolweaver_tool_executions_created{tool_name="native_off",status="success"}')
        assert created is not None
        assert 0 <= time.time() - created < 600
        span = {"start": str(time.time() - 60), "end": str(time.time() + 60)}
        (series,) = server.get("query_exemplars", query='toolweaver_tool_duration_seconds_bucket{le="8.0"}', **span)
        (call,) = [call for call in exporter._shared.operations if call.duration_s == 5.0]  # type: ignore[union-attr]
        assert series["exemplars"][-1]["labels"] == {"trace_id": f"{call.trace_id:032x}"}


def test_traces_are_found_beside_native_histograms(start: Callable[..., PrometheusProgram]) -> None:
    """Exemplars of protobuf reach the store of exemplars, too."""
    exporter = PrometheusExporter(port=0)
    with setup(exporter) as monitor:
        monitor.record("native_trace", duration_s=0.3, outcome="failure", error="unreadable")
        server = start(exporter.port, "native-histograms,exemplar-storage")
        server.wait_for('histogram_count(toolweaver_tool_duration_seconds{tool_name="native_trace"})', 1)
        span = {"start": str(time.time() - 60), "end": str(time.time() + 60)}
        for name in ("toolweaver_tool_duration_seconds", "toolweaver_tool_failures_total"):
            (series,) = server.get("query_exemplars", query=f'{name}{{tool_name="native_trace"}}', **span)
            (call,) = exporter._shared.operations  # type: ignore[union-attr]
            assert series["exemplars"][-1]["labels"]["trace_id"] == f"{call.trace_id:032x}"
