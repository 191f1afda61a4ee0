"""The commands on a store: `report`, `tail`, `tree`, `compare`, `query`, `replay` and `forget`."""

from __future__ import annotations

import _thread
import csv
import io
import json
import os
import random
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from toolweaver_monitor import setup, track
from toolweaver_monitor._cli import main
from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli.store.significance import holm, mean_p, proportion_p, rank_sum_p
from toolweaver_monitor._stats.histogram import bucket_of
from toolweaver_monitor.sinks import SQLiteStore


def fill(path: Path, *, seed: int = 1, slower: float = 1.0, calls: int = 100) -> Path:
    """Write a store: receipts of two customers, each with an OCR and a model call, one in twenty of which fails."""
    chance = random.Random(seed)
    with setup(SQLiteStore(path)) as monitor:
        for number in range(calls):
            with track("receipt", customer=("acme", "bolt")[number % 2]):
                with track("ocr") as call:
                    call.record(cost=0.002)
                with track("gpt") as call:
                    call.record(tokens=100, cost=0.01, model="gpt-4o")
                    if number % 20 == 0:
                        call.fail("blurred \x1b[31m")
            monitor.record("timed", duration_s=chance.lognormvariate(-1, 0.5) * slower, cost=0.001)
        assert monitor.flush()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "runs.db")


def test_a_report_shows_tools_the_most_expensive_first_and_the_last_errors(sh: Shell, store: Path) -> None:
    lines = sh("report", store).splitlines()
    assert lines[1] == "  400 calls, 5 failed, 98.8% succeeded, $1.3000"
    assert [line.split()[0] for line in lines[3:8]] == ["tool", "gpt", "ocr", "timed", "receipt"]
    assert lines[4].split()[1:3] == ["100", "5"]
    assert lines[7].split()[-1] == "-", "it has cost nothing known; seen red: $0.0000"
    assert lines[-1].endswith(r"receipt > gpt  tool_error: blurred \x1b[31m")


def test_a_report_as_json_opens_with_the_summary_that_the_monitor_has(sh: Shell, store: Path) -> None:
    """Seen red: with rows first, `.summary` was not what a script reads first."""
    report = json.loads(sh("report", store, "--json"))
    assert next(iter(report)) == "summary"
    assert report["summary"].keys() == setup().summary().keys()
    assert report["summary"]["total_cost_usd"] == pytest.approx(1.3)
    assert {row["name"]: row["calls"] for row in report["rows"]} == dict.fromkeys(
        ["gpt", "ocr", "timed", "receipt"], 100
    )
    assert report["errors"][0]["tags"]["customer"] == "acme"
    assert [run["calls"] for run in report["runs"]] == [400]


def test_a_report_is_by_whatever_was_asked(sh: Shell, store: Path) -> None:
    """As CSV, for each grouping, the calls and the dollars."""
    shown = {}
    for by in ("tool", "model", "path", "run", "tag:customer"):
        rows = list(csv.DictReader(io.StringIO(sh("report", store, "--by", by, "--csv"))))
        shown[by] = {next(iter(row.values())): (row["calls"], round(float(row["cost_usd"]), 6)) for row in rows}
    assert shown["model"] == {"gpt-4o": ("100", 1.0)}
    assert shown["tag:customer"] == {"acme": ("150", 0.6), "bolt": ("150", 0.6)}
    assert shown["path"]["receipt > gpt"] == ("100", 1.0)
    assert shown["run"] == {"1": ("400", 1.3)}


def test_a_report_by_run_names_the_programs_and_their_starts(sh: Shell, store: Path) -> None:
    """Seen red: a number alone."""
    (run,) = json.loads(sh("report", store, "--json"))["runs"]
    head, row = (line.split() for line in sh("report", store, "--by", "run").splitlines()[3:5])
    assert head[:4] == ["run", "program", "started", "calls"]
    assert row[:5] == ["1", run["program"], *common.when(run["started_at"]).split(), "400"]


