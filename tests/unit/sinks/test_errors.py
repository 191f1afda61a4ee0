"""The in-memory errors and their report."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from toolweaver_monitor import ErrorTracker, setup, track


def test_the_report_says_what_failed_how_often_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    """Rates by tool, types, and the latest errors, the last one first; printed, and given back."""
    errors = ErrorTracker()
    errors.record_call("ocr", True)
    errors.record_call("ocr", False, "blurred")
    errors.record_call("categorize", False, KeyError("no such kind"))
    text = errors.report()
    assert capsys.readouterr().out == f"{text}\n"
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(
        "Errors\n"
        "  tool        failed  of    rate\n"
        "  categorize       1   1  100.0%\n"
        "  ocr              1   2   50.0%\n"
        "  by type: tool_error 1, KeyError 1\n"
        "  latest:\n"
        f"    {when}  categorize  KeyError: 'no such kind'\n"
        f"    {when}  ocr         tool_error: blurred",
        text,
    )


def test_the_rate_is_a_share_of_the_calls_that_came_to_an_end_of_their_own() -> None:
    """A cancelled call is neither error nor success; a tool never seen has no errors."""
    monitor = setup()

    async def cancelled() -> None:
        with track("tool"):
            raise asyncio.CancelledError

    with track("tool"):
        pass
    with pytest.raises(TimeoutError), track("tool"):
        raise TimeoutError
    for _ in range(8):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancelled())
    assert monitor.errors.total_calls == {"tool": 10}
    assert monitor.errors.error_rate("tool") == 0.5
    assert monitor.errors.error_rate("never seen") == 0.0


@pytest.mark.parametrize("name", ["re\nad", "r" * 200, " read "])
def test_the_rate_of_a_tool_is_found_by_the_name_it_was_given(name: str) -> None:
    """However it is shown: without what cannot be seen, and cut."""
    errors = ErrorTracker()
    errors.record_call(name, False)
    assert errors.error_rate(name) == 1.0


def test_the_latest_errors_are_kept_and_the_counts_are_all_time() -> None:
    """`max_errors` bounds the memory, not the rates."""
    errors = ErrorTracker(max_errors=2)
    for number in range(5):
        errors.record_call("ocr", False, f"page {number}")
    assert [error["error"] for error in errors.latest] == ["page 3", "page 4"]
    assert (errors.total_calls, errors.error_rate("ocr")) == ({"ocr": 5}, 1.0)


def test_an_error_says_which_tool_how_and_when() -> None:
    """Everything that is needed to look for it elsewhere."""
    monitor = setup()
    before = time.time()
    with pytest.raises(ValueError, match="blurred"), track("ocr", page=3):
        raise ValueError("blurred")
    (error,) = monitor.errors.latest
    assert before - 1 <= error.pop("timestamp") <= time.time() + 1
    assert (len(error.pop("call_id")), len(error.pop("trace_id"))) == (16, 32)
    told = {"tool_name": "ocr", "error_type": "ValueError", "error": "blurred", "outcome": "failure"}
    assert error == told | {"tags": {"page": 3}}


def test_a_call_that_fails_without_an_exception_is_an_error_too() -> None:
    """`call.fail(reason)`, for tools that return their errors."""
    monitor = setup()
    with track("search") as call:
        call.fail("no hits")
    assert [error["error"] for error in monitor.errors.latest] == ["no hits"]
    assert monitor.summary()["failures"] == 1


def test_no_error_can_forge_a_line_of_the_report() -> None:
    """Line ends and terminal codes are shown as what they are."""
    errors = ErrorTracker()
    errors.record_call("ocr\n  all is well", False, "blurred \x1b[31m image\nErrors\n  no tool has failed")
    text = errors._text()
    assert "\x1b" not in text
    assert len(text.splitlines()) == 6


def test_errors_are_listed_by_tool_and_a_tool_that_never_failed_is_no_key() -> None:
    """As the guide's `ErrorTracker` has them. Seen red: with the flat list, `errors["ocr"]` was a TypeError."""
    errors = ErrorTracker()
    errors.record_call("ocr", False, "first")
    errors.record_call("parse", True)
    errors.record_call("ocr", False, "second")
    assert [error["error"] for error in errors.errors["ocr"]] == ["first", "second"]
    assert "timestamp" in errors.errors["ocr"][0]
    assert "parse" not in errors.errors
    assert (errors.total_calls["ocr"], errors.total_calls["parse"], errors.total_calls["unseen"]) == (2, 1, 0)
    assert errors.total_calls == {"ocr": 2, "parse": 1}


def test_its_report_lists_every_tool_and_that_of_the_monitor_those_that_failed() -> None:
    """Seen red: with failed tools only, the tool that never failed was missing."""
    monitor = setup()
    with track("parse"):
        pass
    with track("ocr") as call:
        call.fail("no text")
    assert "parse" in monitor.errors._text()
    _, _, errors = monitor._text().partition("Errors")
    assert "ocr" in errors
    assert "parse" not in errors
