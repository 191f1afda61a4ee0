"""`Monitor.html`: the page with its figures inside, as one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from toolweaver_monitor import setup, track
from toolweaver_monitor._cli import main
from toolweaver_monitor.sinks import SQLiteStore

HOSTILE = "</script><script>alert(1)</script><!--"


def figures_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    figures: dict[str, Any] = json.loads(found[1])
    return figures


def test_the_file_holds_the_figures_and_names_no_other_file(tmp_path: Path) -> None:
    """It opens from disk, with details and traces of the calls that it lists, and can load nothing."""
    with setup() as monitor:
        with track("receipt"), track("ocr") as call:
            call.record(cost=0.02, tokens=7)
        path = monitor.html(tmp_path / "report.html")
        summary = monitor.summary()
    assert path == tmp_path / "report.html"
    page = path.read_text("utf-8")
    assert not re.search(r'(src|href)="[a-z]+\.(js|css|svg)"', page)
    figures = figures_in(page)
    assert figures["total"]["calls"] == summary["count"] == 2
    assert figures["total"]["cost"] == summary["total_cost_usd"] == 0.02
    assert figures["tree"]["frames"][0][0] == "receipt"
    slowest = figures["details"]["ocr"]["slowest"][0]
    trace = figures["traces"][slowest["id"]]
    trace = figures["traces"][trace.get("of", slowest["id"])]
    assert [each["tool"] for each in trace["calls"]] == ["receipt", "ocr"]


def test_the_file_may_run_its_own_blocks_only(tmp_path: Path) -> None:
    """The policy in it names the digests of its style and its script. Seen red: with a space added."""
    with setup() as monitor:
        page = monitor.html(tmp_path / "report.html").read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "unsafe" not in policy[1]
    for tag in ("script", "style"):
        block = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert block is not None
        digest = base64.b64encode(hashlib.sha256(block[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    """A tool or an error that looks like markup ends no block of the file. Seen red: without the escaped `<`."""
    with setup() as monitor:
        with track(HOSTILE, customer=HOSTILE) as call:
            call.fail(HOSTILE)
        page = monitor.html(tmp_path / "report.html").read_text("utf-8")
    assert "alert(1)</script>" not in page
    figures = figures_in(page)
    assert [row["name"] for row in figures["tools"]] == [HOSTILE]
    assert figures["latest"][0]["text"] == HOSTILE


def test_the_file_of_a_program_without_calls_is_written(tmp_path: Path) -> None:
    """It says that there is none."""
    with setup() as monitor:
        assert figures_in(monitor.html(str(tmp_path / "report.html")).read_text("utf-8"))["total"]["calls"] == 0


def test_the_file_of_a_store_has_the_figures_of_its_calls(tmp_path: Path) -> None:
    """`report --html` shows the same tools, sums, errors, paths and traces as the program itself."""
    store = tmp_path / "runs.db"
    with setup(SQLiteStore(store)) as monitor:
        for number in range(20):
            with track("receipt", customer="acme"), track("ocr") as call:
                call.record(cost=0.002, tokens=10)
                if number % 5 == 0:
                    call.fail(HOSTILE)
        assert monitor.flush()
        live = figures_in(monitor.html(tmp_path / "live.html").read_text("utf-8"))
    assert main(["report", str(store), "--html", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "alert(1)</script>" not in page
    stored = figures_in(page)
    assert stored["total"] == live["total"]
    assert [row["name"] for row in stored["tools"]] == ["ocr", "receipt"]
    for row in stored["tools"]:
        twin = next(each for each in live["tools"] if each["name"] == row["name"])
        assert {**row, "history": 0, "last": 0} == {**twin, "history": 0, "last": 0}
        assert sum(calls for _, calls, _, _ in row["history"]) == 20
    assert [(one["type"], one["count"]) for one in stored["errors"]] == [
        (one["type"], one["count"]) for one in live["errors"]
    ]
    assert stored["tree"]["frames"][0][0] == "receipt"
    failed = stored["details"]["ocr"]["failed"]
    assert len(failed) == 4
    assert failed[0].keys() == live["details"]["ocr"]["failed"][0].keys()
    assert failed[0]["id"] == live["details"]["ocr"]["failed"][0]["id"]
    assert [each["tool"] for each in stored["traces"][failed[0]["id"]]["calls"]] == ["receipt", "ocr"]


def test_calls_of_one_trace_share_it_in_the_file(tmp_path: Path) -> None:
    """An agent of thousands of calls is in the file once, and not with each of its calls. Seen red: 40 times."""
    store = tmp_path / "runs.db"
    with setup(SQLiteStore(store)) as monitor:
        with track("agent"):
            for number in range(40):
                with track(f"tool-{number % 4}"):
                    pass
        assert monitor.flush()
        live = monitor.html(tmp_path / "live.html")
    assert main(["report", str(store), "--html", str(tmp_path / "report.html")]) == 0
    for path in (live, tmp_path / "report.html"):
        figures = figures_in(path.read_text("utf-8"))
        traces = figures["traces"]
        shown = {call["id"] for detail in figures["details"].values() for call in detail["slowest"]}
        assert traces.keys() == shown
        assert [len(trace["calls"]) for trace in traces.values() if "calls" in trace] == [41]
        assert {trace["of"] for trace in traces.values() if "of" in trace} <= traces.keys()


def test_the_file_of_a_period_without_calls_is_written(tmp_path: Path) -> None:
    """It says that there is no call."""
    store = tmp_path / "runs.db"
    with setup(SQLiteStore(store)) as monitor, track("ocr"):
        pass
    monitor.shutdown()
    assert main(["report", str(store), "--until", "2020-01-01", "--html", str(tmp_path / "report.html")]) == 0
    assert figures_in((tmp_path / "report.html").read_text("utf-8"))["total"]["calls"] == 0
