"""How does the whole report read?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolweaver_monitor.sinks.view import table
from toolweaver_monitor.text import visible

if TYPE_CHECKING:
    from toolweaver_monitor.monitor import Monitor


def report_text(monitor: Monitor) -> str:
    """Summary by tool, costs, errors and budgets as plain text, safe for a terminal."""
    summary = monitor.summary()
    rate = summary["success_rate"]
    lines = [
        "Tools",
        f"  {summary['count']:,} calls, {summary['failures']:,} failed"
        + ("" if rate is None else f", {rate:.1%} succeeded"),
    ]
    rows = [["tool", "calls", "failed", "average", "p50", "p95", "p99"]]
    for tool, figures in monitor.metrics.by_operation().items():
        times = [seconds(figures[key]) for key in ("avg_duration_s", "p50_s", "p95_s", "p99_s")]
        rows.append([visible(tool), f"{figures['count']:,}", f"{figures['failures']:,}", *times])
    if len(rows) > 1:
        lines += table(rows)
    lines += ["", monitor.costs.text(), "", monitor.errors.text()]
    budgets = monitor.ledger.status() if monitor.ledger is not None else []
    if budgets:
        lines += ["", "Budgets"]
        rows = [["budget", "limit", "spent", "left", "refused"]]
        for budget in budgets:
            amounts = [amount(budget[key], budget["unit"]) for key in ("limit", "spent", "remaining")]
            rows.append([visible(budget["name"]), *amounts, f"{budget['rejections']:,} calls"])
        lines += table(rows)
    return "\n".join(lines)


def seconds(value: float) -> str:
    """A duration as people read it."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} us"


def amount(value: float, unit: str) -> str:
    """A figure of a budget with its unit."""
    return f"${value:,.4f}" if unit == "usd" else f"{value:,.0f} {unit}"
