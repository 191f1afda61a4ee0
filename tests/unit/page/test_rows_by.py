"""The rows of the page by model, by the value of a tag, and over time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolweaver_monitor import setup, track
from toolweaver_monitor._page.feed import Feed
from toolweaver_monitor._runtime.page import _feed_of


def ask(feed: Feed, **view: str) -> dict[str, Any]:
    answer = feed.poll(**view)[1]
    assert answer is not None
    found: dict[str, Any] = json.loads(answer)
    return found


def spend(customer: str, model: str, cost: float, fails: bool = False) -> None:
    with track("rows_by_agent", customer=customer), track("rows_by_model_call") as call:
        call.record(cost=cost, model=model, input_tokens=5)
        if fails:
            call.fail("out of paper")


def test_the_rows_are_models_or_customers_if_one_asks_so() -> None:
    """Their calls, failures, tokens and dollars are those of `costs.by`. Seen red: with the tools' rows."""
    with setup() as monitor:
        for number in range(6):
            spend("acme" if number % 3 else "globex", "large" if number % 2 else "small", 0.01, fails=number == 5)
        feed = _feed_of(monitor._components)
        assert ask(feed)["facets"] == ["tool", "model", "tag:customer"]
        for by, expected in (("model", monitor.costs.by("model")), ("tag:customer", monitor.costs.by_tag("customer"))):
            rows = {row["name"]: row for row in ask(feed, by=by)["tools"]}
            expected.pop("(none)", None)
            assert rows.keys() == expected.keys()
            for name, totals in expected.items():
                assert (rows[name]["calls"], rows[name]["failed"]) == (totals["calls"], totals["errors"])
                assert rows[name]["cost"] == pytest.approx(totals["cost_usd"])
                assert rows[name]["tokens"] == totals["tokens"]
                assert rows[name]["p95"] > 0
                assert sum(period[1] for period in rows[name]["history"]) == totals["calls"]
        detail = feed.row("acme", by="tag:customer")
        assert detail is not None
        assert {each["name"]: each["calls"] for each in detail["tools"]} == {
            "rows_by_agent": 4,
            "rows_by_model_call": 4,
        }
        assert {each["name"] for each in detail["models"]} == {"large", "small"}
        assert [call["tags"]["customer"] for call in detail["slowest"]] == ["acme"] * 8
        assert [call["error"] for call in detail["failed"]] == ["out of paper"]


def test_an_unchanged_view_is_not_sent_again() -> None:
    """A cursor of one view is none of another, and what has not changed is not sent."""
    with setup() as monitor:
        spend("acme", "large", 0.01)
        feed = _feed_of(monitor._components)
        cursor, first = feed.poll(by="model")
        assert first is not None
        assert feed.poll(cursor, by="model") == (cursor, None)
        assert json.loads(feed.poll(cursor)[1] or b"")["full"]


def test_times_are_of_the_kept_calls_and_it_says_so() -> None:
    """Sums are of all calls; the error rate is unknown rather than of a part."""
    with setup(max_operations=4) as monitor:
        for _ in range(6):
            spend("acme", "large", 0.01)
        answer = ask(_feed_of(monitor._components), by="model")
        (row,) = answer["tools"]
        assert (row["calls"], row["cost"], row["rated"]) == (6, pytest.approx(0.06), None)
        assert answer["groups"] == {"by": "model", "left_out": 0, "of": 4}


def test_all_calls_over_time_have_rates_money_and_latency() -> None:
    """For the lines of the first screen."""
    with setup() as monitor:
        for number in range(10):
            spend("acme", "large", 0.01, fails=number == 0)
        over = ask(_feed_of(monitor._components))["over_time"]
        assert sum(period[1] for period in over) == 20
        assert sum(period[2] for period in over) == 1
        assert sum(period[3] for period in over) == pytest.approx(0.1)
        assert all(0 < period[4] <= period[5] <= period[6] for period in over)
