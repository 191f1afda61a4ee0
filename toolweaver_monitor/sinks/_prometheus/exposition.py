"""What does Prometheus get to read? The tallies as samples, and the samples as text.

The text is written straight from the tallies: no metric object is kept per tool, and no call ever touches one.
Format: Prometheus text exposition 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW, declared_names
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.sinks._prometheus.catalog import Metric

MAX_ACCOUNTS = 200
"""Of budgets: three series each. A customer's own figures are for `health()` and the report, not for labels."""

Sample = tuple[str, tuple[str, ...], float]
"""Suffix of the metric's name, label values in the metric's order (`le` last), value."""


class Snapshot(NamedTuple):
    """All that is exposed at one moment."""

    tools: Mapping[str, ToolStats]
    active: int = 0
    budgets: Iterable[Mapping[str, Any]] = ()
    books: Mapping[str, Mapping[str, Any]] = {}
    own_buckets: Mapping[str, list[int]] | None = None
    """Counts per tool for buckets that are not powers of two, one more than there are bounds."""
    bounds: tuple[float, ...] = catalog.BUCKETS_S
    most_names: int = MAX_NAMES
    """Tools told apart; the rest is `__overflow__`."""


def capped(tools: Mapping[str, ToolStats], most: int) -> Mapping[str, ToolStats]:
    """At most so many tools by name, the rest summed as `__overflow__`: totals stay exact, series bounded.

    Names that are written in the code always stay.
    """
    made_up = [tool for tool in tools if tool not in declared_names and tool != OVERFLOW]
    if len(made_up) <= most:
        return tools
    over = set(made_up[most:])
    named = {tool: tally for tool, tally in tools.items() if tool not in over}
    named[OVERFLOW] = rest = named.get(OVERFLOW, ToolStats()).copy()
    for tool in over:
        rest.add(tools[tool])
    return named


def capped_budgets(budgets: Iterable[Mapping[str, Any]], most: int = MAX_ACCOUNTS) -> list[Mapping[str, Any]]:
    """At most so many accounts by name, those opened first; the rest summed as `__overflow__`, by unit.

    Budgets that have no accounts, and so are named in the code, always stay.
    """
    budgets = list(budgets)
    accounts = [budget for budget in budgets if budget.get("account") is not None]
    if len(accounts) <= most:
        return budgets
    over = {id(budget) for budget in accounts[most:]}
    named = [budget for budget in budgets if id(budget) not in over]
    for unit in dict.fromkeys(budget["unit"] for budget in accounts[most:]):
        rest = [budget for budget in accounts[most:] if budget["unit"] == unit]
        sums = {key: sum(budget[key] for budget in rest) for key in ("limit", "spent", "rejections")}
        named.append({"name": OVERFLOW, "unit": unit, **sums})
    return named


def families(figures: Snapshot) -> Iterator[tuple[Metric, list[Sample]]]:
    """Every metric that has something to say, with its samples."""
    tools = capped(figures.tools, figures.most_names)

    def per_tool(value: Callable[[ToolStats], float]) -> list[Sample]:
        return [("", (tool,), value(tally)) for tool, tally in tools.items() if value(tally)]

    yield (
        catalog.EXECUTIONS,
        [("", (tool, o), n) for tool, tally in tools.items() for o, n in tally.outcomes.items() if n],
    )
    yield catalog.DURATION, [s for tool, tally in tools.items() for s in _durations(tool, tally, figures)]
    yield catalog.COST, [("", (tool,), t.cost_nanousd / NANO) for tool, t in tools.items() if t.costed]
    yield catalog.ACTIVE, [("", (), figures.active)]
    yield catalog.ERRORS, [("", (tool, e), n) for tool, tally in tools.items() for e, n in tally.errors.items()]
    yield catalog.TOKENS, [s for tool, tally in tools.items() for s in _tokens(tool, tally)]
    yield catalog.FIRST_ITEM, [s for tool, tally in tools.items() for s in _first_items(tool, tally)]
    yield catalog.UNPRICED, per_tool(lambda tally: tally.unpriced)
    yield catalog.CACHE_HITS, per_tool(lambda tally: tally.cache_hits)
    yield catalog.RETRIES, per_tool(lambda tally: tally.retries)
    budgets = capped_budgets(figures.budgets)
    money = [budget for budget in budgets if budget["unit"] == "usd"]
    yield catalog.BUDGET_LIMIT, [("", (b["name"],), b["limit"]) for b in money]
    yield catalog.BUDGET_SPENT, [("", (b["name"],), b["spent"]) for b in money]
    rejections: dict[str, int] = {}
    for budget in budgets:
        rejections[budget["name"]] = rejections.get(budget["name"], 0) + budget["rejections"]
    yield catalog.BUDGET_REJECTIONS, [("", (name,), count) for name, count in rejections.items()]
    yield catalog.SINK_CALLS, [s for sink, books in figures.books.items() for s in _sink_calls(sink, books)]
    yield catalog.QUEUE_SIZE, [("", (sink,), books["queued"]) for sink, books in figures.books.items()]


