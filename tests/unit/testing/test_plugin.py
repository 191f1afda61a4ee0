"""With pytest, the fixture `toolweaver` is available without an import."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from helpers import OURS

PLUGIN = "_toolweaver_monitor_pytest"
INSTALLED = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
"""Not in a checkout that was installed before the plugin was there; then it is named by hand."""

USES_IT = """
import pytest
from toolweaver_monitor import BudgetExceeded, monitored

@monitored("ocr", cost=0.10)
async def ocr():
    return {"tokens_used": 10}

@monitored("ocr", cost=0.10)
def plain():
    return {"tokens_used": 10}

def test_first(toolweaver):
    plain()
    toolweaver.assert_called("ocr", times=1, max_cost=0.10)

def test_second_sees_nothing_of_the_first(toolweaver):
    toolweaver.assert_not_called()

@pytest.mark.toolweaver(budget=0.05)
def test_settings(toolweaver):
    with pytest.raises(BudgetExceeded):
        plain()

def test_red(toolweaver):
    plain()
    toolweaver.assert_called("ocr", times=2)
"""
FAILS_ITSELF = """
import pytest
from toolweaver_monitor import track

def test_red(toolweaver):
    with track("outer"):
        with track("inner"):
            pass
        assert 1 == 2

def test_error_of_the_code(toolweaver):
    with pytest.raises(KeyError), track("outer"):
        raise KeyError("x")
    raise ValueError("later")

def test_without_it():
    assert 1 == 2
"""
USES_IT_NOT = """
import sys

def test_nothing_of_it_is_imported():
    assert [name for name in sys.modules if name.partition(".")[0] == "toolweaver_monitor"] == []
    assert "_toolweaver_monitor_pytest" in sys.modules
"""


def run_pytest(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own, in a folder of its own, as a user would run it."""
    (folder / "test_it.py").write_text(code)
    named = [] if INSTALLED else ["-p", PLUGIN]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *named, *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": OURS, "PATH": ""}
    )


def test_each_test_has_a_fresh_recorder_and_a_red_one_says_what_ran(tmp_path: Path) -> None:
    """Nothing to import, nothing to set up; the failure shows the user's line and not ours."""
    done = run_pytest(tmp_path, USES_IT, "--strict-markers")
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "AssertionError: ocr was called once, not 2 times" in done.stdout
    assert "_recorder.py" not in done.stdout
    assert "Unknown pytest.mark" not in done.stdout


def test_any_assertion_that_fails_shows_the_tree_of_calls(tmp_path: Path) -> None:
    """In a section of its own, once. Seen red: without the hook only assertions of the recorder showed calls."""
    done = run_pytest(tmp_path, FAILS_ITSELF)
    assert "3 failed" in done.stdout, done.stdout + done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    at = [number for number, line in enumerate(lines) if line.strip("- ") == "tool calls"]
    assert len(at) == 2
    shown = [re.sub(r"  [\d.]+ s", "", line) for line in lines[at[0] + 1 : at[0] + 4]]
    assert shown == ["calls:", "  outer  failure  AssertionError: assert 1 == 2", "    inner  success"]
    assert lines[at[1] + 2].startswith("  outer  failure")


def test_a_run_that_does_not_use_it_imports_nothing_of_the_package(tmp_path: Path) -> None:
    """Being installed costs a test run no import but one small module."""
    done = run_pytest(tmp_path, USES_IT_NOT)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not INSTALLED, reason="the entry point is not installed here: install the project again")
def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """`-p no:toolweaver_monitor` takes the fixture away, and nothing else."""
    done = run_pytest(tmp_path, USES_IT, "-p", "no:toolweaver_monitor")
    assert "fixture 'toolweaver' not found" in done.stdout, done.stdout + done.stderr
