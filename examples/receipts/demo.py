"""Set up, read the receipts, report, and show where to look next."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import socket
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from examples.receipts import tools
from examples.receipts.images import draw_receipts
from examples.receipts.options import BUDGET_SPENT, NOTHING_READ
from examples.receipts.orchestrator import Orchestrator, Reading
from examples.receipts.progress import progress
from toolweaver_monitor import Monitor, monitored, setup
from toolweaver_monitor.sinks import PrometheusExporter, SQLiteStore, WandBLogger


def demo(options: Namespace) -> int:
    """Read receipts, monitored, and return the exit code."""
    os.environ.setdefault("WANDB_MODE", "offline")  # needs neither an account nor a network
    os.environ.setdefault("WANDB_DIR", str(options.output))
    options.output.mkdir(parents=True, exist_ok=True)

    prometheus = PrometheusExporter(port=port_8000_or_free() if options.port is None else options.port)
    store = SQLiteStore(options.output / "receipts.db")
    wandb = WandBLogger(project="receipts")
    with setup(prometheus, store, wandb, budget=options.budget) as monitor:
        served = monitor.health()["sinks"]["prometheus"]["state"] == "ok"
        page = prometheus.url.removesuffix("metrics")
        say(f"Watch it at {page} while {options.receipts} receipts are read" if served else "Reading receipts")
        readings = asyncio.run(read(draw_receipts(options.receipts, options.output / "images")))
        write_csv(readings, options.output / "expenses.csv")
        if options.json:
            print(as_json(monitor, readings))
        else:
            print()
            monitor.report()
        sys.stdout.flush()
        report = monitor.html(options.output / "report.html")
        if options.keep and served:
            keep(page)
        monitor.shutdown(timeout=20)  # W&B may still be starting

    say(f"\n{what_came_of_it(readings, options.budget)}\n\nWhere to look next")
    say(f"  page      {near(report)}  (the page as it was at the end, in one file)")
    say(f"  store     toolweaver-monitor report {near(store.path)}  (or top, tree, tail, dashboard)")
    say(f"  expenses  {near(options.output / 'expenses.csv')}")
    if served and not options.keep:
        say(f"  metrics   {prometheus.url} answered while it ran; `make demo ARGS=--keep` leaves it open")
    say(f"  W&B       {of_run(wandb)}")
    return exit_code(readings)


async def read(images: Sequence[Path]) -> list[Reading]:
    """Let the orchestrator read all receipts, and show the progress."""
    orchestrator = Orchestrator({"ocr": tools.ocr, "parse_items": tools.parse_items, "categorize": tools.categorize})
    readings = []
    with progress(len(images)) as shown:
        async for reading in orchestrator.read_all(images):
            readings.append(reading)
            shown.done(reading)
    return sorted(readings, key=attrgetter("file"))


@monitored("write_csv", cost=0)
def write_csv(readings: Sequence[Reading], file: Path) -> None:
    """Keep what was read. Its cost is declared as 0, so that it runs when the budget is spent, too."""
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("receipt", "outcome", "total_usd", "kinds_usd", "why"))
        for shown in (reading.in_dollars() for reading in readings):
            kinds = json.dumps(shown["kinds"]) if shown["kinds"] else ""
            rows.writerow((shown["file"], shown["outcome"], shown["total"], kinds, shown["why"]))


def as_json(monitor: Monitor, readings: Sequence[Reading]) -> str:
    """Return everything as JSON, for another program."""
    return json.dumps(
        {
            "receipts": [reading.in_dollars() for reading in readings],
            "summary": monitor.summary(),
            "cost_by_operation": monitor.metrics.cost_by_operation(),
            "by_employee": monitor.costs.by_tag("employee"),
            "errors": monitor.errors.latest,
            "budgets": monitor.health()["budgets"],
        },
        indent=2,
    )


def keep(page: str) -> None:
    """Serve the page until the user ends it: on a terminal by Enter, after which `make` has nothing to say."""
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    say(f"\n{page} stays open; {'Enter' if is_terminal else 'Ctrl-C'} ends it")
    try:
        if is_terminal:
            sys.stdin.readline()
        while not is_terminal:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("")


def what_came_of_it(readings: Sequence[Reading], budget: float | None) -> str:
    """Return the outcome in a sentence."""
    came_to = Counter(reading.outcome for reading in readings)
    if came_to["refused"]:
        return (
            f"The budget of ${budget:.2f} is spent: for {came_to['refused']} of {len(readings)} receipts it refused a "
            "tool, which then did not run. A receipt takes $0.17; give more with --budget."
        )
    on_purpose = " (Receipts 2 and 3 are made to fail.)" if came_to["failed"] else ""
    return f"{came_to['read']} of {len(readings)} receipts were read.{on_purpose}"


def exit_code(readings: Sequence[Reading]) -> int:
    """Return the exit code that `--help` lists."""
    came_to = {reading.outcome for reading in readings}
    if "refused" in came_to:
        return BUDGET_SPENT
    return 0 if "read" in came_to else NOTHING_READ


def of_run(wandb: WandBLogger) -> str:
    """Return where the W&B run is, or why there is none."""
    run = wandb.status()
    if run["note"] or not run["run"]:
        return str(run["note"] or "no run was started")
    where = run["run"]
    return where if "://" in where else f"wandb sync {near(Path(where))}  (uploads the run, after `wandb login`)"


def port_8000_or_free() -> int:
    """Return 8000, or 0 for any port if 8000 is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return 8000 if probe.connect_ex(("127.0.0.1", 8000)) else 0


def near(path: Path) -> Path:
    """Return the path relative to the working directory, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def say(text: str) -> None:
    """Print for people; stdout is for the report."""
    print(text, file=sys.stderr, flush=True)
