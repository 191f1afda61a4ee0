"""The monitor: flush, shutdown, report and repr."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, ToolCall, get_monitor, monitored, setup, track
from toolweaver_monitor.sinks import SQLiteStore


class Stuck:
    """A sink that blocks until the test releases it."""

    name = "stuck"

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def write(self, calls: Sequence[ToolCall]) -> None:
        self.go_on.wait(30)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_flush_is_true_only_if_everything_was_written() -> None:
    """An honest answer within the time given."""
    sink = Stuck()
    monitor = setup(sink)
    with track("tool"):
        pass
    assert monitor.flush(0.05) is False
    sink.go_on.set()
    assert monitor.flush(10) is True


def test_shutdown_twice_is_fine_and_figures_can_still_be_read() -> None:
    """The end closes the sinks; what was counted stays."""
    monitor = setup()
    with track("tool"):
        pass
    assert monitor.shutdown() is True
    assert monitor.shutdown() is True
    assert get_monitor() is None
    assert monitor.summary()["count"] == 1
    assert repr(monitor) == "<Monitor: 1 call, 0 failed, $0.0000; memory only; closed>"


def test_sinks_of_one_name_are_told_apart() -> None:
    """In the monitor's text as in `health()`."""
    monitor = setup(lambda call: None, "metrics", lambda call: None)
    assert repr(monitor) == "<Monitor: 0 calls, 0 failed, $0.0000; <lambda>, metrics, <lambda>-2>"
    assert monitor.health()["sinks"].keys() >= {"<lambda>", "<lambda>-2"}


def test_a_sink_that_hangs_costs_the_shutdown_its_time_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    """False, and one line that says what was not delivered."""
    sink = Stuck()
    monitor = setup(sink)
    with track("tool"):
        pass
    assert monitor.shutdown(0.1) is False
    assert "1 call was not delivered: stuck 1" in capsys.readouterr().err
    sink.go_on.set()


def test_the_report_shows_a_column_for_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Tools, costs, errors and budgets; what did not run has no duration; printed, and given back."""
    monitor = setup(budget=Budget(limit_usd=0.25, name="trial"))

    @monitored("ocr", cost=0.10)
    def ocr(page: int) -> None:
        if page == 1:
            raise ValueError("blurred")

    @monitored("rank", cost=1.0)
    def rank() -> None: ...

    with pytest.raises(BudgetExceeded):
        rank()
    ocr(0)
    with pytest.raises(ValueError, match="blurred"):
        ocr(1)
    ocr(2)
    with pytest.raises(BudgetExceeded):
        ocr(3)
    text = monitor.report()
    assert capsys.readouterr().out == f"{text}\n"
    time, when = r"\d+(\.\d+)? [mu]?s", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    lines = [re.sub(" +", " ", re.sub(when, "WHEN", re.sub(time, "TIME", line))) for line in text.splitlines()]
    assert lines[:4] == [
        "Tools",
        " 5 calls, 1 failed, 2 rejected, 66.7% succeeded",
        " tool calls failed rejected average p50 p95 p99",
        " ocr 4 1 1 TIME TIME TIME TIME",
    ]
    assert lines[4] == " rank 1 0 1 - - - -"
    assert " ocr $0.2000 2 $0.1000" in lines
    assert " WHEN ocr ValueError: blurred" in lines
    assert " trial $0.2500 $0.2000 $0.0500 2" in lines


def test_the_report_says_what_a_refusal_does_to_the_call_around_it() -> None:
    """Only where there is such a call. Seen red: a column `interrupted`, and no word of why."""
    monitor = setup(budget=Budget(limit_calls=0, tool="ocr"))
    with pytest.raises(BudgetExceeded), track("ocr"):
        pass
    said = "  a call that BudgetExceeded passed through is interrupted: neither a success nor an error"
    assert said not in monitor.report().splitlines()
    with pytest.raises(BudgetExceeded), track("receipt"), track("ocr"):
        pass
    assert monitor.report().splitlines()[-1] == said


def test_a_report_says_why_a_sink_lost_calls(tmp_path: Path) -> None:
    """Seen red: `sqlite unavailable 0 0 1`, and no word of what to do."""
    monitor = setup(SQLiteStore(tmp_path))
    with track("ocr"):
        pass
    assert not monitor.flush()
    *_, head, row, reason = monitor._text().splitlines()
    assert (head.split()[0], row.split()) == ("sink", ["sqlite", "unavailable", "0", "0", "1"])
    assert reason == f"  sqlite: {tmp_path} is no file; give the path of a file, such as 'runs.db'"


def test_budgets_and_a_store_are_worth_reading_in_a_notebook(tmp_path: Path) -> None:
    """Seen red: each was the address of an object."""
    path = tmp_path / "runs.db"
    monitor = setup(SQLiteStore(path), budget=[Budget(limit_usd=1, name="money"), Budget(limit_calls=9)])
    assert repr(monitor.budgets) == "<BudgetHandles: 'money', 'calls/run'>"
    assert repr(monitor.sinks[0]) == f"SQLiteStore({str(path)!r})"


def test_a_report_of_nothing_is_three_sentences() -> None:
    """Before the first call there are no tables."""
    assert setup()._text().splitlines() == [
        "Tools",
        "  0 calls, 0 failed",
        "",
        "Costs",
        "  nothing has cost anything yet",
        "",
        "Errors",
        "  no tool has failed",
    ]
