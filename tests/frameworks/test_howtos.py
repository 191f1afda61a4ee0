"""Each how-to of a framework runs as it is written, and prints what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "how-to" / "frameworks").glob("*.md"))
NEEDS = {"openai-agents": "agents", "langchain": "langchain_core", "pydantic-ai": "pydantic_ai"}


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_each_framework_has_its_page() -> None:
    """One short page for each that has a decorator or a server of its own; the others are in one table."""
    tested = {path.stem.removeprefix("test_").replace("_", "-") for path in Path(__file__).parent.glob("test_*.py")}
    assert PAGES
    assert {page.stem for page in PAGES} <= tested


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path) -> None:
    """All its blocks of Python, one after the other, in one program; the text blocks are what they print."""
    pytest.importorskip(NEEDS.get(page.stem, page.stem), reason="installed by `nox -s frameworks`")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks(page, "python"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(blocks(page, "text"))
