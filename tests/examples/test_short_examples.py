"""The short examples run and print what a reader expects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import OURS

ROOT = Path(__file__).parents[2]

PRINTED = {
    "first_call": ("three.pdf: only images can be read", "read_receipt      3       1", "total         $0.0200      2"),
    "budget": ("an answer to 'question 2'", "refused: raise limit_usd", "spent: $0.04"),
    "own_sink": (
        '{"tool_name": "parse_items", "outcome": "success", "tokens": 120, "tags": {"customer": "acme"}}',
        '{"tool_name": "save_items", "outcome": "success", "tags": {"customer": "acme"}}',
    ),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_short_example_runs_and_prints_what_it_promises(name: str) -> None:
    """Each example ends well, in a process of its own, and shows its point."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TOOLWEAVER_MONITOR_")}
    ended = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": OURS},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    for line in PRINTED[name]:
        assert line in ended.stdout


def test_every_short_example_is_tested() -> None:
    """A new example gets its line above."""
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} - {"__init__"} == PRINTED.keys()
