"""The time at which a sliding window has room again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ledger_kit import CENT, Clock, books, ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger
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