def test_a_period_without_calls_says_so(sh: Shell, store: Path) -> None:
    assert "no call in this period" in sh("report", store, "--until", "2020-01-01")
    assert "400 calls" in sh("report", store, "--since", "1h")


def test_the_tree_shows_where_the_money_went(sh: Shell, store: Path) -> None:
    """The same tree as `Monitor.tree()`."""
    tree = json.loads(sh("tree", store, "--json"))
    receipt = next(path for path in tree["paths"] if path["tool_name"] == "receipt")
    assert {child["tool_name"]: child["calls"] for child in receipt["children"]} == {"gpt": 100, "ocr": 100}
    assert receipt["cost_usd"] == pytest.approx(1.2)
    assert "receipt;gpt 1000000000" in sh("tree", store, "--folded", "cost").splitlines()
    assert sh("tree", store).splitlines()[1].split()[0] == "receipt"


def test_tail_shows_the_last_calls_oldest_first(sh: Shell, store: Path) -> None:
    calls = [json.loads(line) for line in sh("tail", store, "-n", "3", "--json").splitlines()]
    assert [call["tool_name"] for call in calls] == ["gpt", "receipt", "timed"]
    assert [line.split()[2] for line in sh("tail", store, "--errors", "-n", "2").splitlines()] == ["failure"] * 2
    assert "customer=bolt" in sh("tail", store, "-n", "2")


def test_a_name_that_is_not_in_the_store_is_told(sh: Shell, store: Path) -> None:
    """Seen red: `tail` showed nothing and ended with 0; a tag without `tag:` got the list of what is no tag."""
    sh("tail", store, "--tool", "orc", code=2)
    assert sh.err == "toolweaver-monitor: no call is of a tool 'orc'; did you mean 'ocr'?\n"
    sh("report", store, "--by", "customer", code=2)
    assert sh.err == "toolweaver-monitor: by='customer' is unknown; did you mean 'tag:customer'?\n"


def test_tail_follows_a_program_that_writes(tmp_path: Path) -> None:
    """In a process of its own, while this one writes. Seen red: without the loop it ended at once."""
    path = fill(tmp_path / "runs.db", calls=1)
    command = [sys.executable, "-m", "toolweaver_monitor", "tail", str(path), "-n", "0", "--follow", "--json"]
    done = threading.Event()

    def write() -> None:
        with setup(SQLiteStore(path)) as monitor:
            while not done.wait(0.2):
                with track("new"):
                    pass
                monitor.flush()

    writer = threading.Thread(target=write)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        writer.start()
        try:
            assert follower.stdout is not None
            assert json.loads(follower.stdout.readline())["tool_name"] == "new"
        finally:
            done.set()
            follower.kill()
            writer.join()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM runs", "may only read"),
        ("INSERT INTO meta VALUES ('a', 1)", "may only read"),
        ("PRAGMA journal_mode = DELETE", "may only read"),
        ("ATTACH 'other.db' AS other", "may only read"),
        ("SELECT load_extension('x')", "may only read"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT * FROM nothing_here", "SELECT * FROM calls LIMIT 1 shows the columns"),
        ("WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT count(*) FROM a", "took longer than"),
        ("", "one SELECT"),
        ("VACUUM INTO 'copy.db'", "may only read"),
        ("SELECT randomblob(900000000)", "too big"),
        ("SELECT * FROM calls WHERE tool_name = ?", "SELECT * FROM calls LIMIT 1"),
        ("SELECT tool FROM calls", "no such column: tool; did you mean tool_name?"),
        ("SELECT c.outcom FROM calls c", "did you mean outcome?"),
        ("SELECT * FROM stat", "no such table: stat; did you mean stats?"),
        ("BEGIN", "may only read"),
        ("CREATE TEMP TABLE t (x)", "may only read"),
        ("(" * 5_000, "SELECT * FROM calls LIMIT 1"),
    ],
)
def test_a_query_can_only_read(sh: Shell, store: Path, tmp_path: Path, sql: str, says: str) -> None:
    """Hostile SQL gets one line with the cure, exit code 2, and leaves the file as it was.

    Seen red: without the authorizer PRAGMA and ATTACH ran; without the progress handler the recursion never ended.
    """
    before = store.read_bytes()
    sh("query", store, "--sql", sql, "--timeout", "0.5", code=2)
    assert says in sh.err
    assert len(sh.err.splitlines()) == 1
    assert store.read_bytes() == before


