"""`python -m benchmarks`: choose the benchmarks, run them, and write the results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter

from benchmarks import (
    added,
    concurrency,
    extras,
    kinds,
    machine,
    memory,
    money,
    ours,
    parts,
    reading,
    report,
    shapes,
    startup,
    wandb_rate,
)
from benchmarks.harness import say
from benchmarks.options import Options
from benchmarks.plot import as_svg
from benchmarks.results import Results
from benchmarks.targets import judged

SUITE: dict[str, added.Benchmark] = {
    "shapes": shapes.shapes,
    "sync": added.sync,
    "async": added.asynchronous,
    "sustained": added.sustained,
    "sustained-async": added.sustained_async,
    "parts": parts.parts,
    "track": kinds.track,
    "generators": kinds.generators,
    "result": extras.result,
    "budget": extras.budget,
    "names": extras.names,
    "sinks": extras.sinks,
    "store": extras.store,
    "beyond": extras.beyond,
    "off": extras.off,
    "threads": concurrency.threads,
    "tasks": concurrency.tasks,
    "tail": concurrency.tail,
    "memory": memory.memory,
    "import": startup.imports,
    "setup": startup.setups,
    "scrape": reading.scrape,
    "summary": reading.summary,
    "price": money.price,
    "repeats": money.repeats,
    "rollup": money.rollup,
    "wandb": wandb_rate.wandb,
}


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Ours beside its peers, in turns.")
    parser.add_argument("--only", action="append", metavar="NAME", choices=SUITE, help="this one; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    parser.add_argument("--quick", action="store_true", help="a look in a minute or two; results scatter more")
    parser.add_argument("--rounds", type=int, default=None, help="turns of each contender (default 21; quick: 7)")
    parser.add_argument("--without-peers", action="store_true", help="only what is by hand, and ours")
    parser.add_argument("--json", metavar="FILE", help="where the results go as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="where the page goes, such as docs/reference/benchmarks.md")
    parser.add_argument("--plot", metavar="FILE", help="where the bars of the sync call go as SVG")
    parser.add_argument("--with-json", action="append", default=[], metavar="FILE", help="put earlier runs on the page")
    parser.add_argument("--no-run", action="store_true", help="measure nothing: write the page from --with-json alone")
    return parser.parse_args(given)


def _command(chosen: argparse.Namespace, rounds: int) -> str:
    """What to type to measure the same again."""
    words = ["python -m benchmarks", *[f"--only {name}" for name in chosen.only or ()], f"--rounds {rounds}"]
    words += ["--quick"] * chosen.quick + ["--without-peers"] * chosen.without_peers
    return " ".join(words)


def run(names: list[str], options: Options) -> Results:
    """Run some benchmarks, one after the other."""
    results = Results()
    for at, name in enumerate(names, 1):
        began = perf_counter()
        say(f"[{at}/{len(names)}] {name}: {(SUITE[name].__doc__ or '').strip().splitlines()[0]}")
        try:
            SUITE[name](results, options)
        except Exception as error:  # noqa: BLE001 - one that fails leaves the results of the others
            results.notes.append(f"{name} could not be measured: {type(error).__name__}: {error}")
            say(f"  {results.notes[-1]}")
        say(f"  {perf_counter() - began:.0f} s")
    ours.stop()
    return results


def main(given: list[str] | None = None) -> int:
    """Measure, and say what was found; 1 where a target is missed."""
    chosen = _arguments(given)
    if chosen.list:
        for name, benchmark in SUITE.items():
            print(f"{name:16} {(benchmark.__doc__ or '').strip().splitlines()[0]}")
        return 0
    runs = []
    if not chosen.no_run:
        rounds = chosen.rounds or (7 if chosen.quick else 21)
        options = Options(rounds, chosen.quick, peers=not chosen.without_peers)
        runs.append((run(chosen.only or list(SUITE), options), machine.described(), _command(chosen, rounds)))
    runs += [report.from_json(Path(name).read_text(encoding="utf-8")) for name in chosen.with_json]
    if not runs:
        print("nothing to show: give --with-json FILE, or leave --no-run away", file=sys.stderr)
        return 2
    results, described, command = runs[0]
    if chosen.json:
        Path(chosen.json).write_text(report.as_json(results, described, command), encoding="utf-8")
    if chosen.plot:
        Path(chosen.plot).write_text(as_svg(report.merged(runs)[0][0]), encoding="utf-8")
    if chosen.markdown:
        plot = Path(chosen.plot).name if chosen.plot else None
        Path(chosen.markdown).write_text(report.as_markdown(runs, plot), encoding="utf-8")
    else:
        for title, rows in results.benchmarks().items():
            print("\n".join([f"\n{title}", *report.table(rows)]))
        for note in results.notes:
            print(f"\n{note}")
        print("\n" + "\n".join(report.targets_table(judged(results))))
    return 0 if all(one.met for one in judged(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
