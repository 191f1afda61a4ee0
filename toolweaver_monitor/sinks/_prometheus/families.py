"""Turn statistics into families of series, which `exposition.py` writes as text, as OpenMetrics or as protobuf.

They are read straight from the statistics: no metric object is kept per tool, and no call ever touches one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW, declared_names
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.sinks._prometheus.catalog import Metric
from toolweaver_monitor.sinks._prometheus.exemplars import Exemplar, Exemplars, find_exemplars

MAX_BUDGET_ACCOUNTS = 200
"""Accounts of budgets that are shown, with three series each. `health()` and the report show all of them."""

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
    since_s: float | None = None
    """When the statistics of tools began to count, in Unix seconds; None if that is unknown."""
    recent: Sequence[ToolCall] = ()
    """The last calls, the oldest first, among which exemplars are found."""
    recent_errors: Sequence[ToolCall] = ()
    """The same of the last failures and timeouts."""


class HistogramValue(NamedTuple):
    """What a series of a histogram has counted, in both forms."""

    total: int
    sum_s: float
    bounds: tuple[float, ...]
    at_most: list[int]
    """Of the classic form: how many were at most each bound."""
    buckets: histogram.Buckets
    """Of the native form: those of the base-2 histogram."""
    exemplars: Mapping[int, Exemplar] = {}
    """By the place of the bound; one behind the last is `+Inf`."""


class Series(NamedTuple):
    """One series: the values of the metric's labels, in their order, and what it shows."""

    labels: tuple[str, ...]
    value: float | HistogramValue
    exemplar: Exemplar | None = None


class MetricFamily(NamedTuple):
    """A metric with its series, of which there is at least one."""

    metric: Metric
    series: list[Series]
    since_s: float | None = None
    """When its counters began, in Unix seconds, if that is known."""


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


