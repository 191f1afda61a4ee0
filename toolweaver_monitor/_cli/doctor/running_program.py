"""How is a program that runs right now? Read from its `/metrics`, as Prometheus reads it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from toolweaver_monitor._cli.doctor import http_get
from toolweaver_monitor._cli.doctor.findings import Finding, note, ok, wrong
from toolweaver_monitor._runtime.health import REASON_CURES
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.sinks._prometheus import catalog

SECOND_LOOK_S = 1.0
MANY_OPEN = 10_000

Samples = dict[str, list[tuple[dict[str, str], float]]]
"""By name: labels and value."""


def examine(url: str, token: str | None = None) -> list[Finding]:
    """Everything that can be told of the program behind an address."""
    answer = http_get.get(url, token)
    fault = not_ours(answer, url)
    if fault is not None:
        return [fault]
    samples = parsed(answer.body)
    if samples is None:
        return [
            wrong("endpoint", f"{url} answers with text that is not a metrics page", "see what serves this address")
        ]
    return [ok("endpoint", f"{url} answers"), *_figures(samples), *_sinks(samples, url, token)]


def not_ours(answer: http_get.Answer, url: str) -> Finding | None:
    """Why this is not the endpoint of a program that is watched; None if it is."""
    if answer.fault:
        return wrong("endpoint", f"{url}: {answer.fault}", answer.cure)
    if answer.status == 200 and catalog.ACTIVE.name in answer.body:
        return None
    says = f"{url} answered {answer.status}"
    match answer.status:
        case 200:
            return wrong(
                "endpoint",
                f"{url} answers, but shows none of our metrics",
                "another program has this port: give ours another one; where your application serves the metrics "
                "itself, give PrometheusExporter(registry=...) its registry",
            )
        case 401:
            return wrong("endpoint", f"{says}: it needs a token", "give it: --token-file FILE")
        case 403 | 421:
            return wrong(
                "endpoint",
                f"{says}: it does not accept this host name",
                "ask for localhost or the bound address, or name the host: PrometheusExporter(allowed_hosts=[...])",
            )
        case 404:
            return wrong(
                "endpoint",
                f"{says}",
                "the path is /metrics; if that was it, another program has this port: give ours another one",
            )
        case _:
            return wrong("endpoint", says, "see the program's log")


def parsed(text: str) -> Samples | None:
    """The samples of an exposition by name; None if it is none."""
    from prometheus_client.parser import text_string_to_metric_families  # 65 ms, and only needed here

    found: Samples = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    except (ValueError, KeyError, IndexError):
        return None
    return found


def total(samples: Samples, name: str) -> float:
    """The sum over all labels."""
    return sum(value for _, value in samples.get(name, ()))


def _figures(samples: Samples) -> Iterator[Finding]:
    calls, active = total(samples, catalog.EXECUTIONS.name), total(samples, catalog.ACTIVE.name)
    tools = {labels["tool_name"] for labels, _ in samples.get(catalog.EXECUTIONS.name, ())}
    if calls:
        cost, errors = total(samples, catalog.COST.name), total(samples, catalog.ERRORS_BY_TYPE.name)
        said = f"{pluralize(round(calls), 'call')} of {pluralize(len(tools), 'tool')}"
        yield ok("calls", f"{said}, {errors:,.0f} failed, ${cost:,.4f} spent, {active:,.0f} open now")
    else:
        yield note(
            "calls",
            f"no call has ended yet, {active:,.0f} open now",
            "decorate your tools with @monitored('name') or use track('name'), and call setup() in the same process",
        )
    if active > MANY_OPEN:
        yield wrong(
            "memory",
            f"{active:,.0f} calls are open at once",
            "close generators that you do not read to their end, and see monitor.active() for which calls never end",
        )
    if OVERFLOW in tools:
        yield wrong(
            "names",
            "more tool names than are kept apart; the rest is counted as __overflow__",
            "give tools fixed names and put what varies into tags; TOOLWEAVER_MONITOR_MAX_LABEL_VALUES raises the cap",
        )
    unpriced = total(samples, catalog.UNPRICED.name)
    if unpriced:
        yield note(
            "costs",
            f"{unpriced:,.0f} calls used tokens or a model and have no known cost",
            "pip install 'toolweaver_monitor[prices]', setup(prices={...}), or record(cost=...)",
        )
    for labels, count in samples.get(catalog.BUDGET_REJECTIONS.name, ()):
        if count:
            yield note(
                "budget", f"{labels['budget']} has refused {count:,.0f} calls", "raise its limit if that is wrong"
            )


def _sinks(samples: Samples, url: str, token: str | None) -> Iterator[Finding]:
    queued = by_sink(samples)
    stuck: set[str] = set()
    if any(queued.values()):
        before = _delivered(samples)
        time.sleep(SECOND_LOOK_S)
        later = parsed(http_get.get(url, token).body) or samples
        after, waiting = _delivered(later), by_sink(later)
        stuck = {sink for sink in queued if waiting.get(sink) and after[sink] == before[sink]}
        samples = later
    for sink in queued:
        lost = _lost(samples, sink)
        said = f"{_delivered(samples)[sink]:,.0f} calls delivered, {by_sink(samples)[sink]:,.0f} wait"
        if sink in stuck:
            yield wrong(
                sink,
                f"{said}, and none was delivered within {SECOND_LOOK_S:.0f} s",
                "see the program's log and monitor.health() for what this sink waits for",
            )
        elif not lost:
            yield ok(sink, said)
        for (result, reason), count in lost.items():
            cure = REASON_CURES.get(reason) or "see the program's log and monitor.health() for the error and its cure"
            yield wrong(sink, f"{count:,.0f} calls {result} ({reason})", cure)


def by_sink(samples: Samples) -> dict[str, float]:
    """Calls that wait, by sink."""
    return {labels["sink"]: value for labels, value in samples.get(catalog.QUEUE_SIZE.name, ())}


def _delivered(samples: Samples) -> Counter[str]:
    found: Counter[str] = Counter()
    for labels, value in samples.get(catalog.SINK_CALLS.name, ()):
        if labels["result"] == "delivered":
            found[labels["sink"]] += int(value)
    return found


def _lost(samples: Samples, sink: str) -> dict[tuple[str, str], float]:
    return {
        (labels["result"], labels["reason"]): value
        for labels, value in samples.get(catalog.SINK_CALLS.name, ())
        if labels["sink"] == sink and labels["result"] != "delivered" and value
    }
