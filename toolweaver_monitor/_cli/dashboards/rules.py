"""Alert rules for Prometheus, with thresholds that the command line can change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from toolweaver_monitor._cli.dashboards.queries import FAILED, RATED, Queries
from toolweaver_monitor.sinks._prometheus import catalog

HEAD = """\
# Alerts for tools watched by toolweaver_monitor, written by `toolweaver-monitor rules`. Its options set the thresholds.
# A duration above the highest classic bucket (1,024 s, if you give no others) is shown as that.
groups:
  - name: toolweaver
    rules:"""

BURNS = (("ToolFailsFast", "critical", 14.4, "1h", "5m"), ("ToolFailsSlowly", "warning", 6.0, "6h", "30m"))
"""Alert, severity, how many times as fast as allowed errors come, over which long and which short window.

These are the windows of the SRE workbook: 2 % of a month's errors in an hour, 5 % in six hours.
"""


class Thresholds(NamedTuple):
    """When an alert fires."""

    objective: float = 0.99
    """The share of calls that should succeed."""
    p95_s: float = 30.0
    """What one call in twenty of a tool may take, in seconds."""
    p95_of_tools_s: Mapping[str, float] = {}
    """The same for single tools."""
    usd_an_hour: float = 20.0
    spike: float = 4.0
    """How many times a tool's own usual cost of an hour is a spike."""
    spike_usd: float = 5.0
    """The least dollars in an hour that are a spike."""
    job: str = "toolweaver"


class Alert(NamedTuple):
    """One rule."""

    name: str
    severity: str
    expression: str
    summary: str
    lasts: str = ""
    """How long it must hold."""


def list_alerts(limits: Thresholds, native: bool) -> Iterator[Alert]:
    """Return every rule."""
    q, by = Queries(native=native), "tool_name"
    for name, severity, times, long, short in BURNS:
        allowed = f"{times * (1 - limits.objective):.4g}"
        ratios = [q.share(catalog.EXECUTIONS, window, FAILED, RATED, by=by) for window in (long, short)]
        yield Alert(
            name, severity, f"({ratios[0]}) > {allowed}\nand ({ratios[1]}) > {allowed}",
            "{{ $value | humanizePercentage }} of the calls of {{ $labels.tool_name }} failed in the last " + long,
        )  # fmt: skip
    cut_off = q.share(catalog.EXECUTIONS, "10m", 'status="cancelled"', 'status!="rejected"', by=by)
    yield Alert(
        "ToolIsCutOff", "warning", f"{cut_off} > 0.1",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.tool_name }} are cancelled, "
        "as asyncio.wait_for does", "5m",
    )  # fmt: skip
    slow = "one call in twenty of {{ $labels.tool_name }} takes longer than {{ $value | humanizeDuration }}"
    own = limits.p95_of_tools_s
    rest = [f'tool_name!~"{"|".join(map(_escape, own))}"'] if own else []
    slowest = [f"{q.quantile(0.95, catalog.DURATION, '10m', *rest)} > {limits.p95_s:g}"]
    for tool, seconds in own.items():
        name = f'tool_name="{_escape_text(tool)}"'
        slowest.append(f"{q.quantile(0.95, catalog.DURATION, '10m', name)} > {seconds:g}")
    yield Alert("ToolIsSlow", "warning", "\nor ".join(slowest), slow, "10m")
    active, ended = q.series(catalog.ACTIVE_BY_TOOL), q.increase(catalog.EXECUTIONS, "30m", by=by)
    yield Alert(
        "ToolHangs", "warning", f"sum by (tool_name) (min_over_time({active}[30m])) > 0\nunless {ended} > 0",
        "{{ $value }} calls of {{ $labels.tool_name }} have been open for half an hour, and none has ended",
    )  # fmt: skip
    calls, usual = (
        q.increase(catalog.EXECUTIONS, "1h", by=by),
        q.increase(catalog.EXECUTIONS, "1d", by=by, offset="1h"),
    )
    yield Alert(
        "ToolIsHardlyCalled", "warning", f"{calls} < 0.2 * {usual} / 24\nand {usual} > 240",
        "{{ $labels.tool_name }} had {{ $value | humanize }} calls in an hour, less than a fifth of what is usual",
        "15m",
    )  # fmt: skip
    yield Alert(
        "ToolsSpendFast", "warning", f"{q.increase(catalog.COST, '1h')} > {limits.usd_an_hour:g}",
        'tools have spent ${{ $value | printf "%.2f" }} within an hour',
    )  # fmt: skip
    spent, before = q.increase(catalog.COST, "1h", by=by), q.increase(catalog.COST, "1d", by=by, offset="1h")
    yield Alert(
        "ToolCostSpikes", "warning",
        f"{spent} > {limits.spike:g} * {before} / 24\nand {spent} > {limits.spike_usd:g}",
        '{{ $labels.tool_name }} has spent ${{ $value | printf "%.2f" }} within an hour, '
        f"more than {limits.spike:g} times what is usual",
    )  # fmt: skip
    budget, limit = q.series(catalog.BUDGET_SPENT), q.series(catalog.BUDGET_LIMIT)
    yield Alert(
        "BudgetNearlySpent", "warning", f"{budget} / ({limit} > 0) > 0.9",
        "{{ $value | humanizePercentage }} of the budget {{ $labels.budget }} is spent",
    )  # fmt: skip
    yield Alert(
        "BudgetRunsOut", "warning", f"(({limit} - {budget}) > 0) / (deriv({budget}[1h]) > 0) < 4 * 3600",
        "the budget {{ $labels.budget }} is spent in {{ $value | humanizeDuration }} if tools go on like this", "10m",
    )  # fmt: skip
    yield Alert(
        "BudgetRefusesCalls", "warning", f"increase({q.series(catalog.BUDGET_REJECTIONS)}[10m]) > 0",
        "the budget {{ $labels.budget }} refuses calls",
    )  # fmt: skip
    yield Alert(
        "CostIsUnknown", "info", q.has_grown(catalog.UNPRICED, "1h", by=by),
        "calls of {{ $labels.tool_name }} have no known cost: give setup(prices=...)",
    )  # fmt: skip
    lost = q.has_grown(catalog.SINK_CALLS, "10m", 'result=~"dropped|failed"', by="sink, reason")
    yield Alert(
        "SinkLosesCalls", "warning", lost,
        "the sink {{ $labels.sink }} has lost calls ({{ $labels.reason }})",
    )  # fmt: skip
    down = f'up{{job="{_escape_text(limits.job)}"}} == 0'
    yield Alert("ToolweaverIsDown", "warning", down, "{{ $labels.instance }} cannot be scraped", "5m")


def render_rules(limits: Thresholds, native: bool = False) -> str:
    """Return the file of rules, as YAML."""
    lines = [HEAD]
    for alert in list_alerts(limits, native):
        lines += [f"      - alert: {alert.name}", "        expr: |"]
        lines += [f"          {line}" for line in alert.expression.split("\n")]
        lines += [f"        for: {alert.lasts}"] if alert.lasts else []
        summary = alert.summary.replace("\\", "\\\\").replace('"', '\\"')
        lines += [f"        labels: {{severity: {alert.severity}}}", "        annotations:"]
        lines += [f'          summary: "{summary}"', ""]
    return "\n".join(lines)


def _escape(tool: str) -> str:
    return _escape_text(re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", tool))


def _escape_text(text: str) -> str:
    """Escape what ends a string in PromQL, and what a line of YAML or Prometheus does not take: U+2028, U+FFFD."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(each if each.isprintable() and each != "\ufffd" else f"\\U{ord(each):08x}" for each in text)
