"""The state of a running program, read from its `/metrics` as Prometheus reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli.doctor.findings import Finding
from toolweaver_monitor._runtime.health import REASON_CURES
from toolweaver_monitor._text.display import escape, format_seconds, pluralize
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.sinks._memory.costs import price_list_cures
from toolweaver_monitor.sinks._prometheus import catalog

SECOND_LOOK_S = 1.0
MANY_OPEN = 10_000

NO_METRICS = ", but shows no toolweaver_ metrics"
BAD_HOST = ": it does not accept this host name"
ALLOW_HOST = "use localhost or the bound address, or allow the name: PrometheusExporter(allowed_hosts=[...])"
OTHER_PORT = "another program has this port: give the exporter another one"
STATUS_CURES = {
    200: (NO_METRICS, f"{OTHER_PORT}; if it is your application, pass its registry: PrometheusExporter(registry=...)"),
    401: (": it needs a token", "pass it with --token-file FILE"),
    403: (BAD_HOST, ALLOW_HOST),
    404: ("", f"the path is /metrics; if the URL has it, {OTHER_PORT}"),
    421: (BAD_HOST, ALLOW_HOST),
}
"""By the status of an answer that is not a metrics page: what is wrong, and what to do about it."""

Samples = dict[str, list[tuple[dict[str, str], float]]]
"""The labels and values of each metric, by its name."""


def inspect_endpoint(url: str, token: str | None = None) -> tuple[list[Finding], list[list[str]]]:
    """Return the findings about the program that serves its metrics at an address, and the table of its tools."""
    answer = http_get.get(url, token)
    fault = find_fault(answer, url)
    if fault is not None:
        return [fault], []
    samples = parse(answer.body)
    if samples is None:
        says = f"{url} answers with text that is not a metrics page"
        return [Finding("wrong", "endpoint", says, "see what serves this address")], []
    found = [Finding("ok", "endpoint", f"{url} answers"), *_tools(samples), *_sinks(samples, url, token)]
    found += _watched(url, token)
    return found, tool_table(samples)


def find_fault(answer: http_get.Reply, url: str) -> Finding | None:
    """Return why an answer is not the metrics page of a monitored program; None if it is."""
    if answer.fault:
        return Finding("wrong", "endpoint", f"{url}: {answer.fault}", answer.cure)
    if answer.status == 200 and catalog.ACTIVE.name in answer.body:
        return None
    reason, cure = STATUS_CURES.get(answer.status, ("", "see the program's log"))
    return Finding("wrong", "endpoint", f"{url} answered {answer.status}{reason}", cure)


def parse(text: str) -> Samples | None:
    """Return the samples of a metrics page by name; None if the text is no such page."""
    from prometheus_client.parser import text_string_to_metric_families  # 65 ms, and only needed here

    found: Samples = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    except (ValueError, KeyError, IndexError):
        return None
    return found


def total(samples: Samples, metric: catalog.Metric, **labels: str) -> float:
    """Return the sum of a metric over the samples that have these labels."""
    return sum(value for own, value in samples.get(metric.name, ()) if labels.items() <= own.items())


def tool_table(samples: Samples) -> list[list[str]]:
    """Return a row for each tool that has run, the busiest first, below a header; nothing if none has."""
    calls = _by_tool(samples, catalog.EXECUTIONS.name)
    failed = _by_tool(samples, catalog.ERRORS_BY_TYPE.name)
    seconds = _by_tool(samples, f"{catalog.DURATION.name}_sum")
    durations = _by_tool(samples, f"{catalog.DURATION.name}_count")
    cost = _by_tool(samples, catalog.COST.name)
    rows = []
    for tool, count in sorted(calls.items(), key=lambda item: (-item[1], item[0])):
        if count:
            average = format_seconds(seconds[tool] / durations[tool]) if durations.get(tool) else "-"
            dollars = f"${cost[tool]:,.4f}" if tool in cost else "-"
            rows.append([escape(tool), f"{count:,.0f}", f"{failed.get(tool, 0):,.0f}", average, dollars])
    return [["tool", "calls", "failed", "average", "cost"], *rows] if rows else []


def _by_tool(samples: Samples, name: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for labels, value in samples.get(name, ()):
        sums[labels["tool_name"]] = sums.get(labels["tool_name"], 0.0) + value
    return sums


def _tools(samples: Samples) -> Iterator[Finding]:
    calls, active = total(samples, catalog.EXECUTIONS), total(samples, catalog.ACTIVE)
    tools = {labels["tool_name"] for labels, count in samples.get(catalog.EXECUTIONS.name, ()) if count}
    if calls:
        errors, cost = total(samples, catalog.ERRORS_BY_TYPE), total(samples, catalog.COST)
        spent = f"${cost:,.4f} spent" if catalog.COST.name in samples else "no cost known"
        counts = f"{pluralize(round(calls), 'call')} of {pluralize(len(tools), 'tool')}"
        yield Finding("ok", "calls", f"{counts}, {errors:,.0f} failed, {spent}, {active:,.0f} open now")
    else:
        yield Finding(
            "note",
            "calls",
            f"no call has ended yet, {active:,.0f} open now",
            "decorate your tools with @monitored('name') or use track('name'), and call setup() in the same process",
        )
    if active > MANY_OPEN:
        yield Finding(
            "wrong",
            "memory",
            f"{active:,.0f} calls are open at once",
            "close generators that you do not exhaust, and see in monitor.active() which calls never end",
        )
    if OVERFLOW in tools:
        yield Finding(
            "wrong",
            "names",
            f"there are too many tool names to keep apart; the rest is counted as {OVERFLOW}",
            "give tools fixed names and put what varies into tags; TOOLWEAVER_MONITOR_MAX_LABEL_VALUES raises the cap",
        )
    yield from _labels(samples)
    unpriced = total(samples, catalog.UNPRICED)
    if unpriced:
        yield Finding(
            "note",
            "costs",
            f"{pluralize(round(unpriced), 'call')} that used tokens or a model: cost unknown",
            ", ".join([*price_list_cures(), "setup(prices={...}) or record(cost=...)"]),
        )
    for labels, count in samples.get(catalog.BUDGET_REJECTIONS.name, ()):
        if count:
            says = f"{labels['budget']} has rejected {pluralize(round(count), 'call')}"
            yield Finding("note", "budget", says, "raise its limit if they should have run")


def _labels(samples: Samples) -> Iterator[Finding]:
    """Name the labels that the user has chosen, with how many values each has so far."""
    values: dict[str, set[str]] = {}
    for labels, _ in samples.get(catalog.EXECUTIONS.name, ()):
        for label, value in labels.items():
            if label not in catalog.EXECUTIONS.labels:
                values.setdefault(label, set()).add(value)
    shown = ", ".join(f"{escape(label)} ({pluralize(len(found - {''}), 'value')})" for label, found in values.items())
    if any(OVERFLOW in found for found in values.values()):
        yield Finding(
            "wrong",
            "labels",
            f"{shown}: too many to keep apart; the rest is counted as {OVERFLOW}",
            "choose tags with few values; TOOLWEAVER_MONITOR_MAX_LABEL_VALUES raises the cap",
        )
    elif values:
        yield Finding("ok", "labels", shown)


def _watched(url: str, token: str | None) -> Iterator[Finding]:
    """Name what `instrument()` monitors in a program that serves its page beside or below its metrics."""
    base = url.rstrip("/")
    for page in (base.removesuffix("/metrics"), f"{base}/page"):
        answer = http_get.get(f"{page}/data.json", token)
        if answer.status == 200 and answer.body.startswith('{"v":'):
            for each in json.loads(answer.body).get("watched", ()):
                calls = "" if each["calls"] is None else f", {pluralize(each['calls'], 'call')} seen"
                yield Finding("ok", "monitored", f"{each['target']} ({', '.join(each['methods'])}){calls}")
            return


def _sinks(samples: Samples, url: str, token: str | None) -> Iterator[Finding]:
    """Yield the findings about each sink. If calls wait, a second look tells a queue that moves from a stuck one."""
    names = [labels["sink"] for labels, _ in samples.get(catalog.QUEUE_SIZE.name, ())]
    earlier = samples
    if total(samples, catalog.QUEUE_SIZE):
        time.sleep(SECOND_LOOK_S)
        samples = parse(http_get.get(url, token).body) or samples
    for name in names:
        waiting = total(samples, catalog.QUEUE_SIZE, sink=name)
        delivered, before = (
            total(each, catalog.SINK_CALLS, sink=name, result="delivered") for each in (samples, earlier)
        )
        counts = f"{delivered:,.0f} calls delivered, {waiting:,.0f} wait"
        lost = [
            (f"{count:,.0f} calls {labels['result']} ({labels['reason']})", labels["reason"])
            for labels, count in samples.get(catalog.SINK_CALLS.name, ())
            if labels["sink"] == name and labels["result"] != "delivered" and count
        ]
        if waiting and delivered == before and total(earlier, catalog.QUEUE_SIZE, sink=name):
            yield Finding(
                "wrong",
                name,
                f"{counts}, and none was delivered within {SECOND_LOOK_S:.0f} s",
                "see in the program's log and in monitor.health() what this sink waits for",
            )
        elif not lost:
            yield Finding("ok", name, counts)
        for says, reason in lost:
            cure = REASON_CURES.get(reason) or "see the program's log and monitor.health() for the error and its cure"
            yield Finding("wrong", name, says, cure)
