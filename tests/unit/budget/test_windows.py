"""The time at which a sliding window has room again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from ledger_kit import CENT, Clock, books, ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger, scope
from toolweaver_monitor._core.sanitize import NANO


@pytest.mark.parametrize(("per", "window_s"), [("minute", 60.0), ("hour", 3_600.0), ("day", 86_400.0)])
def test_a_window_frees_when_its_refusal_says_and_never_before_its_time(per: Any, window_s: float) -> None:
    """What was spent counts for the whole window, and at most a sixtieth longer; `frees_in_s` tells the moment."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per=per)], now=clock)
    clock.now_s += window_s * 0.4
    ended(opened(ledger, NANO), cost=1)
    clock.now_s += window_s * 0.3
    frees_in_s = refused(ledger, CENT).frees_in_s
    assert frees_in_s is not None
    assert window_s * 0.7 <= frees_in_s <= window_s * (0.7 + 1 / 60) + 1e-6
    assert ledger.status()[0]["frees_in_s"] == frees_in_s
    clock.now_s += frees_in_s - 0.001
    refused(ledger, CENT)
    clock.now_s += 0.002
    ended(opened(ledger, CENT))


def test_frees_in_s_waits_for_as_much_as_is_asked() -> None:
    """A dear call waits for more of the window to pass than a cheap one."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per="minute")], now=clock)
    for _ in range(4):
        ended(opened(ledger, None), cost=0.25)
        clock.now_s += 10
    waits = [refused(ledger, cents * CENT).frees_in_s for cents in (25, 50, 100)]
    assert waits[1] - waits[0] == pytest.approx(10, abs=1)  # type: ignore[operator]
    assert waits[2] - waits[0] == pytest.approx(30, abs=1)  # type: ignore[operator]
    assert refused(ledger, 101 * CENT).frees_in_s is None


def test_a_window_that_was_quiet_for_long_is_empty_and_quickly_so() -> None:
    """Ten years of silence cost no more steps than one window has."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per="minute")], now=clock)
    ended(opened(ledger, NANO), cost=1)
    clock.now_s += 10 * 365 * 86_400
    started = time.perf_counter()
    call = opened(ledger, NANO)
    assert time.perf_counter() - started < 0.05
    ended(call, cost=1)
    clock.now_s += 59.9
    refused(ledger, 1)
    clock.now_s += 1.2
    ended(opened(ledger, NANO))


def test_a_call_that_outlives_the_window_holds_its_money_until_it_ends() -> None:
    """What is set aside does not slide out; what is spent counts from the end of the call."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per="minute")], now=clock)
    call = opened(ledger, NANO)
    clock.now_s += 600
    refused(ledger, 1)
    ended(call, cost=1)
    clock.now_s += 59.9
    refused(ledger, 1)
    clock.now_s += 1.2
    assert books(ledger) == (0.0, 0.0)


def test_calls_per_minute_count_from_their_start() -> None:
    """A limit of calls is a rate: a long call does not hold its place beyond the window."""
    clock = Clock()
    ledger = Ledger([Budget(limit_calls=1, per="minute")], now=clock)
    long = opened(ledger)
    clock.now_s += 30
    refused(ledger)
    clock.now_s += 31.1
    opened(ledger)
    ended(long)
    assert books(ledger) == (1, 0)


class Calendar(Clock):
    """A wall clock that a test sets."""

    def set(self, *moment: int) -> None:
        self.now_s = datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


def monthly(calendar: Calendar, **limits: Any) -> Ledger:
    return Ledger([Budget(per="month", **limits)], wall_s=calendar)


@pytest.mark.parametrize(
    ("spent_on", "still", "free"),
    [
        ((2026, 1, 31, 23, 59), (2026, 1, 31, 23, 59, 59), (2026, 2, 1)),
        ((2026, 2, 1), (2026, 2, 28, 23, 59, 59), (2026, 3, 1)),
        ((2028, 2, 10), (2028, 2, 29, 12), (2028, 3, 1)),
        ((2026, 12, 24), (2026, 12, 31, 23), (2027, 1, 1)),
    ],
)
def test_a_month_is_the_calendar_month_in_utc(spent_on: Any, still: Any, free: Any) -> None:
    """What was spent in a month counts until its last second; `frees_in_s` names the first of the next one.

    Seen red: with 30 days to a month.
    """
    calendar = Calendar()
    calendar.set(*spent_on)
    ledger = monthly(calendar, limit_usd=1)
    ended(opened(ledger, None), cost=1)
    calendar.set(*still)
    frees_in_s = refused(ledger, CENT).frees_in_s
    assert frees_in_s == datetime(*free, tzinfo=UTC).timestamp() - calendar.now_s
    calendar.now_s += frees_in_s
    ended(opened(ledger, CENT), cost=0.01)
    assert books(ledger) == (0.01, 0)


def test_a_wall_clock_that_is_set_back_frees_nothing_and_the_next_month_begins_on_time() -> None:
    """A clock that was a year ahead for a moment does not hold the money of a month for a year.

    Seen red: with the end of a month kept when the clock is set back.
    """
    calendar = Calendar()
    calendar.set(2027, 5, 10)
    ledger = monthly(calendar, limit_usd=1)
    ended(opened(ledger, None), cost=1)
    calendar.set(2026, 5, 10)
    refused(ledger, CENT)
    calendar.set(2026, 5, 31, 23, 59, 59)
    refused(ledger, CENT)
    calendar.set(2026, 6, 1)
    opened(ledger, CENT)


def test_months_that_nobody_called_in_pass_at_once() -> None:
    """Only the money of the present month counts, however many months were quiet."""
    calendar = Calendar()
    calendar.set(2026, 1, 10)
    ledger = monthly(calendar, limit_calls=2)
    for _ in range(2):
        ended(opened(ledger))
    calendar.set(2031, 7, 1)
    assert books(ledger) == (0, 0)
    calendar.set(2031, 7, 31)
    ended(opened(ledger))
    assert books(ledger) == (1, 0)


def test_accounts_of_a_past_month_make_room_for_new_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget by customer and month gives its accounts to the customers of the new month."""
    monkeypatch.setattr(scope, "MAX_ACCOUNTS", 2)
    calendar = Calendar()
    calendar.set(2026, 1, 10)
    ledger = monthly(calendar, limit_usd=1, tag="customer")
    for customer in ("acme", "globex", "initech"):
        ended(opened(ledger, None, customer=customer), cost=0.5)
    calendar.set(2026, 2, 1)
    ended(opened(ledger, None, customer="hooli"), cost=0.5)
    accounts = {entry["account"]: entry["spent"] for entry in ledger.status()}
    assert accounts["hooli"] == 0.5
    assert len(accounts) == 3