@pytest.mark.parametrize(("was", "now"), [(b"AS tool_name", b"AS tool_nime"), (b"r.error_type, 0", b"r.errer_type, 0")])
def test_a_query_of_a_damaged_view_says_so(sh: Shell, tmp_path: Path, was: bytes, now: bytes) -> None:
    """And not that the column does not exist, as of a mistake in the query. Seen red: `no such column`."""
    path = fill(tmp_path / "runs.db", calls=1)
    path.write_bytes(path.read_bytes().replace(was, now))
    sh("query", path, "--sql", "SELECT tool_name, error_type FROM calls", code=2)
    assert "runs.db is damaged" in sh.err


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes descriptors")
@pytest.mark.parametrize("command", ["report", "report --csv", "tail"])
def test_a_command_on_a_store_runs_with_its_output_closed(store: Path, command: str) -> None:
    """As `cron` jobs do. Seen red: a traceback, and exit code 1."""
    line = f"{shlex.quote(sys.executable)} -m toolweaver_monitor {command} {shlex.quote(str(store))} >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_query(sh: Shell, store: Path) -> None:
    """Seen red: exit code 2, and that it took longer than 60 s."""
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    sh("query", store, "--sql", endless, "--timeout", "60", code=130)
    timer.join()
    assert "longer" not in sh.err


def test_a_query_is_answered_in_every_form(sh: Shell, store: Path) -> None:
    sql = "SELECT path, count(*) AS calls FROM calls GROUP BY path ORDER BY path"
    assert json.loads(sh("query", store, "--sql", sql, "--json"))[0] == {"path": "receipt", "calls": 100}
    assert sh("query", store, "--sql", sql, "--csv").splitlines()[:2] == ["path,calls", "receipt,100"]
    assert "only the first 2 rows" in sh("query", store, "--sql", sql, "--max-rows", "2")


def test_what_a_query_prints_as_json_is_json(sh: Shell, store: Path) -> None:
    """Seen red: `Infinity`, which no reader takes; and one of two columns, without a word."""
    (row,) = json.loads(sh("query", store, "--sql", "SELECT 9e999 AS most, -9e999 AS least", "--json"))
    assert row == {"most": "inf", "least": "-inf"}
    sh("query", store, "--sql", "SELECT 1 AS a, 2 AS a", "--json", code=2)
    assert "two columns have one name" in sh.err


def test_a_query_of_bytes_that_are_no_text_is_one_line(sh: Shell, store: Path) -> None:
    """As a shell hands them on. Seen red: a traceback."""
    sh("query", store, "--sql", "SELECT '\udcff'", code=2)
    assert "surrogates not allowed" in sh.err


def test_a_number_that_a_query_shows_can_be_put_into_the_next_query(sh: Shell, store: Path) -> None:
    """Seen red: `root` was 1,877,754,506,040,466,162, which SQL takes for seven values."""
    *_, root = sh("query", store, "--sql", "SELECT root FROM calls ORDER BY seq LIMIT 1").split()
    *_, calls = sh("query", store, "--sql", f"SELECT count(*) FROM calls WHERE root = {root}").split()
    assert calls == "3"


