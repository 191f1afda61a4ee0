"""How does the whole report read?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import escape, more, pluralize, rank_rows, table
from toolweaver_monitor.sinks._memory.metrics import summarize

TIMES = ("avg_duration_s", "p50_s", "p95_s", "p99_s")


def report_text(held: Components, limit: int | None) -> str:
    """Summary by tool, costs, errors and budgets as plain text, safe for a terminal; so many rows of each."""
    lines = ["Tools", *tools_text(held.metrics._by_tool(), limit)]
    lines += ["", held.costs.text(limit), "", held.errors.text(limit)]
    lines += sinks_text(held)
    budgets = held.budgets()
    if budgets:
        lines += ["", "Budgets", *_budgets_text(budgets, limit)]
    return "\n".join(lines)


def _budgets_text(budgets: Sequence[Mapping[str, Any]], limit: int | None) -> list[str]:
    """Limit, spent, left and rejected of each; where each customer has an account, of those that are worst off."""
    count = len(budgets)
    if limit is not None and count > limit:
        budgets = sorted(budgets, key=lambda one: (-one["rejections"], one["remaining"] / (one["limit"] or 1)))[:limit]
    rows = [["budget", "limit", "spent", "left", "rejected"]]
    for budget in budgets:
        amounts = [amount(budget[key], budget["unit"]) for key in ("limit", "spent", "remaining")]
        rows.append([escape(budget["name"]), *amounts, f"{budget['rejections']:,}"])
    lines = [*table(rows), *more(len(budgets), count)]
    return lines + [why for budget in budgets if (why := _why_refusing(budget))]


def _why_refusing(budget: Mapping[str, Any]) -> str:
    """What a budget that has refused calls wants; nothing where it has not."""
    if not budget["rejections"]:
        return ""
    cure = f"raise limit_{budget['unit']}="
    if budget["remaining"] > 0:
        cure += " (what is left is too little for the next call)"
    elif budget["frees_in_s"]:
        cure += f", or wait: it has room again in {seconds(budget['frees_in_s'])}"
    elif budget["per"] == "run":
        cure += ", or start a new run with setup()"
    calls = "call was" if budget["rejections"] == 1 else "calls were"
    return f"  {escape(budget['name'])}: {budget['rejections']:,} {calls} not run; {cure}"


def tools_text(tools: Mapping[str, ToolStats], limit: int | None) -> list[str]:
    """How often each tool ran, how it ended and how long it took, most calls first; a column only for what there is."""
    shown, left_out = rank_rows(tools, lambda tally: tally.calls, limit)
    total = ToolStats()
    total.add(*tools.values())
    unusual = [outcome for outcome in ("cancelled", "rejected", "abandoned") if total.outcomes[outcome]]
    told = [pluralize(total.calls, "call"), f"{total.failures:,} failed"]
    told += [f"{total.outcomes[outcome]:,} {outcome}" for outcome in unusual]
    if total.judged:
        told.append(f"{total.outcomes['success'] / total.judged:.1%} succeeded")
    lines = ["  " + ", ".join(told)]
    if tools:
        tokens = ["tokens"] if total.tokens else []
        rows = [["tool", "calls", "failed", *unusual, *tokens, "average", "p50", "p95", "p99"]]
        for tool, tally in shown:
            counts = [tally.calls, tally.failures, *(tally.outcomes[outcome] for outcome in unusual)]
            counts += [tally.tokens] if tokens else []
            figures = summarize(tally)
            times = [seconds(figures[key]) if tally.ran else "-" for key in TIMES]
            rows.append([escape(tool), *(f"{count:,}" for count in counts), *times])
        lines += [*table(rows), *left_out]
    return lines


def sinks_text(held: Components) -> list[str]:
    """The sinks that lost calls, or still have some waiting; nothing where all is delivered."""
    rows = []
    for runner in held.runners:
        books = runner.stats()
        if books.lost or books.state != "ok":
            rows.append(
                [escape(runner.name), books.state, f"{books.delivered:,}", f"{books.failed:,}", f"{books.dropped:,}"]
            )
    return ["", "Sinks", *table([["sink", "state", "delivered", "failed", "dropped"], *rows])] if rows else []


def seconds(value: float) -> str:
    """A duration as people read it."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} us"


def amount(value: float, unit: str) -> str:
    """A figure of a budget with its unit."""
    if unit == "usd" and 0 < value < 1e-4:
        return f"${value:.9f}".rstrip("0")
    return f"${value:,.4f}" if unit == "usd" else f"{value:,.0f} {unit}"
