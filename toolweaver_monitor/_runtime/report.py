"""The text of `Monitor.report()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolweaver_monitor._budget import BudgetStatus
from toolweaver_monitor._core.call import UNRATED_OUTCOMES
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.display import escape, format_seconds, format_wait, more, pluralize, rank_rows, table
from toolweaver_monitor.sinks._memory.metrics import summarize


def report_text(components: Components, limit: int | None) -> str:
    """Return tools, costs, errors, sinks and budgets as plain text, safe for a terminal, `limit` rows of each."""
    tools = components.metrics._by_tool()
    lines = ["Tools", *_tools(tools, limit)]
    lines += ["", components.costs._text(limit), "", components.errors._text(limit, failed_only=True)]
    tree = components.metrics._tree()
    if tree.is_nested:
        lines += ["", "Where it went", tree.text(limit)]
    lines += _sinks(components)
    budgets = components.budgets()
    if budgets:
        lines += ["", "Budgets", *_budgets(budgets, limit)]
        if any(one["rejections"] for one in budgets) and any(each.outcomes["interrupted"] for each in tools.values()):
            lines.append("  a call that BudgetExceeded passed through is interrupted: neither a success nor an error")
    return "\n".join(lines)


def totals_and_budgets(components: Components) -> list[str]:
    """Return a line of totals, and one for each of the three budgets with the least left."""
    total = ToolStats()
    total.add(*components.metrics._by_tool().values())
    usage = total.usage
    parts = [pluralize(total.calls, "call"), f"{total.failures:,} failed"]
    parts += [f"${usage.cost_nanousd / NANO:,.4f}"] if usage.costed else []
    parts += [f"{usage.unpriced:,} of unknown cost"] if usage.unpriced else []
    lines = [", ".join(parts)]
    limited = [each for each in components.budgets() if each["unit"] != "repeats"]
    for each in sorted(limited, key=lambda one: one["remaining"] / (one["limit"] or 1))[:3]:
        left, limit = (
            f"${amount:,.2f}" if each["unit"] == "usd" else f"{amount:,.0f} {each['unit']}"
            for amount in (each["remaining"], each["limit"])
        )
        lines.append(f"budget {each['name']}: {left} left of {limit}")
    return lines


def _tools(tools: Mapping[str, ToolStats], limit: int | None) -> list[str]:
    """Return how often each tool ran, how it ended and how long it took; the most calls first.

    An outcome, retries, or tokens, get a column only if a tool has some. A failed attempt of which another one came
    did not fail in the end.
    """
    shown, left_out = rank_rows(tools, lambda stats: stats.calls, limit)
    total = ToolStats()
    total.add(*tools.values())
    unusual = [outcome for outcome in UNRATED_OUTCOMES if total.outcomes[outcome]]
    totals = [pluralize(total.calls, "call"), f"{total.failures:,} failed"]
    totals += [f"{total.outcomes[outcome]:,} {outcome}" for outcome in unusual]
    if total.rated:
        totals.append(f"{total.outcomes['success'] / total.rated:.1%} succeeded")
    lines = ["  " + ", ".join(totals)]
    if tools:
        tokens = ["tokens"] if total.usage.tokens else []
        retries = ["retries", "failed in the end"] if total.usage.retries else []
        rows = [["tool", "calls", "failed", *retries, *unusual, *tokens, "average", "p50", "p95", "p99"]]
        for tool, stats in shown:
            counts = [stats.calls, stats.failures]
            counts += [stats.usage.retries, max(0, stats.failures - stats.usage.later_attempts)] if retries else []
            counts += [*(stats.outcomes[outcome] for outcome in unusual)]
            counts += [stats.usage.tokens] if tokens else []
            rows.append([escape(tool), *(f"{count:,}" for count in counts), *_durations(stats)])
        lines += [*table(rows), *left_out]
    return lines


def _durations(stats: ToolStats) -> list[str]:
    if not stats.executed:
        return ["-"] * 4
    summary = summarize(stats)
    return list(map(format_seconds, (summary["avg_duration_s"], summary["p50_s"], summary["p95_s"], summary["p99_s"])))


def _sinks(components: Components) -> list[str]:
    """Return the sinks that lost calls or are in trouble, and why; nothing if all is delivered."""
    rows, reasons = [], []
    for runner in components.runners:
        stats = runner.stats()
        if stats.lost or stats.state != "ok":
            counts = (stats.delivered, stats.failed, stats.dropped)
            rows.append([escape(runner.name), stats.state, *(f"{count:,}" for count in counts)])
            if stats.last_error:
                reasons.append(f"  {escape(runner.name)}: {stats.last_error}")
    return ["", "Sinks", *table([["sink", "state", "delivered", "failed", "dropped"], *rows]), *reasons] if rows else []


def _budgets(budgets: Sequence[BudgetStatus], limit: int | None) -> list[str]:
    """Return limit, spent, left and rejections of each account; if there are too many, of those with the least left.

    Calls of unknown cost get a column if there are any.
    """
    count = len(budgets)
    if limit is not None and count > limit:
        budgets = sorted(budgets, key=lambda one: (-one["rejections"], one["remaining"] / (one["limit"] or 1)))[:limit]
    has_unknown = any(budget["unknown_cost_calls"] for budget in budgets)
    rows = [["budget", "limit", "spent", "left", "rejected", *(["unknown cost"] if has_unknown else [])]]
    for budget in budgets:
        unit = budget["unit"]
        amounts = [_amount(value, unit) for value in (budget["limit"], budget["spent"], budget["remaining"])]
        if unit == "repeats":  # each call has its own
            amounts[1:] = ["-", "-"]
        unknown = [f"{budget['unknown_cost_calls']:,}"] if has_unknown else []
        rows.append([escape(budget["name"]), *amounts, f"{budget['rejections']:,}", *unknown])
    lines = [*table(rows), *more(len(budgets), count)]
    return lines + [hint for budget in budgets if (hint := _budget_hint(budget))]


def _budget_hint(budget: BudgetStatus) -> str:
    """Return what to do about a budget that rejected calls, or an empty string."""
    if not budget["rejections"]:
        return ""
    cure = "raise the limit"
    if budget["remaining"] > 0:
        cure += " (what is left is too little for the next call)"
    elif budget["frees_in_s"]:
        cure += f", or wait: it has room again in {format_wait(budget['frees_in_s'])}"
    elif budget["per"] == "run":
        cure += ", or start a new run with setup()"
    calls = "call was" if budget["rejections"] == 1 else "calls were"
    return f"  {escape(budget['name'])}: {budget['rejections']:,} {calls} not run; {cure}"


def _amount(value: float, unit: str) -> str:
    """Return an amount of a budget with its unit."""
    if unit == "usd" and 0 < value < 1e-4:
        return f"${value:.9f}".rstrip("0")
    return f"${value:,.4f}" if unit == "usd" else f"{value:,.0f} {unit}"
