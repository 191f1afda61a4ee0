"""The page of faults: each row names its tests, and each test names the change that it was seen red with."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "faults"
PAGE = (ROOT / "docs" / "reference" / "faults.md").read_text("utf-8")

ROWS = [
    f"{part}{number}" for part, last in zip("TLADCS", (7, 7, 5, 12, 5, 8), strict=True) for number in range(1, last + 1)
]
SEEN_RED = re.compile(r"Seen red(?: on [\w .]+)?: |Mutations?(?: that turned it red)?: ")
SEEN_RED_AS = re.compile(r"Seen red as `(\w+)`, whose check it shares\.")


def rows() -> dict[str, list[str]]:
    """What each row of the page names as its tests: `file.py`, `file.py::test_x_*` or a folder."""
    found: dict[str, list[str]] = {}
    for line in PAGE.splitlines():
        if row := re.match(r"\| ([A-Z]\d+(?:, [A-Z]\d+)*) \|", line):
            found |= dict.fromkeys(row[1].split(", "), re.findall(r"`([^`]+)`", line.split("|")[-2]))
    return found


def saying(path: Path) -> dict[str, str]:
    """The tests of a file, with their docstrings on one line."""
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def files_of(reference: str) -> list[Path]:
    """The files of a reference in which there is a test that it means."""
    place, _, pattern = reference.partition("::")
    path = ROOT / place if "/" in place else FAULTS / place
    files = path.rglob("test_*.py") if path.is_dir() else [path] if path.is_file() else []
    return [file for file in files if any(fnmatch(name, pattern or "*") for name in saying(file))]


def test_every_row_names_tests_that_are_there() -> None:
    """T1 to S8 stand on the page, and what a row names is a test.

    Seen red: with `test_l4_*` of the page misspelt; with a file renamed; with a row taken out.
    """
    assert sorted(rows()) == sorted(ROWS)
    assert [row for row, references in rows().items() if not references] == []
    assert [(row, one) for row, references in rows().items() for one in references if not files_of(one)] == []


FILES = {file for references in rows().values() for one in references if ".py" in one for file in files_of(one)}


@pytest.mark.parametrize("path", sorted({*FILES, *FAULTS.glob("test_*.py")}), ids=lambda path: path.name)
def test_every_test_of_a_row_says_by_which_change_it_was_seen_red(path: Path) -> None:
    """In its docstring; one that is the longer of two names the shorter, which stands beside it and says so itself.

    Seen red: with the words left out of one docstring; with the shorter test's name misspelt in the longer's.
    """
    tests = saying(path)
    themselves = {name for name, said in tests.items() if SEEN_RED.search(said)}
    by_another = {name for name, said in tests.items() if (as_ := SEEN_RED_AS.search(said)) and as_[1] in themselves}
    assert sorted(tests.keys() - themselves - by_another) == []