def test_a_replay_gives_each_call_once_however_often_it_is_run(sh: Shell, tmp_path: Path) -> None:
    """Also after it was cut in the middle of a line. Seen red: without `_last_seq` every call came twice."""
    path, out = fill(tmp_path / "runs.db", calls=5), tmp_path / "calls.jsonl"
    assert sh("replay", path, "--to", "jsonl", "-o", out).startswith("20 calls written")
    assert sh("replay", path, "--to", "jsonl", "-o", out).startswith("0 calls written")
    out.write_text(out.read_text()[:-50])
    fill(path, calls=1)
    assert sh("replay", path, "--to", "jsonl", "-o", out).startswith("5 calls written")
    assert [json.loads(line)["seq"] for line in out.read_text().splitlines()] == list(range(1, 25))


@pytest.mark.parametrize("form", ["jsonl", "wandb"])
def test_a_replay_does_not_go_on_with_another_store(sh: Shell, store: Path, tmp_path: Path, form: str) -> None:
    """One that was deleted and begun anew has the numbers of the old one. Seen red: nothing was written, silently."""
    small, out = fill(tmp_path / "small.db", calls=1), tmp_path / "out"
    if form == "wandb":
        out.write_text('{"seq": 400, "calls": 400, "run_id": "abc"}')
    else:
        sh("replay", store, "--to", form, "-o", out)
    before = out.read_bytes()
    sh("replay", small, "--to", form, "-o", out, code=2)
    assert sh.err.endswith("has calls of another store; give a file that is not there yet: -o FILE\n")
    assert out.read_bytes() == before


def test_a_trace_can_be_opened_by_chromes_viewer(sh: Shell, tmp_path: Path) -> None:
    """The Trace Event Format: an array of complete events, whose end may be missing."""
    path = fill(tmp_path / "runs.db", calls=2)
    for _ in range(2):
        sh("replay", path, "--to", "chrome-trace")
    text = (tmp_path / "runs.trace.json").read_text()
    events = json.loads(text.rstrip().rstrip(",") + "]")
    assert len(events) == 8
    assert {event["ph"] for event in events} == {"X"}
    inner, outer = events[0], events[2]
    assert (inner["name"], outer["name"], inner["tid"]) == ("ocr", "receipt", outer["tid"])
    assert outer["ts"] <= inner["ts"]
    assert inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + 1_000


@pytest.mark.parametrize("form", ["jsonl", "chrome-trace"])
@pytest.mark.parametrize("notes", [b"my notes\n", b'{"my": "settings"}', b"notes\nand half a line", b"[1, 2]"])
def test_a_file_of_anothers_is_not_written_to(sh: Shell, store: Path, tmp_path: Path, notes: bytes, form: str) -> None:
    """Nor is its last line cut off, taken for half a line of a replay that was killed.

    Seen red: one line without an end was replaced, and the rest of a last line was deleted before the refusal.
    """
    other = tmp_path / "notes.txt"
    other.write_bytes(notes)
    sh("replay", store, "--to", form, "-o", other, code=2)
    assert "was not written by this command" in sh.err
    assert other.read_bytes() == notes


def test_a_replay_leaves_a_file_of_the_other_form_alone(sh: Shell, store: Path, tmp_path: Path) -> None:
    """Seen red: a list of events went on in JSON lines."""
    trace = tmp_path / "trace.json"
    sh("replay", store, "--to", "chrome-trace", "-o", trace)
    before = trace.read_bytes()
    sh("replay", store, "--to", "jsonl", "-o", trace, code=2)
    assert trace.read_bytes() == before


@pytest.mark.parametrize("argv", [["report", "--html"], ["replay", "--to", "jsonl", "-o"]])
def test_no_command_writes_its_output_over_a_store(sh: Shell, tmp_path: Path, argv: list[str]) -> None:
    """Seen red: `report --html runs.db` put the page in the place of the store, and a replay cut off its last bytes."""
    path = fill(tmp_path / "runs.db", calls=30)
    before = path.read_bytes()
    sh(argv[0], path, *argv[1:], path, code=2)
    assert "runs.db is a database; give the path of a file to write" in sh.err
    assert path.read_bytes() == before


