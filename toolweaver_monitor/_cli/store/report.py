"""The command `toolweaver-monitor report`: what a store's calls add up to."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli import terminal
from toolweaver_monitor._cli.store.sums import (
    COLUMNS_SHOWN,
    error_entry,
    group_row,
    group_values,
    label_of,
    read_groups,
    read_total,
)
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._page.document import single_file
from toolweaver_monitor._page.stored import stored_figures
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._store.reader import ERRORS, StoredCall, StoreReader
from toolweaver_monitor._store.schema import OUTCOMES
from toolweaver_monitor._text.display import escape, format_seconds, more, pluralize
from toolweaver_monitor.sinks._memory.metrics import summarize

REPORT_PURPOSE = """\
Show what the calls of a store add up to. All that is in the file, or a period, or one run of a program.
"""
REPORT_USES = """\
examples:
  toolweaver-monitor report runs.db
  toolweaver-monitor report runs.db --since 2h --by model
  toolweaver-monitor report runs.db --by tag:customer --csv > customers.csv
  toolweaver-monitor report runs.db --html report.html
  toolweaver-monitor report machine-1.db machine-2.db
  toolweaver-monitor report runs.db --json | jq .summary.total_cost_usd

exit code: 0, or 2 if there is no store that can be read
"""
ERRORS_SHOWN = 10


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = common.add_command(commands, "report", REPORT_PURPOSE, REPORT_USES)
    common.add_stores(parser)
    common.add_period(parser)
    parser.add_argument("--by", default="tool", metavar="WHAT", help="tool (default), model, path, run or tag:NAME")
    parser.add_argument(
        "--limit", type=common.whole, default=20, metavar="N", help="rows to show, the most expensive first; 0 for all"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", metavar="FILE", help="write the page as one file, which a browser opens from disk")
    form.add_argument("--csv", action="store_true", help="print the rows as CSV")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    html = common.check_output(Path(options.html)) if options.html else None
    with common.open_store(options) as store:
        period = {"since": options.since, "until": options.until, "run": options.of_run}
        if html is not None:
            html.write_text(single_file(stored_figures(store, **period)), "utf-8")
            print(f"written: {options.html}")
            return 0
        total = read_total(store, **period)
        groups = read_groups(store, options.by, **period)
        errors = store.calls(outcomes=ERRORS, limit=ERRORS_SHOWN, **period)
        if options.json:
            found = {"summary": dict(summarize(total)), "by": options.by}
            found["rows"] = [group_row(options.by, name, stats) for name, stats in groups.items()]
            found |= {"errors": [error_entry(call) for call in errors], "runs": store.runs()}
            print(json.dumps(found, indent=2))
        elif options.csv:
            head = [_key(options.by), *COLUMNS_SHOWN[1:]]
            common.print_rows([head, *(group_values(options.by, name, stats) for name, stats in groups.items())], "csv")
        else:
            terminal.show(*_blocks(store, options, total, groups, errors))
    return 0


def _key(by: str) -> str:
    return by.removeprefix("tag:")


def _blocks(
    store: StoreReader,
    options: argparse.Namespace,
    total: ToolStats,
    groups: dict[str, ToolStats],
    errors: list[StoredCall],
) -> list[terminal.Block]:
    runs = store.runs()
    lines = [f"{escape(str(store.path))}: {pluralize(len(runs), 'run')}"]
    if not total.calls:
        return [*lines, "  no call in this period" if runs else "  no call yet"]
    lines[0] += f", {common.when(runs[0]['started_at'])} to {common.when(runs[-1]['last_at'])}"
    rate = summarize(total)["success_rate"]
    told = [pluralize(total.calls, "call"), f"{total.failures:,} failed"]
    told += [f"{count:,} {outcome}" for outcome in OUTCOMES[3:] if (count := total.outcomes[outcome])]
    told += [] if rate is None else [f"{rate:.1%} succeeded"]
    told += [f"${total.usage.cost_nanousd / NANO:,.4f}"]
    told += [f"{total.usage.unpriced:,} unpriced"] if total.usage.unpriced else []
    limit = len(groups) if options.limit <= 0 else options.limit
    about = {str(one["run"]): [escape(str(one["program"] or "-")), common.when(one["started_at"])] for one in runs}
    is_by_run = options.by == "run"
    head = [_key(options.by), *(["program", "started"] if is_by_run else []), "calls", "failed"]
    rows = terminal.FigureRows()
    rows.append([*head, "average", "p50", "p95", "p99", "tokens", "cost"])
    for name, stats in list(groups.items())[:limit]:
        totals = summarize(stats)
        times = [format_seconds(totals[key]) for key in ("avg_duration_s", "p50_s", "p95_s", "p99_s")]
        counts = [f"{stats.calls:,}", f"{stats.failures:,}"]
        usage = stats.usage
        known = f"${usage.cost_nanousd / NANO:,.4f}"
        cost = known if usage.costed else "unknown" if usage.unpriced else "-"
        rows.append(
            [
                escape(label_of(options.by, name)),
                *(about[name] if is_by_run else []),
                *counts,
                *(times if stats.executed else ["-"] * 4),
                f"{usage.tokens:,}",
                cost,
            ]
        )
    blocks: list[terminal.Block] = [*lines, "  " + ", ".join(told), "", rows]
    blocks += [line.replace("report(limit=None)", "--limit 0") for line in more(min(limit, len(groups)), len(groups))]
    kinds = Counter[str]()
    for stats in groups.values():
        kinds.update(stats.errors)
    if kinds or errors:
        blocks += ["", "Errors"]
    if kinds:
        blocks.append("  " + ", ".join(f"{escape(kind)} {count:,}" for kind, count in kinds.most_common(10)))
    for call in errors:
        text = ": ".join(escape(part) for part in (call.error_type, call.error) if part)
        blocks.append(f"  {common.when(call.started_at + call.duration_s)}  {escape(call.path)}  {text}")
    return blocks
