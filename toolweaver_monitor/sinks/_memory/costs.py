"""What did it cost, and what cost most? The in-memory costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._stats.rollup import Rollup, Subtree
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._stats.totals import TotalsByName, UsageTotals
from toolweaver_monitor._text.display import DEFAULT_ROWS, escape, pluralize, rank_rows, table, validate_n
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.view import InMemorySink, make_call

What = Literal["tool", "model", "root"]

NONE = "(none)"
"""Stands for the calls that named no model, or have no such tag: so every way of looking comes to the same total."""
IN_A_LINE = 5
"""Names shown in one line of a report."""


class CostTracker(InMemorySink):
    """Dollars and calls by operation; also works on its own, without `setup()`."""

    name = "costs"

    def __init__(self) -> None:
        super().__init__(max_operations=1)

    def record(self, operation: str, cost: float) -> None:
        """Count one operation and its cost.

        Never raises; what makes no sense is left out and counted, as in `MetricsCollector.record`.

        Args:
            operation: its name; anything that is not a name becomes `unnamed`.
            cost: dollars; with anything else (negative, NaN, text) it is an operation of unknown cost.
        """
        self._own.record(make_call(operation, cost=cost))

    @property
    def costs(self) -> dict[str, float]:
        """Dollars by operation, all-time."""
        return {operation: tally.cost_nanousd / NANO for operation, tally in self._with_cost()}

    @property
    def counts(self) -> dict[str, int]:
        """Calls by operation, of those with a known cost."""
        return {operation: tally.costed for operation, tally in self._with_cost()}

    def most_expensive(self, n: int = 5) -> list[tuple[str, float]]:
        """The `n` operations that cost most in total, with their dollars, the most expensive first.

        Raises:
            ConfigurationError: `n` is no whole number.
        """
        return sorted(self.costs.items(), key=lambda item: -item[1])[: validate_n(n)]

    def by(self, what: What) -> dict[str, dict[str, Any]]:
        """What was spent on each tool, on each model, or under each outermost call; the most expensive first.

        Args:
            what: `"tool"`: each tool's own part. `"model"`: by the model that calls named. `"root"`: by the tool of
                the outermost call, everything that ran inside included; with `runs`, how often it ran.

        Returns:
            For each name `calls` (attempts), `operations` (a retried one counts once), `retries`, `errors` (failures
            and timeouts), `rejected`, `cost_usd` (None where no cost is known, though tokens or a model were seen),
            `unpriced` (calls of unknown cost, which `cost_usd` leaves out), `saved_usd` and `cache_hits` (calls served
            from a cache cost 0), `tokens`, `input_tokens`, `output_tokens`, `cached_tokens` (a part of input). All of
            them, `(none)` and `__overflow__` included, come to the same total whichever way they are cut.

        Raises:
            ConfigurationError: there is no such way of looking.
        """
        if what not in get_args(What):
            raise ConfigurationError(
                f"costs are not kept by {what!r}; give 'tool', 'model' or 'root', or a tag's key to by_tag()"
            )
        if what == "tool":
            return _shown({tool: _money(tally) for tool, tally in self._by_tool().items()})
        if what == "model":
            return self._cut(lambda rollup: rollup.by_model)
        found = TotalsByName()
        for source in self._sources():
            with source.lock:
                found.absorb(source.rollup.by_root())
                _add_lone_calls(found, source.by_tool)
        return {name: {"runs": found[name].runs, **figures} for name, figures in _shown(found).items()}

    def by_tag(self, key: str) -> dict[str, dict[str, Any]]:
        """What was spent on each value of a tag, such as `"customer"`; the most expensive first.

        A call counts for its own tag, or if it has none, for that of the nearest call around it.

        Args:
            key: the tag's key.

        Returns:
            For each value as text what `by` gives; `(none)` for calls that have no such tag, nor any call around them.

        Raises:
            ConfigurationError: the key is no text.
        """
        if not isinstance(key, str):
            raise ConfigurationError(f"{key!r} is not the key of a tag; give its text, such as by_tag('customer')")
        return self._cut(lambda rollup: rollup.by_tag(key))

    def of(self, call: ToolCall) -> dict[str, Any] | None:
        """What one call has cost so far, with everything that ran inside it.

        Args:
            call: open or closed, such as `with track("receipt") as call` gives.

        Returns:
            What `by` gives for each name; None where it closed so long ago that the calls inside it are forgotten
            (some thousands of calls with others inside them are kept).

        Raises:
            ConfigurationError: it is no call.
        """
        if not isinstance(call, ToolCall):
            kind = type(call).__name__
            raise ConfigurationError(
                f"{kind} is not a call; give one, as from `with track(...)`, or look in by('tool')"
            )
        for source in self._sources():
            with source.lock:
                sums = source.rollup.of(call)
                if sums is None or sums.calls > 1:
                    return None if sums is None else sums.shown()
        return UsageTotals.of(call).shown()

    def roots(self, n: int = 20) -> list[dict[str, Any]]:
        """The latest outermost calls, each with everything that ran inside it; the last to end comes last.

        Calls that nothing was said of and that had none inside them are left out.

        Args:
            n: how many, at most 1,000.

        Returns:
            For each `tool_name`, `call_id`, `started_at` (Unix seconds), `duration_s`, `outcome`, `tags`, and what `by`
            gives.

        Raises:
            ConfigurationError: `n` is no whole number.
        """
        n = validate_n(n)
        found: list[dict[str, Any]] = []
        for source in reversed(self._sources()):
            with source.lock:
                found.extend(map(_root, source.rollup.roots))
        return found[-n:] if n > 0 else []

    def unpriced(self) -> list[dict[str, Any]]:
        """Which calls have a cost that nobody knows: `tool_name`, `model` ("" if unnamed), `calls`, `tokens`."""
        found: dict[tuple[str, str], UsageTotals] = {}
        for source in self._sources():
            with source.lock:
                for key, sums in source.rollup.unpriced.items():
                    found.setdefault(key, UsageTotals()).add(sums)
        return [
            {"tool_name": tool, "model": model, "calls": sums.calls, "tokens": sums.tokens}
            for (tool, model), sums in sorted(found.items(), key=lambda item: (-item[1].calls, item[0]))
        ]

    def report(self, limit: int | None = DEFAULT_ROWS) -> str:
        """Print what each operation cost, the most expensive first, with total, calls and average.

        Args:
            limit: how many operations to show; None for all. The total is over all in any case.

        Returns:
            What is printed.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self.text(limit)
        print(text)
        return text

    def text(self, limit: int | None = DEFAULT_ROWS) -> str:
        """What `report` prints."""
        tools = self._by_tool()
        costed = {operation: tally for operation, tally in tools.items() if tally.costed}
        shown, more = rank_rows(costed, lambda tally: tally.cost_nanousd, limit)
        lines = ["Costs"]
        if costed:
            rows = [["operation", "total", "calls", "average"]]
            rows += [_row(escape(operation), tally) for operation, tally in shown]
            total = ToolStats()
            total.add(*costed.values())
            lines += [*table([*rows, _row("total", total)]), *more]
        else:
            lines.append("  nothing has cost anything yet")
        lines += self._unpriced_lines()
        lines += self._by_lines()
        saved = sum(tally.saved_nanousd for tally in tools.values())
        if saved:
            lines.append(f"  saved by caches: {_dollars(saved)}")
        return "\n".join(lines)

    def _unpriced_lines(self) -> list[str]:
        unpriced = self.unpriced()
        if not unpriced:
            return []
        said = [
            f"{escape(one['tool_name'])} {pluralize(one['calls'], 'call')} ({escape(one['model']) or 'no model named'})"
            for one in unpriced[:IN_A_LINE]
        ]
        example = escape(next((one["model"] for one in unpriced if one["model"]), "the-model"))
        table = f'setup(prices={{"{example}": {{"input": ..., "output": ...}}}}) (dollars per million tokens)'
        return [
            f"  of unknown cost (not in the total): {_first(said, len(unpriced))}",
            f"  to price them: {table}, cost= on @monitored, or pip install 'toolweaver_monitor[prices]'",
        ]

    def _by_lines(self) -> list[str]:
        """Where money was spent on models or tags: one line each."""
        ways = {"model": self.by("model")}
        keys = {key for source in self._sources() for key in list(source.rollup.tag_keys())}
        ways.update({key: self.by_tag(key) for key in sorted(keys)[:IN_A_LINE]})
        lines = []
        for way, found in ways.items():
            dear = {name: sums["cost_usd"] for name, sums in found.items() if sums["cost_usd"]}
            if dear.keys() - {NONE}:
                spent = [f"{escape(name)} {_dollars(cost * NANO)}" for name, cost in dear.items()]
                lines.append(f"  by {escape(way)}: {_first(spent[:IN_A_LINE], len(spent))}")
        return lines

    def _cut(self, cut: Callable[[Rollup], Mapping[str, UsageTotals]]) -> dict[str, dict[str, Any]]:
        """One way of looking, and what is in none of its names, as of one moment."""
        found, rest = TotalsByName(), UsageTotals()
        for source in self._sources():
            with source.lock:
                found.absorb(cut(source.rollup))
                for tally in source.by_tool.values():
                    rest.add(_money(tally))
        for sums in found.values():
            rest.take_away(sums)
        if rest.calls:
            found.at(NONE).add(rest)  # a user's tag may be called just that
        return _shown(found)

    def _with_cost(self) -> Iterator[tuple[str, ToolStats]]:
        return ((operation, tally) for operation, tally in self._by_tool().items() if tally.costed)


