"""Turn statistics into Prometheus samples, and samples into text.

The text is written straight from the statistics: no metric object is kept per tool, and no call ever touches one.
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
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.sinks._prometheus.catalog import Metric

MAX_BUDGET_ACCOUNTS = 200
"""Accounts of budgets that are shown, with three series each. `health()` and the report show all of them."""

Sample = tuple[str, tuple[str, ...], float]
"""Suffix of the metric's name, label values in the metric's order (`le` last), value."""

OwnCounts = tuple[list[int], list[int]]
"""Durations and times to the first item by bucket, each one more than there are bounds."""


class Snapshot(NamedTuple):
    """Everything that is exposed at one moment."""

    tools: Mapping[str, ToolStats]
    active: Mapping[str, int] = {}
    """Open calls by tool."""
    declared: Mapping[str, bool] = {}
    """Tools that are shown before their first call, each with whether a cost is declared for it."""
    budgets: Iterable[Mapping[str, Any]] = ()
    sinks: Mapping[str, Mapping[str, Any]] = {}
    """Delivery statistics of each sink."""
    own_buckets: Mapping[str, OwnCounts] | None = None
    """Counts per tool for buckets that are not powers of two."""
    bounds: tuple[float, ...] = catalog.BUCKETS_S
    first_item_bounds: tuple[float, ...] = catalog.BUCKETS_S
    labels: tuple[str, ...] = ()
    """Tags that are labels of what `catalog.LABELLED` lists."""
    labelled: Mapping[tuple[str, ...], ToolStats] = {}
    """What was counted by tool and by the values of these tags."""
    max_names: int = MAX_NAMES
    """Tools with a name of their own; the rest is `__overflow__`."""


class FolderBusy(SinkUnavailable):
    """What other workers have counted is out of reach at this moment, and was not shown before."""


NEVER_RAN = ToolStats()


def list_tools(snapshot: Snapshot) -> Mapping[str, ToolStats]:
    """Return every tool to show with its statistics: those that ran, those that are declared, those that run."""
    tools = dict(snapshot.tools)
    for tool in (*snapshot.declared, *snapshot.active, *(row[0] for row in snapshot.labelled)):
        tools.setdefault(tool, NEVER_RAN)
    return cap_tools(tools, snapshot.max_names)


def list_rows(snapshot: Snapshot, tools: Mapping[str, ToolStats]) -> list[tuple[str, tuple[str, ...], ToolStats]]:
    """Return every tool to show, once for each combination of labels, with the statistics of its calls."""
    if not snapshot.labels:
        return [(tool, (), stats) for tool, stats in tools.items()]
    none = ("",) * len(snapshot.labels)
    rows = {(tool, *none): ToolStats() for tool in snapshot.declared if tool in tools}
    for (tool, *values), stats in snapshot.labelled.items():
        row = (tool if tool in tools else OVERFLOW, *values)
        if row in rows:
            rows[row].add(stats)
        else:
            rows[row] = stats
    return [(tool, tuple(values), stats) for (tool, *values), stats in rows.items()]


def cap_tools(tools: Mapping[str, ToolStats], max_names: int) -> Mapping[str, ToolStats]:
    """Return at most `max_names` tools by name, and the rest summed as `__overflow__`.

    Totals stay exact and the number of series bounded. Names that are written in the code always stay.
    """
    dynamic = [tool for tool in tools if tool not in declared_names and tool != OVERFLOW]
    if len(dynamic) <= max_names:
        return tools
    over = set(dynamic[max_names:])
    named = {tool: stats for tool, stats in tools.items() if tool not in over}
    named[OVERFLOW] = rest = named.get(OVERFLOW, ToolStats()).copy()
    for tool in over:
        rest.add(tools[tool])
    return named


def cap_budgets(
    budgets: Iterable[Mapping[str, Any]], max_accounts: int = MAX_BUDGET_ACCOUNTS
) -> list[Mapping[str, Any]]:
    """Return at most `max_accounts` accounts by name, the oldest ones, and the rest summed as `__overflow__` by unit.

    Budgets without accounts, whose names are written in the code, always stay.
    """
    budgets = list(budgets)
    accounts = [budget for budget in budgets if budget.get("account") is not None]
    if len(accounts) <= max_accounts:
        return budgets
    over = {id(budget) for budget in accounts[max_accounts:]}
    named = [budget for budget in budgets if id(budget) not in over]
    for unit in dict.fromkeys(budget["unit"] for budget in accounts[max_accounts:]):
        rest = [budget for budget in accounts[max_accounts:] if budget["unit"] == unit]
        totals = {key: sum(budget[key] for budget in rest) for key in ("limit", "spent", "rejections")}
        named.append({"name": OVERFLOW, "unit": unit, **totals})
    return named


def read_metrics(snapshot: Snapshot) -> Iterator[tuple[Metric, list[Sample]]]:
    """Return every metric with its samples, which may be none."""
    tools = list_tools(snapshot)

    def per_tool(value: Callable[[ToolStats], float]) -> list[Sample]:
        return [("", (tool,), value(stats)) for tool, stats in tools.items() if value(stats)]

    rows = list_rows(snapshot, tools)

    def labelled(metric: Metric, samples: Callable[[str, ToolStats], Iterable[Sample]]) -> tuple[Metric, list[Sample]]:
        return metric._replace(labels=metric.labels + snapshot.labels), [
            (suffix, own + values, value) for tool, values, stats in rows for suffix, own, value in samples(tool, stats)
        ]

    def costs(tool: str, stats: ToolStats) -> Iterator[Sample]:
        if stats.usage.costed or snapshot.declared.get(tool):
            yield "", (tool,), stats.usage.cost_nanousd / NANO

    yield labelled(catalog.EXECUTIONS, _read_outcomes)
    yield catalog.DURATION, [s for tool, stats in tools.items() for s in _read_durations(tool, stats, snapshot)]
    yield labelled(catalog.COST, costs)
    yield catalog.ACTIVE, [("", (), sum(snapshot.active.values()))]
    yield catalog.ACTIVE_BY_TOOL, _read_active(tools, snapshot.active)
    yield catalog.ERRORS_BY_TYPE, [("", (tool, e), n) for tool, stats in tools.items() for e, n in stats.errors.items()]
    yield labelled(catalog.TOKENS, _read_tokens)
    yield catalog.FIRST_ITEM, [s for tool, stats in tools.items() for s in _read_first_items(tool, stats, snapshot)]
    yield catalog.UNPRICED, per_tool(lambda stats: stats.usage.unpriced)
    yield catalog.CACHE_HITS, per_tool(lambda stats: stats.usage.cache_hits)
    yield catalog.RETRIES, per_tool(lambda stats: stats.usage.retries)
    budgets = cap_budgets(snapshot.budgets)
    in_usd = [budget for budget in budgets if budget["unit"] == "usd"]
    yield catalog.BUDGET_LIMIT, [("", (b["name"],), b["limit"]) for b in in_usd]
    yield catalog.BUDGET_SPENT, [("", (b["name"],), b["spent"]) for b in in_usd]
    rejections: dict[str, int] = {}
    for budget in budgets:
        rejections[budget["name"]] = rejections.get(budget["name"], 0) + budget["rejections"]
    yield catalog.BUDGET_REJECTIONS, [("", (name,), count) for name, count in rejections.items()]
    yield catalog.SINK_CALLS, [s for sink, stats in snapshot.sinks.items() for s in _read_sink_calls(sink, stats)]
    yield catalog.QUEUE_SIZE, [("", (sink,), stats["queued"]) for sink, stats in snapshot.sinks.items()]


def _read_outcomes(tool: str, stats: ToolStats) -> Iterator[Sample]:
    for outcome in catalog.ALWAYS_SHOWN:
        yield "", (tool, outcome), stats.outcomes[outcome]
    for outcome, count in stats.outcomes.items():
        if count and outcome not in catalog.ALWAYS_SHOWN:
            yield "", (tool, outcome), count


def _read_active(tools: Mapping[str, ToolStats], active: Mapping[str, int]) -> list[Sample]:
    by_tool = dict.fromkeys(tools, 0)
    for tool, count in active.items():
        by_tool[tool if tool in tools else OVERFLOW] += count
    return [("", (tool,), count) for tool, count in by_tool.items()]


def _read_durations(tool: str, stats: ToolStats, snapshot: Snapshot) -> Iterator[Sample]:
    counts = _at_most(stats.buckets, tool, 0, snapshot)
    yield from _read_histogram(tool, snapshot.bounds, counts, stats.executed, stats.duration_sum_s)


def _read_first_items(tool: str, stats: ToolStats, snapshot: Snapshot) -> Iterator[Sample]:
    count = sum(stats.first_item_buckets.values())
    if count:
        counts = _at_most(stats.first_item_buckets, tool, 1, snapshot)
        yield from _read_histogram(tool, snapshot.first_item_bounds, counts, count, stats.first_item_sum_s)


def _at_most(buckets: histogram.Buckets, tool: str, which: int, snapshot: Snapshot) -> list[int]:
    """Return how many durations (0) or times to the first item (1) were at most each bound."""
    if snapshot.own_buckets is None:
        return histogram.at_most(buckets, catalog.BUCKET_EXPONENTS)
    bounds = snapshot.first_item_bounds if which else snapshot.bounds
    own = snapshot.own_buckets.get(tool)
    return list(accumulate(own[which]))[:-1] if own else [0] * len(bounds)


def _read_histogram(
    tool: str, bounds: tuple[float, ...], at_most: list[int], count: int, total_s: float
) -> Iterator[Sample]:
    for bound, below in zip(bounds, at_most, strict=True):
        yield "_bucket", (tool, repr(bound)), below
    yield "_bucket", (tool, "+Inf"), count
    yield "_count", (tool,), count
    yield "_sum", (tool,), total_s


def _read_tokens(tool: str, stats: ToolStats) -> Iterator[Sample]:
    for kind in ("input", "output", "cached", "unsplit"):
        tokens = getattr(stats.usage, f"{kind}_tokens")
        if tokens:
            yield "", (tool, kind), tokens


def _read_sink_calls(sink: str, stats: Mapping[str, Any]) -> Iterator[Sample]:
    yield "", (sink, "delivered", ""), stats["delivered"]
    for result in ("failed", "dropped"):
        by_reason = stats[f"{result}_by"]
        for reason, count in by_reason.items():
            yield "", (sink, result, reason), count
        if not by_reason:
            yield "", (sink, result, ""), 0


def render(snapshot: Snapshot) -> str:
    """Return the whole exposition as text."""
    lines: list[str] = []
    for metric, samples in read_metrics(snapshot):
        if not samples:
            continue
        lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}")
        head = [f'{label}="' for label in metric.labels]
        for suffix, values, value in samples:
            if suffix == "_bucket":
                tool, bound = values
                lines.append(f'{metric.name}_bucket{{tool_name="{escape_label(tool)}",le="{bound}"}} {value}')
            elif values:
                labels = ",".join([f'{name}{escape_label(v)}"' for name, v in zip(head, values, strict=True)])
                lines.append(f"{metric.name}{suffix}{{{labels}}} {value}")
            else:
                lines.append(f"{metric.name}{suffix} {value}")
    lines.append("")
    return "\n".join(lines)


def escape_label(value: str) -> str:
    """Return a label value escaped for the text format; characters that cannot be encoded become `?`."""
    if value.isascii() and value.isalnum():
        return value
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
