"""In-memory costs: dollars by tool, model, tag and outermost call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, get_args

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats.aggregator import MAX_TAG_VALUES, StatsAggregator
from toolweaver_monitor._stats.runs import Run
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import TotalsByName, UsageTotals
from toolweaver_monitor._text.display import DEFAULT_ROWS, escape, html_table, pluralize, rank_rows, table, validate_n
from toolweaver_monitor._text.reportable import Reportable
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink, make_call

Grouping = Literal["tool", "model", "root"]

NONE = "(none)"
"""Stands for calls without a model, or without the tag, so that every grouping comes to the same total."""
MAX_IN_LINE = 5
"""Names shown in one line of a report."""


def price_list_cures() -> list[str]:
    """Return how to install genai-prices, unless it is installed."""
    return [] if find_spec("genai_prices") else ["pip install 'toolweaver_monitor[prices]'"]


class CostTracker(InMemorySink, Reportable):
    """Dollars and calls by tool. Also works on its own, without `setup()`.

    Its report shows what each tool cost, the most expensive first, with total, calls and average.
    """

    _meant: ClassVar[Mapping[str, str]] = {"by_tool": "costs.costs", "by_model": 'costs.by("model")'}
    """What to write instead of a name that one guesses."""

    name = "costs"

    def __init__(self) -> None:
        super().__init__(max_operations=1)

    def record(self, operation: str, cost: float) -> None:
        """Count one call and its cost.

        Right after `MetricsCollector.record` of the same tool and setup it is the cost of that call, if that had
        none; a second one is added to it. Otherwise only this tracker counts it. Never raises. Invalid values are left
        out and counted, as in `MetricsCollector.record`.

        Args:
            operation: the tool; anything that is not a name becomes `unnamed`.
            cost: dollars. Anything else (negative, NaN, text) makes it a call of unknown cost.
        """
        call = make_call(operation, cost=cost)
        if self._by_hand is None or not self._by_hand.add_cost(call):
            self._own.record(call)

    @property
    def costs(self) -> dict[str, float]:
        """Dollars by tool, all-time."""
        return {tool: stats.usage.cost_nanousd / NANO for tool, stats in self._select_costed()}

    @property
    def total(self) -> float:
        """Dollars over all tools, all-time; calls of unknown cost are left out."""
        return self._total().usage.cost_nanousd / NANO

    @property
    def counts(self) -> dict[str, int]:
        """Calls of known cost by tool, all-time."""
        return {tool: stats.usage.costed for tool, stats in self._select_costed()}

    def _repr_html_(self) -> str:
        """Return a table of the tools for a notebook, the most expensive first."""
        counts = self.counts
        ranked = self.most_expensive(len(counts))
        rows = [[name, f"${cost:,.4f}", f"{counts[name]:,}", f"${cost / counts[name]:,.4f}"] for name, cost in ranked]
        return html_table([["tool", "total", "calls", "average"], *rows])

    def to_dict(self) -> dict[str, Any]:
        """Return the total, and dollars and calls by tool, as plain values."""
        return {"total": self.total, "costs": self.costs, "counts": self.counts}

    def most_expensive(self, n: int = 5) -> list[tuple[str, float]]:
        """Return the `n` tools that cost most in total, each with its dollars, the most expensive first.

        Raises:
            ConfigurationError: `n` is not a whole number.
        """
        return sorted(self.costs.items(), key=lambda item: -item[1])[: validate_n(n)]

    def by(self, what: Grouping) -> dict[str, dict[str, Any]]:
        """Return what was spent on each tool, on each model, or under each outermost call; the most expensive first.

        Args:
            what: `"tool"` groups by tool, without the calls inside. `"model"` groups by the model that calls named.
                `"root"` groups by the tool of the outermost call, with everything that ran inside it; it adds `runs`,
                the number of outermost calls.

        Returns:
            For each name `calls` (attempts), `operations` (one with all its attempts), `retries`, `errors` (failures
            and timeouts), `rejected`, `cost_usd` (None if no cost is known although tokens or a model were seen),
            `unpriced` (calls of unknown cost, which `cost_usd` leaves out), `saved_usd` and `cache_hits` (calls served
            from a cache cost 0), `tokens`, `input_tokens`, `output_tokens`, `cached_tokens` (a part of input). All
            names together, `(none)` and `__overflow__` included, come to the same total in every grouping.

        Raises:
            ConfigurationError: `what` is none of these.
        """
        if what not in get_args(Grouping):
            raise ConfigurationError(
                f"costs are not kept by {what!r}", hint="give 'tool', 'model' or 'root', or a tag's key to by_tag()"
            )
        if what == "tool":
            return _as_dicts({tool: stats.usage for tool, stats in self._by_tool().items()})
        if what == "model":
            return self._group(lambda source: source.by_model)
        totals = TotalsByName()
        for source in self._sources():
            with source.lock:
                totals.merge(source.by_root())
        return {name: {"runs": totals[name].runs, **values} for name, values in _as_dicts(totals).items()}

    def by_tag(self, key: str) -> dict[str, dict[str, Any]]:
        """Return what was spent on each value of a tag, such as `"customer"`; the most expensive first.

        A call counts for its own tag or, if it has none, for that of the nearest call around it.

        Args:
            key: the tag's key.

        Returns:
            For each value, as text, the values that `by` returns; `(none)` stands for calls without this tag on
            themselves or on any call around them.

        Raises:
            ConfigurationError: `key` is not text.
        """
        if not isinstance(key, str):
            raise ConfigurationError(
                f"{key!r} is not the key of a tag", hint="give its text, such as by_tag('customer')"
            )
        return self._group(lambda source: source.by_tag(key))

    def of(self, call: ToolCall) -> dict[str, Any] | None:
        """Return what one call has cost so far, with everything that ran inside it.

        Args:
            call: an open or closed call, such as `with track("receipt") as call` gives.

        Returns:
            The values that `by` returns for each name; None if the call closed so long ago that the calls inside it
            are forgotten (some thousands of calls with others inside them are kept).

        Raises:
            ConfigurationError: `call` is not a call.
        """
        if not isinstance(call, ToolCall):
            raise ConfigurationError(
                f"{type(call).__name__} is not a call",
                hint="give one, as from `with track(...)`, or look in by('tool')",
            )
        known: list[UsageTotals] = []
        sources = self._sources()
        for source in sources:
            with source.lock:
                totals = source.of(call)
                if totals is not None:
                    known.append(totals)
        most = max(known, key=lambda totals: totals.calls, default=None)
        if most is not None and most.calls == 1 and call._parent_serial is None and len(known) < len(sources):
            return None  # one of them has forgotten what ran inside
        return None if most is None else most.as_dict()

    def roots(self, n: int = 20) -> list[dict[str, Any]]:
        """Return the latest outermost calls, each with everything that ran inside it; the last to end comes last.

        Calls that recorded nothing and had no calls inside them are left out.

        Args:
            n: how many, at most 1,000.

        Returns:
            For each `tool_name`, `call_id`, `started_at` (Unix seconds), `duration_s`, `outcome`, `tags`, and the
            values that `by` returns.

        Raises:
            ConfigurationError: `n` is not a whole number.
        """
        n = validate_n(n)
        roots: list[dict[str, Any]] = []
        for source in reversed(self._sources()):
            with source.lock:
                roots.extend(map(_root_as_dict, source.runs.latest()))
        return roots[-n:] if n > 0 else []

    def unpriced(self) -> list[dict[str, Any]]:
        """Return the calls of unknown cost, by tool and model, the most calls first.

        Returns:
            For each `tool_name`, `model` ("" if the calls named none), `calls` and `tokens`.
        """
        by_key: dict[tuple[str, str], UsageTotals] = {}
        for source in self._sources():
            with source.lock:
                for key, totals in source.unpriced.items():
                    by_key.setdefault(key, UsageTotals()).add(totals)
        return [
            {"tool_name": tool, "model": model, "calls": totals.calls, "tokens": totals.tokens}
            for (tool, model), totals in sorted(by_key.items(), key=lambda item: (-item[1].calls, item[0]))
        ]

    def _text(self, limit: int | None = DEFAULT_ROWS) -> str:
        tools = self._by_tool()
        costed = {tool: stats for tool, stats in tools.items() if stats.usage.costed}
        shown, more = rank_rows(costed, lambda stats: stats.usage.cost_nanousd, limit)
        lines = ["Costs"]
        if costed:
            rows = [["tool", "total", "calls", "average"]]
            rows += [_format_row(escape(tool), stats) for tool, stats in shown]
            total = ToolStats()
            total.add(*costed.values())
            lines += [*table([*rows, _format_row("total", total)]), *more]
        else:
            lines.append("  nothing has cost anything yet")
        lines += self._format_unpriced()
        lines += self._format_groupings()
        saved = sum(stats.usage.saved_nanousd for stats in tools.values())
        if saved:
            lines.append(f"  saved by caches: {_format_dollars(saved)}")
        return "\n".join(lines)

    def _format_unpriced(self) -> list[str]:
        unpriced = self.unpriced()
        if not unpriced:
            return []
        names = [
            f"{escape(one['tool_name'])} {pluralize(one['calls'], 'call')} ({escape(one['model']) or 'no model named'})"
            for one in unpriced[:MAX_IN_LINE]
        ]
        example = escape(next((one["model"] for one in unpriced if one["model"]), "the-model"))
        table = f'setup(prices={{"{example}": {{"input": ..., "output": ...}}}}) (dollars per million tokens)'
        return [
            f"  of unknown cost (not in the total): {_join(names, len(unpriced))}",
            f"  to price them: {table}, cost= on @monitored, record(cost=...)",
            *(f"  or take the prices of many providers: {cure}" for cure in price_list_cures()),
        ]

    def _format_groupings(self) -> list[str]:
        """Return a line for the models, and for each tag, on which money was spent."""
        groupings = {"model": self.by("model")}
        keys = {key for source in self._sources() for key in source.tag_keys()}
        groupings.update({key: self.by_tag(key) for key in sorted(keys)[:MAX_IN_LINE]})
        lines = []
        for key, by_name in groupings.items():
            costs_usd = {name: totals["cost_usd"] for name, totals in by_name.items() if totals["cost_usd"]}
            if costs_usd.keys() - {NONE}:
                names = [f"{escape(name)} {_format_dollars(cost * NANO)}" for name, cost in costs_usd.items()]
                lines.append(f"  by {escape(key)}: {_join(names[:MAX_IN_LINE], len(names))}")
        return lines

    def _group(self, table_of: Callable[[StatsAggregator], Mapping[str, UsageTotals]]) -> dict[str, dict[str, Any]]:
        """Return one grouping, with the rest as `(none)`, as of one moment."""
        by_name, rest = TotalsByName(MAX_TAG_VALUES), UsageTotals()
        for source in self._sources():
            with source.lock:
                by_name.merge(table_of(source))
                rest.add(source.total().usage)
        for totals in by_name.values():
            rest.subtract(totals)
        if rest.calls:
            by_name.entry(NONE).add(rest)  # added, since a user's tag may have this very value
        return _as_dicts(by_name)

    def _select_costed(self) -> Iterator[tuple[str, ToolStats]]:
        return ((tool, stats) for tool, stats in self._by_tool().items() if stats.usage.costed)


def _format_row(tool: str, stats: ToolStats) -> list[str]:
    average = _format_dollars(stats.usage.cost_nanousd / stats.usage.costed)
    return [tool, _format_dollars(stats.usage.cost_nanousd), str(stats.usage.costed), average]


def _format_dollars(nanousd: float) -> str:
    return f"${nanousd / NANO:,.4f}" if nanousd >= 100_000 or not nanousd else f"${nanousd / NANO:,.9f}".rstrip("0")


def _join(names: list[str], count: int) -> str:
    """Return the names as one line, with how many of `count` it leaves out."""
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _as_dicts(by_name: Mapping[str, UsageTotals]) -> dict[str, dict[str, Any]]:
    """Return the totals as plain values, the most expensive first."""
    most_expensive_first = sorted(by_name.items(), key=lambda item: (-item[1].cost_nanousd, item[0]))
    return {name: totals.as_dict() for name, totals in most_expensive_first}


def _root_as_dict(root: Run | ToolCall) -> dict[str, Any]:
    call, totals = (root.outermost, root.total()) if isinstance(root, Run) else (root, UsageTotals.of(root))
    return {
        "tool_name": call.tool_name,
        "call_id": call.call_id,
        "started_at": call.started_at,
        "duration_s": call.duration_s,
        "outcome": call.outcome,
        "tags": dict(call.tags),
        **totals.as_dict(),
    }
