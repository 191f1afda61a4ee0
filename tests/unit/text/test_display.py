"""Aligned tables, and the rows that a report leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import Monitor, setup
from toolweaver_monitor._text.display import format_wait, rank_rows, table, width
from toolweaver_monitor.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("ocr", 3),
        ("caf\u00e9", 4),
        ("cafe\u0301", 4),
        ("\u8bfb\u53d6\u6536\u636e", 8),  # Chinese
        ("\u30ec\u30b7\u30fc\u30c8", 8),  # Japanese
        ("\uc601\uc218\uc99d", 6),  # Korean
        ("\uff76\uff85", 2),  # half-width kana
        ("\U0001f9fe receipt", 10),
        ("\u2764\ufe0f", 2),  # a heart that a selector makes an emoji of
        ("\u0e43\u0e1a\u0e40\u0e2a\u0e23\u0e47\u0e08", 6),  # Thai, with a vowel above
        ("", 0),
    ],
)
def test_a_text_takes_as_many_columns_as_a_terminal_gives_it(text: str, columns: int) -> None:
    """Wide characters and emoji two, combining marks none."""
    assert width(text) == columns


def test_columns_line_up_whatever_script_the_names_are_in() -> None:
    """Every line of a table is equally wide."""
    lines = table([["tool", "calls"], ["\u8bfb\u53d6\u6536\u636e", "1"], ["cafe\u0301", "12"], ["\U0001f9fe", "1,234"]])
    assert {width(line) for line in lines} == {2 + 8 + 2 + 5}


def busy(monitor: Monitor, tools: int) -> None:
    for number in range(tools):
        for _ in range(1 + number % 7):
            monitor.metrics.record(f"tool {number:02}", 0.5)
            monitor.costs.record(f"tool {number:02}", number / 100)
            monitor.errors.record_call(f"tool {number:02}", False, "blurred")


def test_a_report_shows_the_twenty_that_matter_most_and_says_how_many_there_are_beside() -> None:
    """The busiest, the most expensive and those that failed most; totals are over all, and `limit=None` shows all."""
    monitor = setup()
    busy(monitor, 50)
    tools, costs, errors = monitor._text().split("\n\n")
    assert tools.splitlines()[3].split()[:3] == ["tool", "06", "7"]
    assert tools.splitlines()[1].startswith("  197 calls, 197 failed")
    assert costs.splitlines()[2].split()[:3] == ["tool", "48", "$3.3600"]
    assert costs.splitlines()[-2].split()[:3] == ["total", f"${sum(monitor.costs.costs.values()):.4f}", "197"]
    for part in (tools, costs, errors):
        assert sum(line.startswith("  tool ") and line[7].isdigit() for line in part.splitlines()) == 20
        assert "  and 30 more: report(limit=None) shows all" in part.splitlines()
    whole = monitor._text(limit=None)
    assert "more" not in whole
    assert whole.count("  tool 33") == 3
    assert monitor._text(limit=50) == whole


def test_the_rest_of_the_names_comes_last_and_is_always_shown() -> None:
    """`__overflow__` is no tool that could be the busiest."""
    shown, more = rank_rows({"__overflow__": 9, "a": 1, "b": 2}, float, 1)
    assert shown == [("b", 2), ("__overflow__", 9)]
    assert more == ["  and 1 more: report(limit=None) shows all"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.1 s"),
        (61, "61.0 s"),
        (121, "3 min"),
        (7_200, "120 min"),
        (7_201, "3 h"),
        (86_618.4, "25 h"),
        (2.4e6, "28 days"),
    ],
)
def test_a_time_to_wait_is_long_enough_and_easy_to_read(seconds: float, shown: str) -> None:
    """Seen red: `wait 86618.4 s` for a budget of a day."""
    assert format_wait(seconds) == shown


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "all"])
def test_a_limit_that_shows_no_rows_is_refused(limit: Any) -> None:
    """Whether or not there is anything to show."""
    monitor = setup()
    for report in (monitor.report, monitor.costs.report, monitor.errors.report):
        with pytest.raises(ConfigurationError, match=r"^limit=.* shows no rows; give a whole number from 1 up"):
            report(limit=limit)
