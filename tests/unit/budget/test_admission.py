"""The calls that a ledger admits, and the error for those that it rejects."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ledger_kit import CENT, Clock, books, ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core.sanitize import NANO


def test_a_call_that_would_pass_the_limit_does_not_run() -> None:
    """Known costs are held against the limit before the call: the one that fits exactly runs, the next does not."""
    ledger = Ledger([Budget(limit_usd=0.03)])
    for _ in range(3):
        ended(opened(ledger, CENT), cost=0.01)
    refused(ledger, CENT)
    assert books(ledger) == (0.03, 0.0)


def test_a_refusal_says_which_budget_limit_spent_asked_when_it_frees_and_a_hint() -> None:
    """The error tells its whole story in figures and in words, and crosses a process pool."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per="minute", name="pocket")], now=clock)
    ended(opened(ledger, None), cost=0.7)
    running = opened(ledger, NANO // 5)
    error = pickle.loads(pickle.dumps(refused(ledger, NANO // 2)))
    assert (error.budget, error.unit, error.limit, error.spent, error.asked) == ("pocket", "usd", 1.0, 0.9, 0.5)
    assert 60 <= error.frees_in_s <= 61
    assert str(error) == (
        "budget 'pocket' exceeded: call to 'ocr' rejected ($0.70 of $1.00 per minute spent, $0.20 set aside for "
        f"running calls, this call costs $0.50); wait {error.frees_in_s:.1f} s or raise limit_usd"
    )
    ended(running)


@pytest.mark.parametrize(
    ("settings", "known", "spend", "hint"),
    [
        ({"limit_usd": 1}, 2 * NANO, 0, "raise limit_usd: one such call exceeds the whole limit"),
        ({"limit_usd": 1}, NANO, 1, "raise limit_usd or start a new run with setup()"),
        ({"limit_usd": 0}, None, 0, "call only tools that are declared as free (cost=0), or raise limit_usd"),
        ({"limit_calls": 0}, None, 0, "raise limit_calls: one such call exceeds the whole limit"),
    ],
)
def test_the_hint_fits_the_case(settings: Any, known: int | None, spend: float, hint: str) -> None:
    """What helps depends on why there is no room."""
    ledger = Ledger([Budget(**settings)])
    if spend:
        ended(opened(ledger, None), cost=spend)
    error = refused(ledger, known)
    assert error.hint == hint
    assert str(error).endswith(f"; {hint}")
    assert error.frees_in_s is None


def test_when_running_calls_hold_the_room_the_message_says_so() -> None:
    """What is set aside may come back; the message advises to run fewer calls at once."""
    ledger = Ledger([Budget(limit_usd=1, per="hour")])
    running = opened(ledger, NANO)
    error = refused(ledger, NANO)
    assert error.frees_in_s is None
    assert error.hint == "run fewer calls at once, or raise limit_usd: there is room again when running calls end"
    ended(running)
    ended(opened(ledger, NANO))


def test_without_a_known_cost_a_call_runs_while_there_is_room() -> None:
    """An unknown cost is settled when known, and may pass the limit; after that nothing runs."""
    ledger = Ledger([Budget(limit_usd=1)])
    ended(opened(ledger), cost=0.999999999)
    ended(opened(ledger), cost=3)
    assert "cost of this call unknown" in str(refused(ledger))
    assert books(ledger) == (3.999999999, 0.0)
    assert ledger.status()[0]["remaining"] == 0.0


def test_a_reserve_is_set_aside_for_calls_of_unknown_cost() -> None:
    """With a reserve, as many calls run at once as the limit can pay for, and what they do not use comes back."""
    ledger = Ledger([Budget(limit_usd=1, reserve=0.40)])
    first, second = opened(ledger), opened(ledger)
    assert books(ledger) == (0.0, 0.8)
    error = refused(ledger)
    assert error.asked == 0.4
    assert "this call reserves $0.40" in str(error)
    ended(first, cost=0.1)
    third = opened(ledger)
    assert books(ledger) == (0.1, 0.8)
    ended(second), ended(third)
    assert books(ledger) == (0.1, 0.0)


def test_a_declared_cost_goes_before_the_reserve() -> None:
    """What is known beforehand is set aside, not the guess."""
    ledger = Ledger([Budget(limit_usd=1, reserve=0.40)])
    call = opened(ledger, CENT)
    assert books(ledger) == (0.0, 0.01)
    ended(call)


@pytest.mark.parametrize(
    ("settings", "runs_unknown", "runs_free"),
    [({"limit_usd": 0}, False, True), ({"limit_tokens": 0}, False, False), ({"limit_calls": 0}, False, False)],
)
def test_a_limit_of_0_means_that_nothing_may_be_spent(settings: Any, runs_unknown: bool, runs_free: bool) -> None:
    """Under 0 dollars only what is declared to be free runs; under 0 tokens or calls nothing does."""
    ledger = Ledger([Budget(**settings)])
    for known, runs in ((None, runs_unknown), (0, runs_free), (1, False)):
        if runs:
            ended(opened(ledger, known))
        else:
            refused(ledger, known)


def test_a_free_call_runs_even_when_more_than_all_is_spent() -> None:
    """A call that is known to cost nothing cannot pass a limit of dollars."""
    ledger = Ledger([Budget(limit_usd=1)])
    ended(opened(ledger), cost=2)
    ended(opened(ledger, 0))
    refused(ledger, 1)


def test_what_a_running_call_records_is_seen_at_once() -> None:
    """A stream that has recorded its cost leaves the less for others before it ends; the reserve covers its part."""
    ledger = Ledger([Budget(limit_usd=1, reserve=0.30)])
    stream = opened(ledger)
    stream.record(cost=0.20)
    assert books(ledger) == (0.0, 0.3)
    stream.record(cost=0.65)
    assert books(ledger) == (0.0, 0.85)
    refused(ledger)
    ended(stream)
    assert books(ledger) == (0.85, 0.0)


def test_tokens_are_limited_as_they_are_recorded() -> None:
    """Input, output and unsplit tokens count; cached ones are a part of input."""
    ledger = Ledger([Budget(limit_tokens=100)])
    stream = opened(ledger)
    stream.record(input_tokens=60, cached_tokens=50)
    other = opened(ledger)
    stream.record(output_tokens=30, tokens=10)
    assert books(ledger) == (0, 100)
    error = refused(ledger)
    assert (error.unit, error.limit, error.spent) == ("tokens", 100, 100)
    assert "(0 of 100 tokens spent, 100 tokens set aside for running calls, tokens of this call unknown)" in str(error)
    ended(stream), ended(other)
    assert books(ledger) == (100, 0)


def test_calls_count_when_they_are_let_in_however_they_end() -> None:
    """A limit of calls is used up by starting, not by succeeding."""
    ledger = Ledger([Budget(limit_calls=2)])
    one, _two = opened(ledger), opened(ledger)
    assert books(ledger) == (2, 0)
    assert refused(ledger).asked == 1
    ended(one)
    refused(ledger)


def test_settling_twice_or_noting_after_the_end_counts_nothing() -> None:
    """A call's cost is spent once, however often it is closed."""
    ledger = Ledger([Budget(limit_usd=5), Budget(limit_tokens=1_000, per="day")])
    call = opened(ledger, CENT)
    call.record(cost=0.02, tokens=7)
    admission = call._admission
    for _ in range(3):
        admission.settle(call)
        admission.note(call)
    assert [books(ledger, 0), books(ledger, 1)] == [(0.02, 0.0), (7, 0)]


def test_several_budgets_are_taken_from_all_or_none() -> None:
    """A call that one budget refuses leaves no trace in the others."""
    ledger = Ledger(
        [Budget(limit_usd=5), Budget(limit_calls=9, per="hour"), Budget(limit_usd=1, per="minute", tool="ocr")]
    )
    error = refused(ledger, 2 * NANO)
    assert error.budget == "usd/minute tool=ocr"
    assert [books(ledger, n) for n in range(3)] == [(0.0, 0.0), (0, 0), (0.0, 0.0)]
    assert ledger.rejections == {"usd/run": 0, "calls/hour": 0, "usd/minute tool=ocr": 1}
    ended(opened(ledger, 2 * NANO, tool="chat"), cost=2)
    assert [books(ledger, n) for n in range(3)] == [(2.0, 0.0), (1, 0), (0.0, 0.0)]


def test_a_call_that_no_budget_applies_to_has_no_admission() -> None:
    """Out of scope costs nothing."""
    ledger = Ledger([Budget(limit_usd=0, tool="ocr"), Budget(limit_usd=0, tag="customer")])
    assert opened(ledger, tool="chat")._details is None