def _row(operation: str, tally: ToolStats) -> list[str]:
    return [operation, _dollars(tally.cost_nanousd), str(tally.costed), _dollars(tally.cost_nanousd / tally.costed)]


def _dollars(nano: float) -> str:
    return f"${nano / NANO:,.4f}" if nano >= 100_000 or not nano else f"${nano / NANO:,.9f}".rstrip("0")


def _first(said: list[str], of: int) -> str:
    more = of - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def _money(tally: ToolStats) -> UsageTotals:
    """The part of a tool's tally that is a sum of what its calls used."""
    sums = UsageTotals()
    for name in UsageTotals.__slots__:
        if hasattr(tally, name) and name != "errors":  # a tally keeps errors by type
            setattr(sums, name, getattr(tally, name))
    sums.errors, sums.rejected = tally.failures, tally.outcomes["rejected"]
    return sums


def _shown(found: Mapping[str, UsageTotals]) -> dict[str, dict[str, Any]]:
    dearest_first = sorted(found.items(), key=lambda item: (-item[1].cost_nanousd, item[0]))
    return {name: sums.shown() for name, sums in dearest_first}


def _add_lone_calls(found: TotalsByName, tools: Mapping[str, ToolStats]) -> None:
    """Calls that nothing was said of and that had none around or inside them: each is a run of its own."""
    for tool, tally in tools.items():
        lone = tally.calls - tally.rolled_up
        if lone:
            sums = found.at(tool)
            sums.calls += lone
            sums.runs += lone


def _root(root: Subtree | ToolCall) -> dict[str, Any]:
    call, sums = (root.call, root.sums) if isinstance(root, Subtree) else (root, UsageTotals.of(root))
    return {
        "tool_name": call.tool_name,
        "call_id": call.call_id,
        "started_at": call.started_at,
        "duration_s": call.duration_s,
        "outcome": call.outcome,
        "tags": dict(call.tags),
        **sums.shown(),
    }
