"""Run libraries' own tests with and without monitoring: `python tests/transparency`.

The source distribution of each library is fetched, and its tests run twice: as they are, and with every public function
and method of the library monitored by `instrument(module)`. Each test must end in the same way. The last result is
written to docs/reference/transparency.md; `nox -s transparency` installs what this needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "reference" / "transparency.md"

INTRODUCTION = """\
# Transparency: libraries that cannot tell

Each library's own tests, run from its source distribution twice: as they are, and with every public function and method
of it monitored by `instrument(module)`, which opens and closes a call at each of them, nested to any depth. Every test
must end in the same way. This page is written by `nox -s transparency`.

| library | character | functions monitored | calls recorded | its tests | end the same |
|---|---|---|---|---|---|
"""


class Library(NamedTuple):
    """A library whose tests come with its source."""

    name: str
    version: str
    package: str
    character: str
    tests: tuple[str, ...]
    differs: Mapping[str, str] = MappingProxyType({})
    """Tests that must end differently, and why."""


LIBRARIES = (
    Library(
        "more-itertools",
        "11.2.1",
        "more_itertools",
        "sync, mostly generators",
        ("tests",),
        {
            "tests.test_more.SeekableTest::test_repeated_zero_cache_peek_has_bounded_memory#0": "measures all memory "
            "that Python holds after 20,000 calls: recorded calls take about 150 bytes each until the next reader "
            "counts them, for at most 24,576 calls"
        },
    ),
    Library("aioitertools", "0.13.0", "aioitertools", "async generators and coroutines", ("aioitertools/tests",)),
    Library("aiostream", "0.8.1", "aiostream", "async, operators made of async generators", ("tests",)),
)


class Result(NamedTuple):
    """How a library's tests ended, and how much of it was monitored."""

    outcomes: dict[str, str]
    functions: int = 0
    calls: int = 0


def fetch(library: Library, folder: Path) -> Path:
    """Download and unpack a library's source; return its folder."""
    pin = f"{library.name}=={library.version}"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
    ]
    subprocess.run([*pip, "-d", folder, pin], check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return source


def run(library: Library, source: Path, *, watched: bool) -> Result:
    """Run a library's tests in a process of their own."""
    report, counts = source / "report.xml", source / "counts.txt"
    files = sorted(
        str(path) for each in library.tests for path in (source / each).glob("*.py") if "__" not in path.name
    )
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        f"--junitxml={report}",
    ]
    command += ["-p", "watching"] if watched else []
    done = subprocess.run(
        [*command, *files],
        cwd=source,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(source), str(HERE / "plugin")]),
            "TRANSPARENCY_PACKAGE": library.package,
            "TRANSPARENCY_COUNTS": str(counts),
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if not report.exists():
        raise SystemExit(f"{library.name}: its tests could not be run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        key, number = f"{case.attrib['classname']}::{case.attrib['name']}", 0
        while f"{key}#{number}" in outcomes:
            number += 1
        outcomes[f"{key}#{number}"] = next(
            (each.tag for each in case if each.tag in ("failure", "error", "skipped")), "passed"
        )
    functions, calls = map(int, counts.read_text().split()) if watched else (0, 0)
    return Result(outcomes, functions, calls)


def compare(library: Library) -> tuple[str, str, bool]:
    """Return a line of the page, its notes, and whether every test ended as it must."""
    with tempfile.TemporaryDirectory() as folder:
        source = fetch(library, Path(folder))
        bare = run(library, source, watched=False)
        watched = run(library, source, watched=True)
    every = bare.outcomes.keys() | watched.outcomes.keys()
    differing = sorted(test for test in every if bare.outcomes.get(test) != watched.outcomes.get(test))
    for test in differing:
        print(f"  {test}: {bare.outcomes.get(test)} bare, {watched.outcomes.get(test)} watched")
    ends = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(Counter(bare.outcomes.values()).items()))
    same = f"{len(every) - len(differing):,} of {len(every):,}"
    print(f"{library.name}: {same} tests end the same ({ends}); {watched.functions} functions, {watched.calls:,} calls")
    cells = (
        f"{library.name} {library.version}",
        library.character,
        f"{watched.functions:,}",
        f"{watched.calls:,}",
        ends,
    )
    line = f"| {' | '.join(cells)} | {same} |\n"
    notes = "".join(
        f"- `{test.partition('#')[0]}` {library.differs[test]}.\n" for test in differing if test in library.differs
    )
    return line, notes, not set(differing) - library.differs.keys() and bool(bare.outcomes) and watched.calls > 0


def main(names: list[str]) -> int:
    """Compare the named libraries, or all, and then write the page; return 1 if any test ended differently."""
    results = [compare(library) for library in LIBRARIES if not names or library.name in names]
    if not names:
        lines, notes = ("".join(parts) for parts in list(zip(*results, strict=True))[:2])
        notes = f"\nThese must end differently, and do:\n\n{notes}" if notes else ""
        PAGE.write_text(f"{INTRODUCTION}{lines}{notes}\nRun with Python {sys.version.split()[0]}.\n")
        print(f"written: {PAGE}")
    return int(not all(same for _, _, same in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