def cap_budgets(budgets: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the oldest accounts by name, as many as are shown, and the rest summed as `__overflow__` by unit.

    Budgets without accounts, whose names are written in the code, always stay.
    """
    budgets = list(budgets)
    accounts = [budget for budget in budgets if budget.get("account") is not None]
    summed = accounts[MAX_BUDGET_ACCOUNTS:]
    over = {id(budget) for budget in summed}
    named = [budget for budget in budgets if id(budget) not in over]
    for unit in dict.fromkeys(budget["unit"] for budget in summed):
        rest = [budget for budget in summed if budget["unit"] == unit]
        totals = {key: sum(budget[key] for budget in rest) for key in ("limit", "spent", "rejections")}
        named.append({"name": OVERFLOW, "unit": unit, **totals})
    return named


def read_families(snapshot: Snapshot) -> Iterator[MetricFamily]:
    """Return every metric that has a series right now."""
    for metric, found in _read_all(snapshot):
        series = list(found)
        if series:
            counts = metric.type != "gauge" and metric not in catalog.COUNTED_ELSEWHERE
            yield MetricFamily(metric, series, snapshot.since_s if counts else None)


def _read_all(snapshot: Snapshot) -> Iterator[tuple[Metric, Iterable[Series]]]:
    tools = list_tools(snapshot)
    rows = list_rows(snapshot, tools)
    exemplars = find_exemplars(snapshot.recent, snapshot.recent_errors, snapshot.bounds, tools)

    def per_tool(value: Callable[[ToolStats], float]) -> list[Series]:
        return [Series((tool,), value(stats)) for tool, stats in tools.items() if value(stats)]

    def labelled(metric: Metric, read: Callable[[str, ToolStats], Iterable[Series]]) -> tuple[Metric, list[Series]]:
        return metric._replace(labels=metric.labels + snapshot.labels), [
            Series(own + values, value) for tool, values, stats in rows for own, value, _ in read(tool, stats)
        ]

    def costs(tool: str, stats: ToolStats) -> Iterator[Series]:
        if stats.usage.costed or snapshot.declared.get(tool):
            yield Series((tool,), stats.usage.cost_nanousd / NANO)

    yield labelled(catalog.EXECUTIONS, _read_outcomes)
    yield catalog.DURATION, [_read_durations(tool, stats, snapshot, exemplars) for tool, stats in tools.items()]
    yield labelled(catalog.COST, costs)
    yield catalog.ACTIVE, [Series((), sum(snapshot.active.values()))]
    yield catalog.ACTIVE_BY_TOOL, _read_active(tools, snapshot.active)
    yield (
        catalog.ERRORS_BY_TYPE,
        [
            Series((tool, kind), count, exemplars.failures.get((tool, kind)))
            for tool, stats in tools.items()
            for kind, count in stats.errors.items()
        ],
    )
    yield labelled(catalog.TOKENS, _read_tokens)
    yield catalog.FIRST_ITEM, _read_first_items(tools, snapshot)
    yield catalog.UNPRICED, per_tool(lambda stats: stats.usage.unpriced)
    yield catalog.CACHE_HITS, per_tool(lambda stats: stats.usage.cache_hits)
    yield catalog.RETRIES, per_tool(lambda stats: stats.usage.retries)
    budgets = cap_budgets(snapshot.budgets)
    in_usd = [budget for budget in budgets if budget["unit"] == "usd"]
    yield catalog.BUDGET_LIMIT, [Series((b["name"],), b["limit"]) for b in in_usd]
    yield catalog.BUDGET_SPENT, [Series((b["name"],), b["spent"]) for b in in_usd]
    rejections: dict[str, int] = {}
    for budget in budgets:
        rejections[budget["name"]] = rejections.get(budget["name"], 0) + budget["rejections"]
    yield catalog.BUDGET_REJECTIONS, [Series((name,), count) for name, count in rejections.items()]
    yield catalog.SINK_CALLS, [s for sink, stats in snapshot.sinks.items() for s in _read_sink_calls(sink, stats)]
    yield catalog.QUEUE_SIZE, [Series((sink,), stats["queued"]) for sink, stats in snapshot.sinks.items()]


def _read_outcomes(tool: str, stats: ToolStats) -> Iterator[Series]:
    for outcome in catalog.ALWAYS_SHOWN:
        yield Series((tool, outcome), stats.outcomes[outcome])
    for outcome, count in stats.outcomes.items():
        if count and outcome not in catalog.ALWAYS_SHOWN:
            yield Series((tool, outcome), count)


def _read_active(tools: Mapping[str, ToolStats], active: Mapping[str, int]) -> list[Series]:
    by_tool = dict.fromkeys(tools, 0)
    for tool, count in active.items():
        by_tool[tool if tool in tools else OVERFLOW] += count
    return [Series((tool,), count) for tool, count in by_tool.items()]


def _read_durations(tool: str, stats: ToolStats, snapshot: Snapshot, exemplars: Exemplars) -> Series:
    at_most = _at_most(stats.buckets, tool, 0, snapshot)
    found = exemplars.durations.get(tool, {})
    value = HistogramValue(stats.executed, stats.duration_sum_s, snapshot.bounds, at_most, stats.buckets, found)
    return Series((tool,), value)


def _read_first_items(tools: Mapping[str, ToolStats], snapshot: Snapshot) -> Iterator[Series]:
    for tool, stats in tools.items():
        buckets = stats.first_item_buckets
        count = sum(buckets.values())
        if count:
            at_most = _at_most(buckets, tool, 1, snapshot)
            bounds = snapshot.first_item_bounds
            yield Series((tool,), HistogramValue(count, stats.first_item_sum_s, bounds, at_most, buckets))


def _at_most(buckets: histogram.Buckets, tool: str, which: int, snapshot: Snapshot) -> list[int]:
    """Return how many durations (0) or times to the first item (1) were at most each bound."""
    if snapshot.own_buckets is None:
        return histogram.at_most(buckets, catalog.BUCKET_EXPONENTS)
    bounds = snapshot.first_item_bounds if which else snapshot.bounds
    own = snapshot.own_buckets.get(tool)
    return list(accumulate(own[which]))[:-1] if own else [0] * len(bounds)


def _read_tokens(tool: str, stats: ToolStats) -> Iterator[Series]:
    for kind in ("input", "output", "cached", "unsplit"):
        tokens = getattr(stats.usage, f"{kind}_tokens")
        if tokens:
            yield Series((tool, kind), tokens)


def _read_sink_calls(sink: str, stats: Mapping[str, Any]) -> Iterator[Series]:
    yield Series((sink, "delivered", ""), stats["delivered"])
    for result in ("failed", "dropped"):
        by_reason = stats[f"{result}_by"]
        for reason, count in by_reason.items():
            yield Series((sink, result, reason), count)
        if not by_reason:
            yield Series((sink, result, ""), 0)