def test_a_device_is_no_file_for_a_replay(sh: Shell, store: Path) -> None:
    """Seen red: `/dev/full` was read without end."""
    sh("replay", store, "--to", "jsonl", "-o", "/dev/full", code=2)
    assert "/dev/full was not written by this command" in sh.err


def test_forget_deletes_what_a_tag_names(sh: Shell, tmp_path: Path) -> None:
    path = fill(tmp_path / "runs.db", calls=10)
    assert "15 calls" in sh("forget", path, "--tag", "customer=acme")
    assert "acme" not in sh("report", path, "--by", "tag:customer")
    assert b"acme" not in path.read_bytes()
    assert not sh.err
    path.with_name("runs.db.corrupt-1").touch()
    assert "no call has the tag" in sh("forget", path, "--tag", "customer=acme", code=1)
    assert "not searched" in sh.err


def test_compare_finds_a_slowdown_and_does_not_cry_over_the_same(sh: Shell, tmp_path: Path) -> None:
    """400 calls a store of a lognormal duration; a fifth slower is worse, another draw of the same is not."""
    base = fill(tmp_path / "base.db", seed=1, calls=400)
    slow = fill(tmp_path / "slow.db", seed=2, calls=400, slower=1.25)
    same = fill(tmp_path / "same.db", seed=3, calls=400)
    found = json.loads(sh("compare", base, slow, "--least", "15", "--json", code=1))
    verdicts = {(one["tool"], one["what"]): one["verdict"] for one in found["measures"]}
    assert verdicts["timed", "latency"] == "worse"
    assert verdicts["timed", "cost"] == verdicts["gpt", "errors"] == "same"
    found = json.loads(run_any(sh, "compare", base, same, "--json"))
    assert next(one for one in found["measures"] if one["tool"] == "timed")["verdict"] == "same"


def run_any(sh: Shell, *argv: Any) -> str:
    """Run a command whose exit code depends on how busy the machine is."""
    main([str(each) for each in argv])
    out, _ = sh.capsys.readouterr()
    return out


def test_how_often_a_slowdown_is_found_and_how_often_it_cries_wolf() -> None:
    """100 pairs of each, 400 calls each, at p < 0.01: a fifth slower is found nearly always, the same hardly ever."""
    chance = random.Random(5)

    def draw(slower: float) -> Counter[int]:
        return Counter(bucket_of(chance.lognormvariate(-1, 0.5) * slower) for _ in range(400))

    found = sum(rank_sum_p(draw(1.0), draw(1.2)) < 0.01 for _ in range(100))
    cried = sum(rank_sum_p(draw(1.0), draw(1.0)) < 0.01 for _ in range(100))
    assert found >= 95
    assert cried <= 4


def test_the_tests_behind_compare_give_the_values_of_scipy() -> None:
    """mannwhitneyu(method="asymptotic"), a two-sided z-test, and ttest_ind(equal_var=False) with many values."""
    assert rank_sum_p({0: 3, 1: 2}, {0: 1, 1: 4}) == pytest.approx(0.2703441406547801)
    assert rank_sum_p({0: 30, 1: 20, 2: 10}, {0: 20, 1: 25, 2: 15, 3: 2}) == pytest.approx(0.03501941746198142)
    assert rank_sum_p({}, {1: 3}) == 1.0
    assert proportion_p(5, 100, 15, 100) == pytest.approx(0.01842, abs=1e-4)
    assert proportion_p(0, 10, 0, 10) == 1.0
    assert mean_p([1.0] * 5, [2.0] * 5) == 0.0
    assert mean_p([1.0], [2.0]) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(
    "command", ["report", "top", "tail", "tree", "compare", "query", "replay", "forget", "dashboard", "mcp"]
)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_text("hello, this is no database"), "is not a store"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is no file"),
    ],
)
def test_what_is_no_store_gets_one_line_with_the_cure(
    sh: Shell, tmp_path: Path, command: str, make: Any, says: str
) -> None:
    """Exit code 2, and the file is untouched. Seen red: `compare` gave the cure of those who write a store."""
    path = tmp_path / "what.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    more: dict[str, list[Any]] = {"query": ["--sql", "SELECT 1"], "replay": ["--to", "jsonl"], "compare": [path]}
    more["forget"] = ["--tag", "a=b"]
    sh(command, path, *more.get(command, []), code=2)
    assert says in sh.err
    assert "SQLiteStore(" not in sh.err or says == "there is no file"
    assert len(sh.err.splitlines()) == 1
    assert (path.read_bytes() if path.is_file() else None) == before


