"""What the commands on a store print, held as it was: text, CSV, JSON and the page in one file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import setup
from toolweaver_monitor._cli import main
from toolweaver_monitor.sinks import SQLiteStore

REPORT = """\
a.db: 1 run, WHEN to WHEN
  120 calls, 3 failed, 97.5% succeeded, $9.0000

  tool        calls  failed  average      p50      p95      p99  tokens     cost
  ocr            60       3   1.29 s   1.35 s   1.60 s   1.60 s       0  $6.0000
  categorize     60       0  22.0 ms  21.2 ms  23.1 ms  23.1 ms   1,200  $3.0000

Errors
  tool_error 3
  WHEN  ocr  tool_error: out of paper
  WHEN  ocr  tool_error: out of paper
  WHEN  ocr  tool_error: out of paper
"""
BY_MODEL = """\
a.db: 1 run, WHEN to WHEN
  120 calls, 3 failed, 97.5% succeeded, $9.0000

  model   calls  failed  average      p50      p95      p99  tokens     cost
  gpt-4o     60       0  22.0 ms  21.2 ms  23.1 ms  23.1 ms   1,200  $3.0000

Errors
  WHEN  ocr  tool_error: out of paper
  WHEN  ocr  tool_error: out of paper
  WHEN  ocr  tool_error: out of paper
"""
BY_CUSTOMER = """\
customer,calls,failed,success_rate,avg_s,p50_s,p95_s,p99_s,tokens,cost_usd,unpriced,retries,cache_hits
acme,30,3,0.9,1.287,1.354,1.6,1.6,0,3.0,0,0,0
bolt,30,0,1.0,1.293,1.354,1.6,1.6,0,3.0,0,0,0
"""
TREE = """\
  path        calls  failed     time      own     cost      own  share
  ocr            60       3  77.40 s  77.40 s  $6.0000  $6.0000    67%
  categorize     60       0   1.32 s   1.32 s  $3.0000  $3.0000    33%
"""
COMPARE = """\
  tool           what     before      after  change        p  verdict
  ocr         latency     1.35 s     1.61 s    +19%  8.6e-08    worse
  categorize  latency    21.2 ms    21.2 ms     +0%        1     same
  categorize   errors      0.00%      0.00%       -        1     same
  categorize     cost  $0.050000  $0.050000     +0%        1     same
  ocr          errors      5.00%      5.00%     +0%        1     same
  ocr            cost  $0.100000  $0.100000     +0%        1     same
  1 worse, 0 better, 5 same
"""
QUERY = """\
  tool_name   calls  usd
  ocr            60  6.0
  categorize     60  3.0
"""


def fill(path: Path, slower: float = 1.0) -> None:
    """Write a store of 60 receipts of two customers; one in twenty fails. All durations are given."""
    with setup(SQLiteStore(path)) as monitor:
        for number in range(60):
            failed: dict[str, Any] = {"outcome": "failure", "error": "out of paper"} if number % 20 == 0 else {}
            customer = ("acme", "bolt")[number % 2]
            monitor.record("ocr", duration_s=(1 + number % 7 / 10) * slower, cost=0.1, customer=customer, **failed)
            monitor.record("categorize", duration_s=0.02 + number % 5 / 1_000, tokens=20, cost=0.05, model="gpt-4o")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots")
    fill(path / "a.db")
    fill(path / "b.db", slower=1.2)
    return path


SQL = "SELECT tool_name, count(*) AS calls, round(sum(cost_usd), 6) AS usd FROM calls GROUP BY 1 ORDER BY 3 DESC"


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        ("report a.db", 0, REPORT),
        ("report a.db --by model", 0, BY_MODEL),
        ("report a.db --by tag:customer --csv", 0, BY_CUSTOMER),
        ("tree a.db", 0, TREE),
        ("compare a.db b.db", 1, COMPARE),
        (f"query a.db --sql|{SQL}", 0, QUERY),
    ],
    ids=lambda value: value.split("|")[0] if isinstance(value, str) and "\n" not in value else "",
)
def test_a_command_prints_what_it_printed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: str,
    code: int,
    text: str,
) -> None:
    """Moments are not compared, and numbers of CSV to three places. Seen red: `--by model` had no line above errors."""
    monkeypatch.chdir(folder)
    capsys.readouterr()
    command, *last = argv.split("|")
    assert main([*command.split(), *last]) == code
    out = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN", capsys.readouterr().out)
    if "--csv" in argv:
        out = re.sub(r"\d+\.\d{4,}", lambda found: str(round(float(found[0]), 3)), out)
    assert out == text


def test_json_the_file_of_the_page_and_a_replay_hold_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """120 calls, of which 3 failed, for $9, in each form."""
    monkeypatch.chdir(folder)
    capsys.readouterr()
    main(["report", "a.db", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {name: report["summary"][name] for name in ("count", "failures", "total_cost_usd", "total_tokens")} == {
        "count": 120, "failures": 3, "total_cost_usd": 9.0, "total_tokens": 1_200,
    }  # fmt: skip
    assert list(report) == ["summary", "by", "rows", "errors", "runs"]
    assert list(report["rows"][0]) == [
        "name", "calls", "failed", "success_rate", "avg_s", "p50_s", "p95_s", "p99_s", "tokens", "cost_usd",
        "unpriced", "retries", "cache_hits",
    ]  # fmt: skip
    main(["report", "a.db", "--html", "page.html"])
    found = re.search(r'id="figures">(.*?)</script>', Path("page.html").read_text(), re.DOTALL)
    assert found is not None
    total = json.loads(found[1])["total"]
    assert (total["calls"], total["failed"], total["cost"], total["tokens"]) == (120, 3, 9.0, 1_200)
    main(["replay", "a.db", "--to", "jsonl", "-o", "calls.jsonl"])
    calls = [json.loads(line) for line in Path("calls.jsonl").read_text().splitlines()]
    assert (len(calls), sum(call["outcome"] == "failure" for call in calls)) == (120, 3)
    assert sum(round(call["cost_usd"] * 100) for call in calls) == 900
