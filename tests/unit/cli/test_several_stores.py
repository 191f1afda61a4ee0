"""The commands on several stores, such as those of several machines, which are read as one."""

from __future__ import annotations

import argparse
import csv
import io
import json
from contextlib import closing
from pathlib import Path

import pytest
from shell import Shell

from toolweaver_monitor import setup, track
from toolweaver_monitor._cli.store.dashboard import make_feed
from toolweaver_monitor._cli.store.mcp_server import StoreTools
from toolweaver_monitor._page.stored_calls import call_id
from toolweaver_monitor._store.ledger import Account, StoreLedger
from toolweaver_monitor._store.several import SeveralStores
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import SQLiteStore


def fill(path: Path, calls: int) -> Path:
    """Write a store: receipts of two customers, each with an OCR and a model call, the first of which fails."""
    with setup(SQLiteStore(path)) as monitor:
        for number in range(calls):
            with track("receipt", customer=("acme", "bolt")[number % 2]):
                with track("ocr") as call:
                    call.record(cost=0.002)
                with track("gpt") as call:
                    call.record(tokens=100, cost=0.01, model="gpt-4o")
                    if number == 0:
                        call.fail("blurred")
            monitor.record("timed", duration_s=0.1 * number, cost=0.001)
        assert monitor.flush()
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [fill(tmp_path / f"{name}.db", 5) for name in "ab"]


def test_several_files_are_read_as_one(sh: Shell, tmp_path: Path) -> None:
    """Sums add up exactly, runs are numbered on, and the newest calls come first. Seen red: with runs of one number."""
    paths = [fill(tmp_path / f"{name}.db", 5 + at) for at, name in enumerate(("a", "b", "c"))]
    together = json.loads(sh("report", *paths, "--json"))
    alone = [json.loads(sh("report", path, "--json")) for path in paths]
    for key in ("count", "failures", "total_tokens"):
        assert together["summary"][key] == sum(one["summary"][key] for one in alone)
    assert together["summary"]["total_cost_usd"] == pytest.approx(
        sum(one["summary"]["total_cost_usd"] for one in alone)
    )
    assert [run["run"] for run in together["runs"]] == [1, 2, 3]
    by_run = csv.DictReader(io.StringIO(sh("report", *paths, "--by", "run", "--csv")))
    assert {row["run"]: row["calls"] for row in by_run} == {"1": "20", "2": "24", "3": "28"}
    assert json.loads(sh("report", *paths, "--run", "3", "--json"))["summary"] == alone[2]["summary"]
    assert {path["tool_name"]: path["calls"] for path in json.loads(sh("tree", *paths, "--json"))["paths"]} == {
        "receipt": 18, "timed": 18,
    }  # fmt: skip
    last = [json.loads(line) for line in sh("tail", *paths, "-n", "72", "--json").splitlines()]
    ended = [call["started_at"] + call["duration_s"] for call in last]
    assert (len(last), ended) == (72, sorted(ended))
    sh("report", *paths, "--by", "tag:custmer", code=2)
    assert "did you mean 'customer'?" in sh.err
    sh("report", *paths, tmp_path / "none.db", code=2)
    assert "there is no file" in sh.err


def test_the_page_of_several_files_has_the_calls_of_all(sh: Shell, two: list[Path]) -> None:
    """Live and as one file, down to a trace, and one run by itself. Seen red: with the first file only."""
    options = argparse.Namespace(since=None, until=None, of_run=None)
    with SeveralStores(two) as store:
        page = make_feed(store, options)
        calls = store.calls(limit=None)
    figures = json.loads(page.poll()[1] or b"")
    assert figures["total"]["calls"] == 40
    assert figures["about"]["name"] == "a.db + b.db"
    assert page.whole()["stored"]["runs"] == 2
    assert json.loads(page.poll(period="run-2")[1] or b"")["total"]["calls"] == 20
    assert [page.trace(call_id(call)) is not None for call in calls] == [True] * 40
    assert (page.row("ocr") or {})["slowest"]
    options.of_run = 2
    with SeveralStores(two) as store:
        assert make_feed(store, options).whole()["total"]["calls"] == 20
    assert json.loads(sh("top", *two, "--json"))["total"]["calls"] == 40


def test_an_agent_reads_several_files_as_one(two: list[Path]) -> None:
    """The tools of the MCP server; budgets of one name are added. Seen red: with the first file only."""
    for path, spent in zip(two, (300, 400), strict=True):
        with closing(StoreLedger(StoreFile(path))) as ledger:
            ledger.exchange(Account("daily", "day", "calls"), 1_000, -spent, 0)
    tools = StoreTools(SeveralStores(two).reopen)
    assert (tools.summary()["count"], len(tools.summary()["runs"])) == (40, 2)
    assert [row["spent"] for row in tools.budgets()] == [700]
    assert len(tools.trace(tools.errors()[-1]["trace"])) == 3
    with pytest.raises(ConfigurationError, match="asked of one store"):
        tools.query("SELECT 1")


def test_what_writes_does_so_for_each_of_several_files(sh: Shell, two: list[Path]) -> None:
    """`forget` deletes in all, `replay` gives each a file of its own. Seen red: with the first file only."""
    done = json.loads(sh("replay", *two, "--to", "jsonl", "--json"))
    assert [(each["calls"], Path(each["to"]).name) for each in done] == [(20, "a.jsonl"), (20, "b.jsonl")]
    sh("replay", *two, "--to", "jsonl", "-o", two[0].with_name("c"), code=2)
    assert "leave it out" in sh.err
    sh("query", *two, "--sql", "SELECT 1", code=2)
    assert "a query is asked of one store" in sh.err
    alone = json.loads(sh("report", two[0], "--by", "tag:customer", "--json"))["rows"]
    assert len(alone) > 1
    sh("forget", *two, "--tag", "customer=acme")
    for path in two:
        assert "acme" not in {
            row["name"] for row in json.loads(sh("report", path, "--by", "tag:customer", "--json"))["rows"]
        }