def test_forget_says_that_another_program_holds_the_store(sh: Shell, tmp_path: Path) -> None:
    """Seen red: a traceback of SQLite's."""
    path = fill(tmp_path / "runs.db", calls=1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    sh("forget", path, "--tag", "customer=acme", code=2)
    holder.close()
    assert "runs.db cannot be written (database is locked); close what holds it" in sh.err


@pytest.mark.parametrize("command", ["report", "tree", "top", "dashboard"])
def test_a_run_that_is_not_there_is_one_line(sh: Shell, store: Path, tmp_path: Path, command: str) -> None:
    """Seen red: an empty report, and exit code 0."""
    sh(command, store, "--run", 7, code=2)
    assert sh.err.endswith("runs.db has no run 7; there is 1; report --by run shows them\n")


def test_a_comparison_of_nothing_is_no_success(sh: Shell, store: Path, tmp_path: Path) -> None:
    """Or a program that did not run at all would pass in CI. Seen red: exit code 0."""
    other = tmp_path / "other.db"
    with setup(SQLiteStore(other)), track("another"):
        pass
    sh("compare", store, other, code=2)
    assert sh.err == "toolweaver-monitor: no tool has run in both; compare two runs of one program\n"
    sh("compare", store, store, "--run-b", 2, code=2)
    assert "has no run 2" in sh.err


@pytest.mark.parametrize(
    "argv", [["report", "--html"], ["replay", "--to", "jsonl", "-o"], ["replay", "--to", "wandb", "-o"]]
)
@pytest.mark.parametrize(
    ("output", "says"),
    [("none/out", "its folder is not there; make the folder first"), (".", "is a folder; give the path of a file")],
)
def test_a_file_that_cannot_be_written_is_one_line_before_the_work(
    sh: Shell, store: Path, tmp_path: Path, argv: list[str], output: str, says: str
) -> None:
    """Exit code 2. Seen red: without the check, exit code 1 and `No such file or directory` after the work."""
    sh(argv[0], store, *argv[1:], tmp_path / output, code=2)
    assert says in sh.err
    assert len(sh.err.splitlines()) == 1


class Terminal(io.StringIO):
    """A terminal, as far as a program can tell."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "argv",
    [["report"], ["tree"], ["tail", "-n", "5"], ["compare", "again"], ["query", "--sql", "SELECT seq FROM calls"]],
)
def test_a_terminal_shows_the_same_with_colours_as_a_pipe_without(
    sh: Shell, store: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    """With rich; without it, or with TERM=dumb, it is the same text. Seen red: with wrapped columns it was another."""
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    argv = [argv[0], *(str(store) if each == "again" else each for each in argv[1:]), str(store)]
    plain = sh(*argv)

    def shown() -> str:
        out = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            assert main(argv) == 0
        return out.getvalue()

    coloured = shown()
    assert re.sub(r"\x1b\[[\d;]*m|─", "", coloured).split() == plain.split()
    assert ("\x1b[" in coloured) == (argv[0] != "tail")
    monkeypatch.setenv("TERM", "dumb")
    assert shown() == plain
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("rich", "rich.console"):
        monkeypatch.setitem(sys.modules, name, None)
    assert shown() == plain


@pytest.mark.parametrize("command", ["report", "report --by run", "top --once"])
@pytest.mark.parametrize("columns", [80, 100])
def test_a_narrow_terminal_cuts_off_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    """Percentiles are left out before. Seen red: with a long name and 80 columns, `report` had no cost."""
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    with setup(SQLiteStore(tmp_path / "runs.db")) as monitor:
        monitor.record("a_tool_with_a_long_name_for_a_table", duration_s=0.0263, tokens=28_150_000, cost=31.36)
        monitor.flush()
    out = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        main([*command.split(), str(tmp_path / "runs.db")])
    lines = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= columns
    table = lines[next(at for at, line in enumerate(lines) if "calls" in line and "cost" in line) :]
    assert "28,150,000  $31.3600" in table[2]


def test_an_extra_that_is_missing_is_named(sh: Shell, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    sh("mcp", store, code=2)
    assert sh.err == (
        "toolweaver-monitor: the package mcp 2 or later is not installed; pip install 'toolweaver_monitor[mcp]'\n"
    )


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["report", "--since", "yesterday"], "write 2h, 30m, 7d"),
        (["report", "--since", "999999999999d"], "write 2h, 30m, 7d"),
        (["forget", "--tag", "customer"], "write NAME=VALUE"),
        (["tail", "-n", "x"], "`toolweaver-monitor tail --help` shows"),
        (["tree", "--nothing"], "`toolweaver-monitor --help` shows"),
        (["top", "--every", "0"], "give seconds"),
        (["rules", "--p95", "ocr=soon"], "'soon' is no number"),
        (["rules", "--p95", "=3"], "'=3' names no tool"),
        (["dashboard", "--port", "70000"], "give a port from 0 to 65535"),
    ],
)
def test_a_command_line_that_cannot_be_understood_ends_with_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the cure. Seen red: argparse prints its usage first."""
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "error" in err
    assert says in err


def test_a_locked_store_is_told_apart_from_one_that_may_not_be_read(sh: Shell, tmp_path: Path) -> None:
    """Seen red: the cure was to give the folder write permission."""
    path = fill(tmp_path / "runs.db", calls=1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE meta SET value = value")
    sh("report", path, code=2)
    holder.close()
    assert sh.err.endswith("(database is locked); another program holds it; close that, or try again\n")


def test_a_store_that_sqlite_cannot_open_is_one_line_and_2(sh: Shell, store: Path, tmp_path: Path) -> None:
    """So it is with the store of another user. As root may read any file, this one has a path too long for SQLite.

    Seen red: with the connection made outside the `try`, the command ended in a traceback.
    """
    folder = tmp_path.joinpath(*["a" * 200] * 3)
    folder.mkdir(parents=True)
    (folder / "runs.db").write_bytes(store.read_bytes())
    (folder / "runs.db.lock").touch()
    sh("report", folder / "runs.db", code=2)
    assert "cannot be opened (unable to open database file); " in sh.err
    assert sh.err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        *(["report", f"--since={text}"] for text in ("", "-1h", "1e999h", "9" * 40 + "d", "0001-01-01", "x" * 5_000)),
        *([command, f"--run={text}"] for command in ("report", "tree") for text in ("-1", "9" * 30, "x")),
        ["tail", "-n", "9" * 30],
        ["query", "--sql", "SELECT 1", "--max-rows=-1"],
        ["query", "--sql", "SELECT 1", "--timeout=nan"],
        ["compare", "a.db", "b.db", "--least=nan"],
    ],
    ids=lambda argv: " ".join(argv)[:40],
)  # fmt: skip
def test_an_absurd_number_is_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2. Seen red: with `type=int`, a traceback of SQLite's."""
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert len(err) < 300