def _durations(tool: str, tally: ToolStats, figures: Snapshot) -> Iterator[Sample]:
    if figures.own_buckets is None:
        counts = histogram.at_most(tally.buckets, catalog.BUCKET_EXPONENTS)
    else:
        counts = list(accumulate(figures.own_buckets.get(tool, [0] * (len(figures.bounds) + 1))))[:-1]
    yield from _histogram(tool, figures.bounds, counts, tally.ran, tally.duration_sum_s)


def _first_items(tool: str, tally: ToolStats) -> Iterator[Sample]:
    count = sum(tally.first_item_buckets.values())
    if count:
        counts = histogram.at_most(tally.first_item_buckets, catalog.BUCKET_EXPONENTS)
        yield from _histogram(tool, catalog.BUCKETS_S, counts, count, tally.first_item_sum_s)


def _histogram(
    tool: str, bounds: tuple[float, ...], at_most: list[int], count: int, total_s: float
) -> Iterator[Sample]:
    for bound, below in zip(bounds, at_most, strict=True):
        yield "_bucket", (tool, repr(bound)), below
    yield "_bucket", (tool, "+Inf"), count
    yield "_count", (tool,), count
    yield "_sum", (tool,), total_s


def _tokens(tool: str, tally: ToolStats) -> Iterator[Sample]:
    for kind in ("input", "output", "cached", "unsplit"):
        tokens = getattr(tally, f"{kind}_tokens")
        if tokens:
            yield "", (tool, kind), tokens


def _sink_calls(sink: str, books: Mapping[str, Any]) -> Iterator[Sample]:
    yield "", (sink, "delivered", ""), books["delivered"]
    for result in ("failed", "dropped"):
        by_reason = books[f"{result}_by"]
        for reason, count in by_reason.items():
            yield "", (sink, result, reason), count
        if not by_reason:
            yield "", (sink, result, ""), 0


def text(figures: Snapshot) -> str:
    """The whole exposition."""
    lines: list[str] = []
    for metric, samples in families(figures):
        if not samples:
            continue
        lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}")
        head = [f'{label}="' for label in metric.labels]
        for suffix, values, value in samples:
            if suffix == "_bucket":
                tool, bound = values
                lines.append(f'{metric.name}_bucket{{tool_name="{escaped(tool)}",le="{bound}"}} {value}')
            elif values:
                labels = ",".join([f'{name}{escaped(v)}"' for name, v in zip(head, values, strict=True)])
                lines.append(f"{metric.name}{suffix}{{{labels}}} {value}")
            else:
                lines.append(f"{metric.name}{suffix} {value}")
    lines.append("")
    return "\n".join(lines)


def escaped(value: str) -> str:
    """A label value as the text format wants it; what cannot be encoded is shown as `?`."""
    if value.isascii() and value.isalnum():
        return value
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
