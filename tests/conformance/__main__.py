"""How does each installed library's decorator do? `python tests/conformance` runs the rows and writes the table.

`python tests/conformance prometheus_client` runs one and prints what it fails; so does `--decorator` of pytest.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import peers

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "conformance.md"
COMMAND = "nox -s conformance"

INTRODUCTION = f"""\
# Conformance: what the decorator keeps

What `@monitored` and `track` keep of the functions they watch, one row a behaviour, each a test in `tests/conformance`.
The same rows were asked of other libraries' decorators, each through an adapter of some twenty lines
(`tests/conformance/peers`); read a `no` as "this row's test does not pass with that decorator", also where the library
never meant to do it. `3 of 5` counts the cases of a row.

This page is written by `{COMMAND}`. To ask the rows of a library of your own, give pytest its adapter:
`pytest tests/conformance --decorator your_module:YourAdapter`.
"""

KNOWN_DIFFERENCES = """\
## What can be told

- Wrong arguments to a coroutine function or a generator function raise their `TypeError` at the first await or step,
  not when it is called: until then it has not run.
- A coroutine that a plain function returns comes back as another coroutine of the same name, which awaits it.
- While nothing is watched, a generator is handed on by `yield from`, and Python makes a `close()` of a `GeneratorExit`
  thrown into that: a body that swallows it is not heard, and its return value is lost.
- What the `__aexit__` of a `track` block gives, called by hand, can be awaited, by `asyncio.wait_for` and `gather`,
  too, but is no coroutine: to end a block in a task (`asyncio.create_task`, `asyncio.run_coroutine_threadsafe`, anyio's
  `start_soon`), await it in a coroutine function of your own.
- The function's own code object (`__code__`, `__defaults__`) is found at `__wrapped__`. What goes by it and does not
  look there sees `(*args, **kwargs)`: `inspect.getfile`, and `inspect.getfullargspec`, with which Celery checks a
  task's arguments beforehand.
- A class that is made again to give it slots, as by `attrs.define`, does not find in that code object what `super()`
  without arguments needs: write `super(Receipt, self)`, or have the class watched by `instrument()` once it is made.
- A call adds one frame to the stack, so a recursion reaches half as deep before the interpreter stops it.
- Who counts frames from inside the function counts that one, too: to name its caller, a watched function says
  `warnings.warn(..., stacklevel=3)`, and a wrapper that warns (`@deprecated`) stands above `@monitored`, not below.
- A profiler shows the time of the function under its own name, and that frame as `run`, one for all watched functions.
"""


class Row(NamedTuple):
    """One behaviour: its test's file, name, and the sentence it opens with."""

    file: str
    test: str
    sentence: str


def rows() -> Iterator[tuple[str, list[Row]]]:
    """The rows by section, in the order in which they stand in the files."""
    for path in sorted(HERE.glob("test_*.py"), key=_place):
        tree = ast.parse(path.read_text())
        tests = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        yield (
            str(ast.get_docstring(tree)),
            [
                Row(path.stem, node.name, " ".join(str(ast.get_docstring(node)).split()))
                for node in tests
                if node.name.startswith("test_")
            ],
        )


def _place(path: Path) -> int:
    order = ("kinds", "generators", "async_generators", "coroutines", "invisible", "errors")
    name = path.stem.removeprefix("test_")
    return order.index(name) if name in order else len(order)


def run(name: str) -> dict[tuple[str, str], str]:
    """What each row says of one library: `yes`, `no`, how many of its cases, or nothing where it was left out."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            str(HERE),
        ]
        if name != "toolweaver_monitor":
            command += ["-o", "filterwarnings="]  # ours must not even warn; others may
        done = subprocess.run(
            command,
            env={**os.environ, peers.ENVIRONMENT: name},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=HERE.parents[1],
        )
        if not report.exists():
            raise SystemExit(
                f"{name}: the rows could not be run to their end:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        passed, asked = Counter(), Counter()
        for case in ET.parse(report).iter("testcase"):
            key = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
            if case.find("skipped") is None:
                asked[key] += 1
                passed[key] += case.find("failure") is None and case.find("error") is None
    return {
        key: "yes" if passed[key] == asked[key] else f"{passed[key]} of {asked[key]}" if passed[key] else "no"
        for key in asked
    }


def installed() -> list[str]:
    """The libraries that can be asked here, ours first."""
    found = []
    for name in peers.KNOWN:
        try:
            importlib.import_module(peers.KNOWN[name].partition(":")[0])
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed, and left out", file=sys.stderr)
        else:
            found.append(name)
    return found


def page(results: dict[str, dict[tuple[str, str], str]]) -> str:
    """The page for the docs."""
    adapters = {
        name: getattr(importlib.import_module(m), c) for name in results for m, c in [peers.KNOWN[name].split(":")]
    }
    heads = " | ".join(adapters[name].title for name in results)
    text = [INTRODUCTION, _versions(adapters)]
    totals = Counter[str]()
    sections = []
    for title, section in rows():
        head, _, question = title.partition(": ")
        lines = [
            f"## {head}",
            "",
            question[:1].upper() + question[1:],
            "",
            f"| | {heads} |",
            "|---" * (len(results) + 1) + "|",
        ]
        for row in section:
            cells = [results[name].get((row.file, row.test), "") for name in results]
            totals.update(name for name, cell in zip(results, cells, strict=True) if cell == "yes")
            lines.append(f"| {row.sentence} | {' | '.join(cells)} |")
        sections.append("\n".join([*lines, ""]))
    count = sum(len(section) for _, section in rows())
    text.append(
        f"| | {heads} |\n{'|---' * (len(results) + 1)}|\n| rows passed of {count} | "
        + " | ".join(str(totals[name]) for name in results)
        + " |\n"
    )
    return "\n".join([*text, *sections, KNOWN_DIFFERENCES])


def _versions(adapters: dict[str, type[peers.Peer]]) -> str:
    versions = [f"Python {sys.version.split()[0]}"]
    versions += [
        f"{a.distribution} {importlib.metadata.version(a.distribution)}" for a in adapters.values() if a.distribution
    ]
    return f"Run with {', '.join(versions)}.\n"


def main(names: list[str]) -> int:
    """Run the rows; write the page, or print what the named libraries fail. Gives 1 if ours fails any."""
    results = {name: run(name) for name in names or installed()}
    for name, answers in results.items():
        failed = [f"{file}::{test} {answer}" for (file, test), answer in answers.items() if answer != "yes"]
        print(f"{name}: {len(answers) - len(failed)} of {len(answers)} rows pass")
        if names or name == "toolweaver_monitor":
            print("".join(f"  {line}\n" for line in failed), end="")
    if not names:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(results))
        print(f"written: {PAGE}")
    return int(any(answer != "yes" for answer in results.get("toolweaver_monitor", {}).values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
