"""The demo does what its text says: it reads real receipts, reports on them, and stores them where it says."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
URL = re.compile(r"http://127\.0\.0\.1:\d+/")


@pytest.fixture
def demo_installed(require_package: Callable[[str, str], None]) -> None:
    """What the demo needs beyond the library."""
    for name in ("PIL", "rapidocr", "onnxruntime", "wandb"):
        require_package(name, "make demo installs it")


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | {"HOME": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.receipts", "--port", "0", "--output", str(folder / "output"), *argv],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_of_the_run(folder: Path) -> list[dict[str, Any]]:
    (run,) = folder.glob("output/wandb/offline-run-*/run-*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    lines = subprocess.run(inspect, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [json.loads(line)["history"]["item"] for line in lines if '"history"' in line]


@pytest.mark.usefixtures("demo_installed")
def test_it_reads_receipts_and_shows_the_two_that_must_fail(tmp_path: Path) -> None:
    """Exit code 0: what fails on purpose is in the figures, on /metrics while it runs, and in the W&B run."""
    with start(tmp_path, "--receipts", "4", "--json") as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        url = URL.search(first)
        assert url is not None, first + process.stderr.read()
        process.stderr.readline()  # one receipt is done, so a tool has run
        exposed = urllib.request.urlopen(url[0] + "metrics", timeout=5).read().decode()
        filling = json.loads(urllib.request.urlopen(url[0] + "data.json", timeout=5).read())
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert 'toolweaver_tool_executions_total{tool_name="ocr",' in exposed
    assert "ocr" in {row["name"] for row in filling["tools"]}
    assert 0 < filling["total"]["calls"] <= 14

    told = json.loads(out)
    assert {reading["file"]: reading["outcome"] for reading in told["receipts"]} == {
        "01-ann.png": "read",
        "02-bob.png": "failed",
        "03-eve.png": "failed",
        "04-ann.png": "read",
    }
    assert [reading["total"] for reading in told["receipts"]] == [18.45, None, None, 8.8]
    assert told["cost_by_operation"] == {
        "ocr": 0.3,
        "categorize": 0.1,
        "parse_items": 0.04,
        "receipt": 0.0,
        "write_csv": 0.0,
    }
    by_employee = {name: figures["cost_usd"] for name, figures in told["by_employee"].items()}
    assert by_employee == {"ann": 0.34, "eve": 0.1, "bob": 0.0, "(none)": 0.0}
    assert told["summary"]["count"] == 4 + 4 + 3 + 2 + 1
    assert told["summary"]["failures"] == 4
    assert {(error["tool_name"], error["error_type"]) for error in told["errors"]} == {
        ("ocr", "OSError"),
        ("parse_items", "WrongTotal"),
        ("receipt", "OSError"),
        ("receipt", "WrongTotal"),
    }

    ended = Counter((key, value) for row in rows_of_the_run(tmp_path) for key, value in row.items() if "/stat" in key)
    assert ended == {
        ("ocr/status", 1): 3,
        ("ocr/status", 0): 1,
        ("parse_items/status", 1): 2,
        ("parse_items/status", 0): 1,
        ("categorize/status", 1): 2,
        ("receipt/status", 1): 2,
        ("receipt/status", 0): 2,
        ("write_csv/status", 1): 1,
    }
    assert "2 of 4 receipts were read" in err
    assert 'id="figures">{"v":' in (tmp_path / "output" / "report.html").read_text()
    (stored,) = re.findall(r"toolweaver-monitor (report \S+)", err)
    report = [sys.executable, "-m", "toolweaver_monitor", *stored.split(), "--json"]
    kept = json.loads(subprocess.run(report, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout)
    same = ("count", "failures", "total_cost_usd")
    assert [kept["summary"][name] for name in same] == [told["summary"][name] for name in same]
    assert "wandb sync " in err
    assert "`make demo ARGS=--keep` leaves it open" in err
    with (tmp_path / "output" / "expenses.csv").open(newline="") as file:
        first, second, *_ = csv.DictReader(file)
    assert (float(first["total_usd"]), sum(json.loads(first["kinds_usd"]).values())) == (18.45, pytest.approx(18.45))
    assert (second["outcome"], second["total_usd"], second["kinds_usd"]) == ("failed", "", "")


@pytest.mark.usefixtures("demo_installed")
def test_a_budget_that_runs_out_ends_the_reading_with_its_own_exit_code(tmp_path: Path) -> None:
    """The rest is refused and no tool runs for it; the report and the last lines say so."""
    with start(tmp_path, "--receipts", "8", "--budget", "0.35") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "The budget of $0.35 is spent" in err
    assert re.search(r"08-bob.png +refused", err)
    (budget,) = re.findall(r"^ +usd/run +\$0\.3500 +\$(0\.\d+) +\$0\.\d+ +(\d+)$", out, re.MULTILINE)
    assert float(budget[0]) <= 0.35
    assert int(budget[1]) == len(re.findall(r"png +refused", err))


@pytest.mark.usefixtures("demo_installed")
@pytest.mark.parametrize("budget", ["0", "0.10"])
def test_a_budget_that_refuses_whole_receipts_ends_the_reading_as_well(budget: str, tmp_path: Path) -> None:
    """Nothing may be spent, or a first tool takes all there is: no traceback, and the same exit code."""
    with start(tmp_path, "--receipts", "4", "--budget", budget) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert f"The budget of ${float(budget):.2f} is spent: for 4 of 4 receipts" in err
    assert "Budgets" in out


@pytest.mark.parametrize(
    "wrong",
    [
        ("--receipts", "0"),
        ("--budget", "-1"),
        ("--budget", "nan"),
        ("--budget", "1e-12"),
        ("--budget", "lots"),
        ("--port", "99999"),
    ],
)
def test_an_option_that_cannot_be_used_is_told(wrong: tuple[str, str], tmp_path: Path) -> None:
    """Exit code 2, and what to give instead, before anything is read or written."""
    with start(tmp_path, *wrong) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "; give " in err.splitlines()[-1]
    assert not any(tmp_path.iterdir())
