"""A dashboard for Grafana: what runs, one tool, cost and budgets, and the monitoring itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from toolweaver_monitor._cli.dashboards.queries import FAILED, RATED, Queries
from toolweaver_monitor.sinks._prometheus import catalog

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
STEP, RANGE = "$__rate_interval", "$__range"
OF_TOOL = 'tool_name=~"$tool"'


class Panel(NamedTuple):
    """One panel."""

    title: str
    sentence: str
    unit: str
    expressions: Sequence[str]
    legend: str = ""
    """For several expressions, one for each, separated by `|`."""
    width: int = 8
    kind: str = "timeseries"


def list_panels(labels: Sequence[str], native: bool) -> Iterator[tuple[str, list[Panel]]]:
    """Return the panels by the title of their row."""
    q = Queries('job=~"$job",instance=~"$instance"', native)
    # The tags are labels of some metrics only; a variable that matches everything matches those without it, too.
    own = (OF_TOOL, *[f'{label}=~"${label}"' for label in labels])
    tool, by = "{{tool_name}}", "tool_name"
    calls = catalog.EXECUTIONS
    small: Any = {"width": 4, "kind": "stat"}
    yield (
        "Overview",
        [
            Panel("Calls", "In the time shown.", "short", [q.increase(calls, RANGE, *own)], **small),
            Panel(
                "Error rate", "Failures and timeouts among the calls that succeeded, failed or timed out.",
                "percentunit", [q.share(calls, RANGE, FAILED, RATED, *own)], **small,
            ),
            Panel(
                "Spent", "Dollars in the time shown. Calls of unknown cost are not in it.", "currencyUSD",
                [q.increase(catalog.COST, RANGE, *own)], **small,
            ),
            Panel(
                "Running now", "Calls that are open at the moment, of all tools.", "short",
                [f"sum({q.series(catalog.ACTIVE)})"], **small,
            ),
            Panel(
                "Calls of unknown cost", "Give their prices with setup(prices=...).", "short",
                [f"{q.increase(catalog.UNPRICED, RANGE, OF_TOOL)} or vector(0)"], **small,
            ),
            Panel(
                "Calls lost by a sink", "Dropped or failed, of all tools.", "short",
                [q.increase(catalog.SINK_CALLS, RANGE, 'result=~"dropped|failed"') + " or vector(0)"], **small,
            ),
            Panel("Calls per second", "By tool.", "reqps", [q.rate(calls, STEP, *own, by=by)], tool),
            Panel(
                "Error rate by tool", "Failures and timeouts among the calls that ran to an end.", "percentunit",
                [q.share(calls, STEP, FAILED, RATED, *own, by=by)], tool,
            ),
            Panel(
                "Duration, 95th percentile", "One call in twenty takes longer.", "s",
                [q.quantile(0.95, catalog.DURATION, STEP, OF_TOOL)], tool,
            ),
        ],
    )  # fmt: skip
    yield (
        "One tool: choose it above",
        [
            Panel(
                "Durations", "The half, and one call in ten, in twenty and in a hundred, of the tools chosen.", "s",
                [q.quantile(share, catalog.DURATION, STEP, OF_TOOL, by="") for share in (0.5, 0.9, 0.95, 0.99)],
                "half|1 in 10|1 in 20|1 in 100",
            ),
            Panel("Outcomes", "How calls ended.", "reqps", [q.rate(calls, STEP, *own, by="status")], "{{status}}"),
            Panel(
                "Errors by type", "Failures and timeouts.", "reqps",
                [q.rate(catalog.ERRORS_BY_TYPE, STEP, OF_TOOL, by="error_type")], "{{error_type}}",
            ),
            Panel(
                "Time to the first item, 95th percentile", "Of streams.", "s",
                [q.quantile(0.95, catalog.FIRST_ITEM, STEP, OF_TOOL)], tool,
            ),
            Panel(
                "Running now by tool", "Calls that are open; a line that never falls is a call that hangs.", "short",
                [f"sum by (tool_name) ({q.series(catalog.ACTIVE_BY_TOOL, OF_TOOL)})"], tool,
            ),
            Panel(
                "Retries and cache hits", "In the time shown.", "short",
                [
                    f"{q.increase(metric, RANGE, OF_TOOL)} or vector(0)"
                    for metric in (catalog.RETRIES, catalog.CACHE_HITS)
                ],
                "retries|cache hits", kind="bargauge",
            ),
        ],
    )  # fmt: skip
    yield (
        "Cost and budgets",
        [
            Panel(
                "Dollars per hour", "By tool.", "currencyUSD", [q.rate(catalog.COST, STEP, *own, by=by) + " * 3600"],
                tool,
            ),
            Panel(
                "Most expensive tools", "Dollars in the time shown.", "currencyUSD",
                [f"topk(10, {q.increase(catalog.COST, RANGE, *own, by=by)})"], tool, kind="bargauge",
            ),
            Panel(
                "Dollars a call", "Spent for each call that ran to an end.", "currencyUSD",
                [f"{q.rate(catalog.COST, STEP, *own, by=by)} / {q.rate(calls, STEP, RATED, *own, by=by)}"], tool,
            ),
            Panel(
                "Tokens per second", "Cached ones are a part of input.", "short",
                [q.rate(catalog.TOKENS, STEP, 'type!="cached"', *own, by="type")], "{{type}}",
            ),
            Panel(
                "Budgets", "Spent, and the limit.", "currencyUSD",
                [f"max by (budget) ({q.series(metric)})" for metric in (catalog.BUDGET_SPENT, catalog.BUDGET_LIMIT)],
                "{{budget}} spent|{{budget}} limit",
            ),
            Panel(
                "Calls refused by a budget", "They did not run.", "reqps",
                [q.rate(catalog.BUDGET_REJECTIONS, STEP, by="budget")], "{{budget}}",
            ),
        ],
    )  # fmt: skip
    yield (
        "The monitoring itself",
        [
            Panel(
                "Programs that can be scraped", "By job; a program that has ended is not there.", "short",
                ['sum by (job) (up{job=~"$job",instance=~"$instance"})'], "{{job}}",
            ),
            Panel(
                "Calls waiting for a sink", "More and more means that the sink is too slow.", "short",
                [f"sum by (sink) ({q.series(catalog.QUEUE_SIZE)})"], "{{sink}}",
            ),
            Panel(
                "Calls handed to sinks", "By result.", "reqps",
                [q.rate(catalog.SINK_CALLS, STEP, by="sink, result")], "{{sink}} {{result}}",
            ),
        ],
    )  # fmt: skip


def render_dashboard(labels: Sequence[str] = (), native: bool = False) -> str:
    """Return the dashboard as JSON for Grafana's import.

    Args:
        labels: the labels that `PrometheusExporter(labels=...)` has.
        native: whether Prometheus keeps native histograms.
    """
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in list_panels(labels, native):
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )  # fmt: skip
        x, height = 0, 0
        y += 1
        for panel in row:
            if x + panel.width > 24:
                x, y, height = 0, y + height, 0
            at = {"x": x, "y": y, "w": panel.width, "h": 4 if panel.kind == "stat" else 8}
            panels.append(_panel(len(panels) + 1, panel, at))
            x, height = x + panel.width, at["h"]
        y += height
    name = catalog.EXECUTIONS.name
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _variable("job", "Job", f"label_values({name}, job)"),
        _variable("instance", "Instance", f'label_values({name}{{job=~"$job"}}, instance)'),
        _variable("tool", "Tool", f'label_values({name}{{job=~"$job",instance=~"$instance"}}, tool_name)'),
        *[_variable(label, label, f'label_values({name}{{job=~"$job"}}, {label})') for label in labels],
    ]
    dashboard = {
        "title": "Toolweaver: tools", "uid": "toolweaver-tools", "tags": ["toolweaver"], "schemaVersion": 39,
        "editable": True, "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables}, "panels": panels,
    }  # fmt: skip
    return json.dumps(dashboard, indent=2) + "\n"


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _panel(number: int, panel: Panel, at: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    targets = [
        {"refId": chr(65 + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend,
         "instant": instant}
        for place, (expression, legend) in enumerate(zip(panel.expressions, panel.legend.split("|"), strict=True))
    ]  # fmt: skip
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}} if instant else {"legend": {"displayMode": "list"}}
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.sentence, "datasource": SOURCE,
        "gridPos": at, "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options, "targets": targets,
    }  # fmt: skip
