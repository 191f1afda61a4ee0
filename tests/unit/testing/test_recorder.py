"""Assertions in the language of tools."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from toolweaver_monitor import BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.testing import ToolRecorder


@monitored("ocr", cost=0.10)
def ocr(page: int) -> dict[str, int]:
    current_call().record(page=page)
    return {"tokens_used": 100}


def broken() -> None:
    with pytest.raises(ValueError, match="blurred"), track("parse"):
        raise ValueError("blurred")


def test_a_test_says_which_tools_ran_how_often_and_for_how_much() -> None:
    """`assert_called("ocr", times=3, max_cost=0.30)` is exact to the nano-dollar, and gives the calls."""
    with ToolRecorder() as toolweaver:
        for page in range(3):
            ocr(page)
        calls = toolweaver.assert_called("ocr", times=3, max_cost=0.30, max_tokens=300, max_duration_s=60)
        assert [call.tags["page"] for call in calls] == [0, 1, 2]
        toolweaver.assert_called("ocr", times=1, tags={"page": 2})
        toolweaver.assert_not_called("search")
        toolweaver.assert_no_errors()


def test_it_is_seen_whichever_thread_the_tool_ran_on() -> None:
    """Every call that ended before the assertion counts."""
    with ToolRecorder() as toolweaver:
        threads = [threading.Thread(target=lambda: [ocr(1) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        toolweaver.assert_called("ocr", times=2_000, max_cost=200)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda t: t.assert_called("ocr", times=3), "ocr was called 2 times, not 3 times"),
        (lambda t: t.assert_called("ocr", times=1), "ocr was called 2 times, not once"),
        (lambda t: t.assert_called("search"), "search was not called"),
        (lambda t: t.assert_called("ocr", outcome="failure"), "ocr with outcome failure was not called"),
        (lambda t: t.assert_called("ocr", tags={"page": 9}), "ocr with tags {'page': 9} was not called"),
        (lambda t: t.assert_called("ocr", max_cost=0.19), r"ocr cost \$0.2, more than \$0.19"),
        (lambda t: t.assert_called("ocr", max_tokens=199), "ocr used 200 tokens, more than 199"),
        (lambda t: t.assert_called("parse", max_duration_s=-1), "a call of parse took"),
        (lambda t: t.assert_not_called("ocr"), "ocr was called 2 times"),
        (lambda t: t.assert_not_called(), "ocr was called 3 times|was called 3 times"),
        (lambda t: t.assert_no_errors(), "1 call failed"),
        (lambda t: t.assert_no_errors("parse"), "1 call failed"),
    ],
)
def test_what_is_otherwise_is_told_with_the_calls_there_were(wrong: Any, says: str) -> None:
    """Each assertion can fail, and then lists what happened."""
    with ToolRecorder() as toolweaver:
        ocr(0)
        ocr(1)
        broken()
        with pytest.raises(AssertionError, match=says) as caught:
            wrong(toolweaver)
        assert "ValueError: blurred" in str(caught.value)
        toolweaver.assert_called("parse", times=1, outcome="failure")


def test_an_unknown_cost_is_not_taken_for_nothing() -> None:
    """A call that used tokens and has no known price fails `max_cost`; one with neither is without cost."""
    with ToolRecorder() as toolweaver:
        with track("free"):
            pass
        with track("model") as call:
            call.record(tokens=5)
        toolweaver.assert_called("free", max_cost=0)
        with pytest.raises(AssertionError, match="the cost of model is not known for 1 call"):
            toolweaver.assert_called("model", max_cost=1)


def test_a_call_that_a_budget_refused_did_not_run() -> None:
    """It is no call of the tool, unless one asks for what was rejected."""
    with ToolRecorder(budget=0.15) as toolweaver:
        ocr(0)
        with pytest.raises(BudgetExceeded):
            ocr(1)
        toolweaver.assert_called("ocr", times=1)
        toolweaver.assert_called("ocr", times=1, outcome="rejected")
        assert len(toolweaver.calls("ocr")) == 2


def test_a_tool_that_still_runs_is_named_where_it_is_missed() -> None:
    """A call counts once it has ended; the message says that it has not."""
    with ToolRecorder() as toolweaver, track("slow"), pytest.raises(AssertionError, match="slow  still running"):
        toolweaver.assert_called("slow")


def test_calls_can_be_forgotten_between_two_parts_of_a_test() -> None:
    """`clear()` starts the list anew; the monitor's totals stay."""
    with ToolRecorder() as toolweaver:
        ocr(0)
        toolweaver.clear()
        ocr(1)
        toolweaver.assert_called("ocr", times=1)
        assert toolweaver.monitor.summary()["count"] == 2


def test_the_environment_of_the_machine_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sinks nor a budget nor a switch of the developer's shell reach into a test."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_SINKS", "prometheus,wandb")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_BUDGET_USD", "0")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_ENABLED", "0")
    with ToolRecorder() as toolweaver:
        ocr(0)
        toolweaver.assert_called("ocr", times=1)
        assert [sink.name for sink in toolweaver.monitor.sinks] == ["recorder"]


def test_code_that_sets_up_by_itself_is_told_rather_than_seen_as_calling_nothing() -> None:
    """A recorder that was replaced says so, with the cure."""
    with ToolRecorder() as toolweaver:
        setup()
        ocr(0)
        with pytest.raises(ConfigurationError, match=r"has called setup\(\) itself"):
            toolweaver.assert_not_called("ocr")


def test_an_outcome_that_there_is_not_is_no_silent_pass() -> None:
    """A misspelt outcome raises an error."""
    with (
        ToolRecorder() as toolweaver,
        pytest.raises(ConfigurationError, match="outcome='failed' is not an outcome; give success, "),
    ):
        toolweaver.assert_called("ocr", times=0, outcome="failed")  # type: ignore[arg-type]


def test_the_message_shows_each_call_below_the_call_around_it() -> None:
    """In the order in which they started, those that still run too. Seen red: as a flat list of ended calls."""
    with ToolRecorder() as recorder:
        with track("tree_outer"):
            for name in ("tree_first", "tree_second"):
                with track(name), track("tree_leaf") as leaf:
                    leaf.fail("torn") if name == "tree_second" else None
        with track("tree_open"):
            with track("tree_inside"):
                pass
            text = recorder.call_tree()
            with pytest.raises(AssertionError) as raised:
                recorder.assert_no_errors()
    names = [(len(line) - len(line.lstrip()), line.split()[0]) for line in text.splitlines()[1:]]
    assert names == [
        (2, "tree_outer"), (4, "tree_first"), (6, "tree_leaf"), (4, "tree_second"), (6, "tree_leaf"),
        (2, "tree_open"), (4, "tree_inside"),
    ]  # fmt: skip
    assert "tree_open  still running" in text
    shown = str(raised.value).splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["tree_outer", "tree_second", "tree_leaf"]
    assert shown[-1].endswith("tool_error: torn")
