"""The command `toolweaver-monitor compare`: what changed from one store, or run, to another."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._cli.store.significance import holm, mean_p, proportion_p, rank_sum_p
from toolweaver_monitor._stats.rollup import unpack
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor._store.schema import OUTCOMES
from toolweaver_monitor._text.display import escape, format_seconds
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._memory.metrics import summarize

COMPARE_PURPOSE = """\
Compare two stores, tool by tool: latency, error rate and cost of a call. A difference counts if it is unlikely to be
chance (p < 0.01, adjusted by Holm's method for the number of comparisons) and large enough to matter (--least).
Latency: Wilcoxon-Mann-Whitney rank-sum test. Error rate: z-test for two proportions. Cost: Welch's test of the means.
"""
COMPARE_USES = """\
examples:
  toolweaver-monitor compare before.db after.db
  toolweaver-monitor compare runs.db runs.db --run-a 1 --run-b 2
  toolweaver-monitor compare main.db branch.db --least 20 || echo "slower, more expensive or failing more"

exit code: 0 nothing is worse, 1 something is, 2 a store cannot be read, or no tool has run in both
"""
P_LIMIT = 0.01
COSTS_READ = 10_000


class Measure(NamedTuple):
    """One figure of one tool in both stores."""

    tool: str
    what: str
    """`latency` (the median in seconds), `errors` (the share of failed calls), or `cost` (dollars of a call)."""
    before: float
    after: float
    p: float


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "compare", COMPARE_PURPOSE, COMPARE_USES)
    parser.add_argument("before", metavar="A", help="the store to compare with")
    parser.add_argument("after", metavar="B", help="the store to judge")
    parser.add_argument("--run-a", type=common.whole, metavar="N", help="only this run of A")
    parser.add_argument("--run-b", type=common.whole, metavar="N", help="only this run of B")
    parser.add_argument(
        "--least", type=common.amount, default=10.0, metavar="PERCENT", help="the smallest change that counts (10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the differences."""
    with (
        common.with_run(common.open_files([options.before]), options.run_a) as before,
        common.with_run(common.open_files([options.after]), options.run_b) as after,
    ):
        stats = _by_tool(before, options.run_a), _by_tool(after, options.run_b)
        both = sorted(stats[0].keys() & stats[1].keys())
        if not both:
            raise ConfigurationError("no tool has run in both", hint="compare two runs of one program")
        measures = [
            measure
            for tool in both
            for measure in _measures(
                tool,
                (stats[0][tool], stats[1][tool]),
                (_costs(before, tool, options.run_a), _costs(after, tool, options.run_b)),
            )
        ]
    adjusted = holm([measure.p for measure in measures])
    found = [measure._replace(p=p) for measure, p in zip(measures, adjusted, strict=True)]
    verdicts = [_verdict(measure, options.least) for measure in found]
    if options.json:
        shown = [measure._asdict() | {"verdict": word} for measure, word in zip(found, verdicts, strict=True)]
        alone = {"only_before": sorted(stats[0].keys() - stats[1].keys())}
        alone |= {"only_after": sorted(stats[1].keys() - stats[0].keys())}
        print(json.dumps({"worse": verdicts.count("worse"), "measures": shown, **alone}, indent=2))
    else:
        terminal.show(*_blocks(found, verdicts, stats))
    return 1 if "worse" in verdicts else 0


def _by_tool(store: StoreReader, run: int | None) -> dict[str, ToolStats]:
    found: dict[str, ToolStats] = {}
    for sums in store.sums("tool", run=run):
        found.setdefault(sums.name, ToolStats()).add(unpack(sums.values, OUTCOMES))
    return found


def _costs(store: StoreReader, tool: str, run: int | None) -> list[float]:
    """Return the known costs of the last calls of a tool that have a row."""
    calls = store.calls(tool=tool, run=run, outcomes=("success",), limit=COSTS_READ)
    return [call.cost_usd for call in calls if call.cost_usd is not None]


def _measures(
    tool: str, stats: tuple[ToolStats, ToolStats], costs: tuple[list[float], list[float]]
) -> Iterator[Measure]:
    first, second = stats
    if first.executed and second.executed:
        was, now = (summarize(each)["p50_s"] for each in stats)
        yield Measure(tool, "latency", was, now, rank_sum_p(first.buckets, second.buckets))
    if first.rated and second.rated:
        was, now = (each.failures / each.rated for each in stats)
        yield Measure(
            tool, "errors", was, now, proportion_p(first.failures, first.rated, second.failures, second.rated)
        )
    if costs[0] and costs[1]:
        was, now = (sum(each) / len(each) for each in costs)
        yield Measure(tool, "cost", was, now, mean_p(*costs))


def _verdict(measure: Measure, least_percent: float) -> str:
    """Return `worse`, `better` or `same`."""
    change = abs(measure.after - measure.before)
    scale = 1.0 if measure.what == "errors" else measure.before
    is_small = change < least_percent / 100 * scale if scale else not change
    if measure.what == "errors":
        is_small = change < min(0.01, least_percent / 100)  # of all calls: one percent is much for a rate
    if measure.p >= P_LIMIT or is_small:
        return "same"
    return "worse" if measure.after > measure.before else "better"


def _blocks(
    found: list[Measure], verdicts: list[str], stats: tuple[dict[str, ToolStats], dict[str, ToolStats]]
) -> list[terminal.Block]:
    rows = [["tool", "what", "before", "after", "change", "p", "verdict"]]
    order = sorted(range(len(found)), key=lambda at: ("worse", "better", "same").index(verdicts[at]))
    for measure, word in ((found[at], verdicts[at]) for at in order):
        change = f"{measure.after / measure.before - 1:+.0%}" if measure.before else "-"
        values = [_shown(measure.what, measure.before), _shown(measure.what, measure.after)]
        rows.append([escape(measure.tool), measure.what, *values, change, f"{measure.p:.2g}", word])
    blocks: list[terminal.Block] = [rows]
    for label, own, other in (("before", stats[0], stats[1]), ("after", stats[1], stats[0])):
        alone = sorted(own.keys() - other.keys())
        if alone:
            blocks.append(f"  only {label}: {', '.join(map(escape, alone))}")
    counts = {word: verdicts.count(word) for word in ("worse", "better", "same")}
    return [*blocks, "  " + ", ".join(f"{count} {word}" for word, count in counts.items())]


def _shown(what: str, value: float) -> str:
    if what == "latency":
        return format_seconds(value)
    return f"{value:.2%}" if what == "errors" else f"${value:.6f}"
