"""The page on conformance states what the suite checks."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_row_stands_on_the_page_and_passes_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has each row of the suite in its section, with `yes` for ours; `nox -s conformance` writes it anew."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "tests" / "conformance"), *sys.path])
    rows = runpy.run_path(str(ROOT / "tests" / "conformance" / "__main__.py"), run_name="reading")["rows"]
    page = (ROOT / "docs" / "reference" / "conformance.md").read_text()
    sections = dict(part.partition("\n")[::2] for part in page.split("\n## ")[1:])
    for title, section in rows():
        table = sections[title.partition(": ")[0]]
        missing = [row.sentence for row in section if f"| {row.sentence} | yes |" not in table]
        assert not missing, "run `nox -s conformance`"
