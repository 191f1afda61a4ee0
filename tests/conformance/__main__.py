"""The conformance table: `python tests/conformance` runs the rows with each installed library and writes the page.

`python tests/conformance prometheus_client` runs one and prints its failures; so does `--decorator` of pytest.
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
# Conformance: what the decorator preserves

What `@monitored` and `track` preserve of the functions they monitor. Each row is one behavior, and a test in
`tests/conformance`. The same tests were run with other libraries' decorators, each through an adapter of about twenty
lines (`tests/conformance/peers`). A `no` means that the test does not pass with that decorator, even if the library
never meant to support it. `3 of 5` counts the cases of a row.

This page is written by `{COMMAND}`. To test a library of your own, give pytest its adapter:
`pytest tests/conformance --decorator your_module:YourAdapter`.
"""

KNOWN_DIFFERENCES = """\
## Known differences

- Wrong arguments to a coroutine function raise their `TypeError` at the first await, not when it is called: until then
  it has not run.
- If a plain function returns a coroutine, its caller gets another coroutine of the same name, which awaits it. The same
  holds for a generator and an async generator, but not with `instrument(module)`: there generators stay what they are.
- The result of calling the `__aexit__` of a `track` block by hand can be awaited, also by `asyncio.wait_for` and
  `gather`, but is not a coroutine. To end a block in a task (`asyncio.create_task`,
  `asyncio.run_coroutine_threadsafe`, anyio's `start_soon`), await it in a coroutine function of your own.
- The function's own code object (`__code__`, `__defaults__`) is found at `__wrapped__`. Code that uses it and does not
  look there sees `(*args, **kwargs)`: `inspect.getfile`, and `inspect.getfullargspec`, with which Celery checks a
  task's arguments in advance.
- A class that is created again to give it slots, as by `attrs.define`, does not find in that code object what `super()`
  without arguments needs: write `super(Receipt, self)`, or call `instrument()` on the class after it is created.
- A call adds one frame to the stack, so a recursion reaches half as deep before the interpreter stops it.
- Code that counts frames from inside the function counts this one, too: to name its caller, a monitored function calls
  `warnings.warn(..., stacklevel=3)`, and a wrapper that warns (`@deprecated`) stands above `@monitored`, not below.
- A profiler shows the time of the function under its own name, and this frame as `run`, one for all monitored
  functions.
"""


class Row(NamedTuple):
    """One behavior: the file and name of its test, and the sentence that opens it."""

    file: str
    test: str
    sentence: str


def rows() -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each section, in the order of the files."""
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
    order = ("kinds", "generators", "async_generators", "returned_streams", "coroutines", "invisible", "errors")
    name = path.stem.removeprefix("test_")
    return order.index(name) if name in order else len(order)


def run(name: str) -> dict[tuple[str, str], str]:
    """Return the result of each row for one library: `yes`, `no`, or how many cases pass; skipped rows are left out."""
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
            timeout=900,  # a minute by itself; several on a machine that does other things
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
    """Return the libraries that are installed, this one first."""
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
    """Return the page for the docs."""
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
    """Run the rows and write the page, or print what the named libraries fail. Returns 1 if this library fails any."""
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
