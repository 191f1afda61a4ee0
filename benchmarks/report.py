"""Write the results as a JSON file and a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness import Figure
from benchmarks.results import Results
from benchmarks.targets import Judged, judged

INTRO = """# Benchmarks in full

[The short page](../benchmarks.md) has the results that most readers need.

What a monitored call costs beside what you would write by hand. All contenders of a table ran in one process, in turns
(A B C, B C A, ...); a cost is the time of a call less that of the bare function in the same round; a ratio is taken
within a round; every value is the median over the rounds with its quartiles in brackets. In bursts the drain comes
after the clock has stopped; "sustained" has it inside. **The floor** is `functools.wraps` with two
`perf_counter_ns()`; **the guide** is a prometheus_client gauge, counter, histogram and cost counter by hand with
`labels()` at each call, and **cached** the same with the children looked up once. Ours feeds metrics, costs, errors and
Prometheus at once. Other libraries write to sinks that do nothing.

To measure on your own machine, with the other libraries, and to write this page:

```sh
pip install -e '.[all]' --group dev --group bench
python -m benchmarks --markdown docs/reference/benchmarks.md --plot docs/benchmarks.svg
```

`make bench` does the same with what is installed, and prints. A library that is not installed is left out with a note;
autometrics requires an older prometheus_client, so it is installed by itself: `pip install autometrics`, then
`pip install -U prometheus-client`. A suite measured in parts (`--only`, `--json`) is put together by
`--no-run --with-json`.
"""


class Why(NamedTuple):
    """The parts of a value that no arrangement can leave out."""

    what: str
    parts: tuple[str, ...]
    text: str
    least: tuple[tuple[str, str], ...]
    """Keys of the bare minimum (see `least`), and of this library beside it."""


ABOVE_PLAIN = "CPU of cached above plain"

WHY = {
    "shapes/": Why(
        "a call with money, tags or a parent",
        ("ToolCall()", "contextvar set + reset", "perf_counter() twice", "deque.append"),
        "a call inside another takes part in the totals of its outermost call, and so needs that call's number. "
        "`record()` checks each value, and makes a record of what was used; the drain adds up these values call by "
        "call. A block looks up a key of its tags, and makes two "
        "Python calls more. The least code does this and its counting (`benchmarks/least_counted.py`). Ours also looks "
        "at budgets, limits, prices, secrets and tags that come late. In CPU: nested calls and the receipt as a "
        "multiple of a plain call of the same code, the others by what they add to it, as a share of the cached "
        "counters' CPU.",
        (
            ("shapes/least: nested/CPU of plain", "shapes/nested/CPU of plain"),
            ("shapes/least: receipt/CPU of plain", "shapes/receipt/CPU of plain"),
            *(
                (f"shapes/least: {name}/{ABOVE_PLAIN}", f"shapes/{name}/{ABOVE_PLAIN}")
                for name in ("result dict", "record(tokens, cost)", "record(..., model)", "block, tag and cost")
            ),
        ),
    ),
    "generators/": Why(
        "a generator's step",
        ("contextvar get", "contextvar set + reset", "one Python call of three arguments", "handler looked up by type"),
        "the call is current only while the body runs, or the consumer's own calls would become its children. So "
        "each step reads, sets and resets a context variable, and resumes a second frame, which may not keep the item; "
        "from CPython 3.12 on the second async generator makes a `StopIteration` of its own for each item as well.",
        (
            ("generators/bare minimum/floors", "generators/generator step/floors"),
            ("generators/bare minimum, async/async floors", "generators/async generator step/async floors"),
        ),
    ),
    "track/": Why(
        "a block",
        ("one Python call of three arguments", "ToolCall()"),
        "`with` makes three Python calls (`track`, `__enter__`, `__exit__`; `async with` a coroutine more) where a "
        "decorator makes one, and has no local variables in which to keep the call and its token.",
        (
            ("track/bare minimum/of decorator", "track/with track/of decorator"),
            ("track/bare minimum, async/of decorator", "track/async with track/of decorator"),
        ),
    ),
    "tasks/": Why(
        "10,000 tasks at once",
        ("ToolCall()", "contextvar set + reset"),
        "what costs little one by one costs more ten thousand at once: each open call keeps a coroutine, a token and "
        "the context's map, which the garbage collector looks at again and again while they are all alive (see the "
        "table for the same with the collector off).",
        (("tasks/bare minimum/10,000 of bare", "tasks/ours/10,000 of bare"),),
    ),
    "result/": Why(
        "a result dict",
        ("names of a dict as a set", "names compared with ours", "figures kept"),
        "the names must be looked at before the caller can change the dict. A set of them takes their hashes from the "
        "dict: no `__hash__` of the user's runs. The bare minimum is measured twice: trusting what it finds, and "
        "careful about the dict's size, each name, and the type and range of each value, as this library must be. "
        "Ours is written once, for every kind of function, which costs a Python call more.",
        (
            ("result/bare minimum, trusting/floors more", "result/result dict/floors more"),
            ("result/bare minimum, careful/floors more", "result/result dict/floors more"),
        ),
    ),
}

TITLES = {
    "shapes": "Calls with money, tags, parents and errors; a call each, CPU with the drain inside",
    "sync": "A sync call, in bursts",
    "async": "An async call, in bursts",
    "sustained": "A sync call, drains inside the clock, and CPU of the whole process",
    "sustained async": "An async call, drains inside the clock, and CPU of the whole process",
    "parts": "What a call is made of",
    "track": "Blocks beside the decorator",
    "generators": "A step of a generator",
    "result": "A result that carries usage",
    "budget": "Budgets",
    "sinks": "I/O sinks: what the caller pays",
    "store": "A plain call with the store on, in bursts",
    "store sustained": "A plain call with the store on, drains inside the clock, and CPU of the whole process",
    "beyond": "A plain call of a joined worker, and with OTLP on, in bursts",
    "beyond sustained": "The same, drains inside the clock, and CPU of the whole process",
    "off": "Before `setup()` and disabled",
    "threads": "Threads, drains inside the clock",
    "tasks": "Concurrent tasks whose body sleeps 1 ms, time a task",
    "tail": "Percentiles of single calls (each includes the clock's own reading)",
    "memory": "Growth of the process",
    "import": "Import",
    "setup": "`setup()` in a fresh process",
    "scrape": "A scrape over HTTP",
    "summary": "`summary()` right after one more call",
    "price": "The price of a call, off the caller's path",
    "repeats": "The digest of arguments, for a limit of repeats",
    "rollup": "Counting a call, off the caller's path",
    "wandb": "Weights & Biases, offline",
}


def as_json(results: Results, machine: Mapping[str, str], command: str) -> str:
    """Everything that was measured."""
    found: dict[str, Any] = {
        "machine": dict(machine),
        "command": command,
        "figures": {key: value.as_dict() for key, value in results.figures.items()},
        "targets": [
            {
                "what": one.target.what,
                "key": one.target.key,
                "limit": one.limit,
                "value": one.value,
                "met": one.met,
            }
            for one in judged(results)
        ],
        "notes": results.notes,
    }
    return json.dumps(found, indent=1) + "\n"


def from_json(text: str) -> Run:
    """Results, machine and command out of a JSON file that an earlier run wrote."""
    found = json.loads(text)
    figures = {key: Figure(**value) for key, value in found["figures"].items()}
    return Results(figures, found["notes"]), found["machine"], found["command"]


Run = tuple[Results, dict[str, str], str]
"""What was measured, on what, and by which commands."""


def merged(runs: Sequence[Run]) -> list[Run]:
    """The runs of one Python on one machine as one, in the order of its first: a long suite is measured in parts."""
    found: dict[str, Run] = {}
    for results, machine, command in runs:
        if machine["python"] in found:
            earlier, where, commands = found[machine["python"]]
            both = Results({**earlier.figures, **results.figures}, [*earlier.notes, *results.notes])
            found[machine["python"]] = both, where, f"{commands}\n{command}"
        else:
            found[machine["python"]] = results, machine, command
    return list(found.values())


def out_of_reach(results: Results, found: Sequence[Judged]) -> list[str]:
    """For the targets that were not reached: what the parts that cannot be done without take by themselves."""
    parts = results.benchmarks().get("parts", {})
    missed = [one for one in found if not one.met]
    lines = ["### Where the rest goes", ""]
    for key, why in WHY.items():
        if any(one.target.key.startswith(key) for one in missed):
            shares = {name: parts[name]["floors"].median for name in why.parts if name in parts}
            told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            line = f"- **{why.what}**: {why.text}"
            line += f" In floors: {told}; together {sum(shares.values()):.2f}." * bool(shares)
            pairs = [(results.figures.get(least), results.figures.get(mine)) for least, mine in why.least]
            names = [least.split("/")[1].removeprefix("least: ") for least, _ in why.least]
            beside = [
                f"{name} {least.median:.2f}, ours {mine.median:.2f}"
                for name, (least, mine) in zip(names, pairs, strict=True)
                if least is not None and mine is not None
            ]
            lines.append(line + f" Least code that does just this: {'; '.join(beside)}." * bool(beside))
    return [*lines, ""] if len(lines) > 2 else []


def number(value: float) -> str:
    """A value with as many digits as it deserves."""
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def shown(figure: Figure) -> str:
    """The median, and the quartiles where there was more than one round."""
    if figure.rounds == 1:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)}..{number(figure.high)})"


def table(rows: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """One benchmark as a Markdown table: a row a contender, a column a measure."""
    measures: dict[str, str] = {}
    for row in rows.values():
        for measure, figure in row.items():
            measures.setdefault(measure, figure.unit)
    heads = [f"{measure}, {unit}" if unit not in ("", "x") else measure for measure, unit in measures.items()]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name, row in rows.items():
        cells = [shown(row[measure]) if measure in row else "" for measure in measures]
        bold = f"**{name}**" if name.startswith("ours") else name
        lines.append(f"| {bold} | " + " | ".join(cells) + " |")
    return lines


def targets_table(found: list[Judged]) -> list[str]:
    """What was to be reached, and what was."""
    lines = ["| what | target | measured | |", "|---|---|---|---|"]
    for one in found:
        word = "at least" if one.target.at_least else "at most"
        limit = f"{word} {number(one.limit)} {one.target.unit}"
        verdict = f"reached, {one.by}" if one.met else f"**not reached**, {one.by}"
        lines.append(f"| {one.target.what} | {limit} | {number(one.value)} | {verdict} |")
    return lines


def as_markdown(runs: Sequence[Run], plot: str | None = None) -> str:
    """The page for the docs; one part for each run, such as one a version of Python."""
    lines = [INTRO]
    if plot:
        lines += [f"![Microseconds that each adds to a sync call]({plot})", ""]
    for results, machine, command in merged(runs):
        lines += [f"## {machine['python']}", "", "```sh", command, "```", ""]
        lines += [f"- {key}: {value}" for key, value in machine.items()]
        lines += ["", "### Targets", "", *targets_table(judged(results, machine["python"])), ""]
        lines += out_of_reach(results, judged(results, machine["python"]))
        for benchmark, rows in results.benchmarks().items():
            lines += [f"### {TITLES.get(benchmark, benchmark)}", "", *table(rows), ""]
        lines += [f"- {note}" for note in results.notes]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
