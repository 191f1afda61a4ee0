"""The cost of reading: a scrape of 1,000 tools, and `summary()` with 1 and 1,000."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter_ns
from typing import Any

from benchmarks import ours
from benchmarks.bodies import bare_result
from benchmarks.harness import Contender, interleaved
from benchmarks.loops import calls
from benchmarks.options import Options
from benchmarks.ours import Mode
from benchmarks.results import Results

TOOLS = 1_000
FORMS = {
    "text": "text/plain;version=0.0.4",
    "OpenMetrics": "application/openmetrics-text;version=1.0.0",
    "protobuf, native histograms": (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    ),
}
"""What a scrape may ask for, by `Accept`; none of them compressed."""


def _fail() -> None:
    raise ValueError("the file is damaged")


def _filled(tools: int, each: int) -> None:
    """Calls of that many tools: each with tokens and a cost, and one failure a tool."""
    for number in range(tools):
        good, bad = ours.monitored(f"tool-{number}")(bare_result), ours.monitored(f"tool-{number}")(_fail)
        for _ in range(each):
            good()
        with suppress(ValueError):
            bad()
    ours.drain()


def _same_series(text: str) -> Any:
    """A prometheus_client registry with the very series of a scrape."""
    prom = importlib.import_module("prometheus_client")
    parser = importlib.import_module("prometheus_client.parser")
    prom.disable_created_metrics()
    registry = prom.CollectorRegistry()
    for family in parser.text_string_to_metric_families(text):
        rows = [sample for sample in family.samples if not sample.name.endswith("_created")]
        if not rows:
            continue
        names = sorted({label for sample in rows for label in sample.labels if label != "le"})
        if family.type == "histogram":
            bounds = sorted({float(sample.labels["le"]) for sample in rows if "le" in sample.labels})
            metric = prom.Histogram(family.name, family.documentation, names, buckets=bounds, registry=registry)
        else:
            kind = prom.Counter if family.type == "counter" else prom.Gauge
            metric = kind(family.name, family.documentation, names, registry=registry)
        for sample in rows:
            labels = {key: value for key, value in sample.labels.items() if key != "le"}
            child = metric.labels(**labels) if names else metric
            if family.type == "histogram":
                if sample.name.endswith("_count"):
                    child.observe(0.01)
            else:
                child.inc(sample.value)
    return registry


def _series(text: bytes) -> int:
    return sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))


def scrape(results: Results, options: Options) -> None:
    """A scrape of 1,000 tools over HTTP, beside prometheus_client's own server with the same series."""
    prom = importlib.import_module("prometheus_client")
    mode = Mode()
    mode.enter()
    _filled(TOOLS, 3)
    url = ours.scrape_url()
    text = ours.fetch(url)
    registry = _same_series(text.decode())
    server, thread = prom.start_http_server(0, addr="127.0.0.1", registry=registry)
    theirs = f"http://127.0.0.1:{server.server_port}/metrics"
    busy = ours.monitored("tool-0")(bare_result)

    def after_a_call() -> None:
        busy()
        ours.fetch(url)

    def after_a_call_of_each() -> None:
        for tool in each:
            tool()
        ours.drain()
        before = perf_counter_ns()
        ours.fetch(url)
        took.append((perf_counter_ns() - before) / 1e6)

    each = [ours.monitored(f"tool-{number}")(bare_result) for number in range(TOOLS)]
    took: list[float] = []
    try:
        rounds = interleaved(
            [
                Contender("prometheus_client", calls(lambda: ours.fetch(theirs)), over=None),
                Contender("ours", calls(after_a_call), over=None),
            ],
            rounds=max(9, options.rounds // 2),
            calls=2,
        )
        for _ in range(max(9, options.rounds // 2)):
            after_a_call_of_each()
        for name in rounds.names:
            results.put("scrape", name, f"{TOOLS:,} tools", [ns / 1e6 for ns in rounds.wall[name]], "ms")
        results.put("scrape", "ours, every tool called since", f"{TOOLS:,} tools", took, "ms")
        results.put("scrape", "ours", "of prometheus_client", rounds.times("ours", "prometheus_client"), "x")
        median = results.value(f"scrape/prometheus_client/{TOOLS:,} tools") or 1.0
        ratios = [ms / median for ms in took]
        results.put("scrape", "ours, every tool called since", "of prometheus_client", ratios, "x")
        results.put("scrape", "ours", "series", [float(_series(text))], "")
        results.put("scrape", "prometheus_client", "series", [float(_series(ours.fetch(theirs)))], "")
        _forms(results, url, max(9, options.rounds // 2))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _forms(results: Results, url: str, rounds: int) -> None:
    """Each form that `/metrics` has: the time of a scrape, and its bytes."""
    for form, accept in FORMS.items():
        took = []
        for _ in range(rounds):
            began = perf_counter_ns()
            body = ours.fetch(url, accept)
            took.append((perf_counter_ns() - began) / 1e6)
        results.put("scrape", form, f"{TOOLS:,} tools", took, "ms")
        results.put("scrape", form, "bytes", [float(len(body))], "B")
        results.put("scrape", form, "bytes a tool", [len(body) / TOOLS], "B")
        if form != "protobuf, native histograms":
            results.put("scrape", form, "series", [float(_series(body))], "")


def summary(results: Results, options: Options) -> None:
    """`summary()` with 1 and with 1,000 tools after many calls, each right after one more call."""
    for tools, each in ((1, options.scaled(1_000_000)), (TOOLS, options.scaled(200))):
        mode = Mode()
        mode.enter()
        _filled(tools, each)
        read = ours.monitor().summary
        one_more = ours.monitored("tool-0")(bare_result)
        results.put("summary", f"{tools:,} tools", "time", _each(one_more, read, 51), "ms")


def _each(first: Callable[[], object], then: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of both together."""
    found = []
    for _ in range(times):
        began = perf_counter_ns()
        first()
        then()
        found.append((perf_counter_ns() - began) / 1e6)
    return found
