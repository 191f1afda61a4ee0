"""What do budgets let in, what do they refuse, and what do their books say?"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from toolweaver_monitor import locks
from toolweaver_monitor.budget import Budget, Ledger
from toolweaver_monitor.budget import ledger as ledger_module
from toolweaver_monitor.budget import meter as meter_module
from toolweaver_monitor.budget.meter import LockedAdmission
from toolweaver_monitor.call import NANO, Invalid, ToolCall, innermost
from toolweaver_monitor.errors import BudgetExceeded, ConfigurationError

CENT = NANO // 100


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def opened(ledger: Ledger, known: int | None = None, tool: str = "ocr", **tags: Any) -> ToolCall:
    """A call that the ledger has let in."""
    call = ToolCall(tool)
    if tags:
        call.record(**tags)
    ledger.admit(call, known)
    return call


def ended(call: ToolCall, **used: Any) -> ToolCall:
    """The call, closed as the hot path closes it, having used so much."""
    if used:
        call.record(**used)
    details = call.say()
    admission, details.admission = details.admission, None
    if admission is not None:
        admission.settle(call)
    return call


def books(ledger: Ledger, entry: int = 0) -> tuple[Any, Any]:
    """What is spent and what is set aside."""
    status = ledger.status()[entry]
    return status["spent"], status["reserved"]


def refused(ledger: Ledger, known: int | None = None, tool: str = "ocr", **tags: Any) -> BudgetExceeded:
    """How the ledger refuses such a call."""
    with pytest.raises(BudgetExceeded) as caught:
        opened(ledger, known, tool, **tags)
    return caught.value


# What a Budget takes


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give limit_usd="),
        ({"per": "day"}, "give limit_usd="),
        *[
            ({"limit_usd": bad}, "give dollars from 0")
            for bad in (
                -1,
                -0.01,
                float("nan"),
                float("inf"),
                True,
                "5",
                1e10,
                10**400,
                Decimal("NaN"),
                Decimal("sNaN"),
                Decimal("Infinity"),
                Decimal("1e400"),
                1j,
                [5],
            )
        ],
        *[
            ({field: bad}, "give a whole number from 0")
            for field in ("limit_tokens", "limit_calls")
            for bad in (-1, 0.5, float("nan"), float("inf"), True, "5", 10**400, Decimal(5))
        ],
        *[({"limit_usd": 5, "reserve": bad}, "give dollars from 0") for bad in (-1, float("nan"), True, "1")],
        ({"limit_calls": 5, "reserve": 0.1}, "give limit_usd=, too"),
        ({"limit_usd": 1, "reserve": 1.01}, "give a smaller reserve="),
        *[({"limit_usd": 5, "per": bad}, "give per='run'") for bad in ("week", "", None, 60, ["run"])],
        *[({"limit_usd": 5, "tool": bad}, "give the name of a tool") for bad in ("", " ", 5, "a\nb", "a" * 129)],
        *[({"limit_usd": 5, "name": bad}, "give some text") for bad in ("", 5, "a\x1b[0m")],
        *[
            ({"limit_usd": 5, "tag": bad}, "give tag='customer'")
            for bad in (
                "",
                "=acme",
                "customer=",
                5,
                (),
                ("customer",),
                ("", "acme"),
                ("customer", None),
                ("a", "b", "c"),
            )
        ],
        *[({"limit_usd": 5, "on_exceed": bad}, "give 'raise', 'warn'") for bad in ("stop", None, True, 5, ValueError)],
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_when_made_and_told_how_to_cure(settings: Any, said: str) -> None:
    """What cannot be a limit, a window, a scope or a policy raises at once; the message says what to give instead."""
    with pytest.raises(ConfigurationError) as caught:
        Budget(**settings)
    assert said in str(caught.value)


def test_an_async_on_exceed_is_refused() -> None:
    """A coroutine function would never be awaited, so it is no answer."""

    async def ask(_: BudgetExceeded) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="no async one"):
        Budget(limit_usd=5, on_exceed=ask)


def test_a_budget_cannot_be_changed_and_equals_its_like() -> None:
    """It is a value: what was checked stays so."""
    budget = Budget(limit_usd=5.00)
    with pytest.raises(AttributeError):
        budget.limit_usd = 6.00  # type: ignore[misc]
    assert budget == Budget(limit_usd=5.00)
    assert pickle.loads(pickle.dumps(budget)) == budget


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [
        (0.1, 10**8),
        (Decimal("0.000000001"), 1),
        (1e9, 10**18),
        (123_456_789.123456789, 123_456_789_123_456_790),
        (3, 3 * NANO),
    ],
)
def test_limits_are_exact_nano_dollars(dollars: Any, nano: int) -> None:
    """Dollars are taken as they are written, not as binary floats multiply."""
    assert Budget(limit_usd=dollars).limits == {"usd": nano}


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"limit_usd": 5}, "usd/run"),
        ({"limit_usd": 5, "limit_calls": 3, "per": "day", "tool": "ocr"}, "usd+calls/day tool=ocr"),
        ({"limit_tokens": 1e6, "per": "hour", "tag": "customer"}, "tokens/hour by customer"),
        ({"limit_usd": 5, "tag": ("tier", 1), "on_exceed": "warn"}, "usd/run tier=1 warn"),
        ({"limit_usd": 5, "on_exceed": print}, "usd/run ask"),
        ({"limit_usd": 5, "name": "pocket money"}, "pocket money"),
    ],
)
def test_a_budget_without_a_name_is_called_after_what_it_limits(settings: Any, label: str) -> None:
    """Messages and metrics can name every budget."""
    assert Budget(**settings).label == label


@pytest.mark.parametrize(
    "pair",
    [
        ({"limit_usd": 5}, {"limit_usd": 6, "name": "other"}),
        ({"limit_usd": 5}, {"limit_usd": 6, "limit_calls": 9}),
        ({"limit_usd": 5, "tag": "a=1"}, {"limit_usd": 6, "tag": ("a", 1), "name": "other"}),
        ({"limit_usd": 5, "name": "one"}, {"limit_calls": 5, "name": "one"}),
    ],
)
def test_clashing_budgets_are_an_error(pair: Any) -> None:
    """Two budgets of one name, or for the same calls, unit and window, are a mistake."""
    with pytest.raises(ConfigurationError, match=r"remove the other|a name= of its own"):
        Ledger([Budget(**settings) for settings in pair])


def test_a_soft_limit_below_a_hard_one_is_no_clash(caplog: pytest.LogCaptureFixture) -> None:
    """Warn at $1, refuse at $2: both budgets are for the same calls, and both act."""
    ledger = Ledger([Budget(limit_usd=1, on_exceed="warn"), Budget(limit_usd=2)])
    for _ in range(2):
        ended(opened(ledger, NANO), cost=1)
    assert "usd/run warn" in caplog.text
    assert refused(ledger, NANO).budget == "usd/run"


@pytest.mark.parametrize("budgets", [[], (), [5.0], Budget(limit_usd=5), None])
def test_a_ledger_wants_budgets(budgets: Any) -> None:
    """Nothing, or something that is no list of budgets, is an error with a cure."""
    with pytest.raises(ConfigurationError, match="give Budget objects"):
        Ledger(budgets)


# Letting in and refusing


def test_a_call_that_would_pass_the_limit_does_not_run() -> None:
    """Known costs are held against the limit before the call: the one that fits exactly runs, the next does not."""
    ledger = Ledger([Budget(limit_usd=0.03)])
    for _ in range(3):
        ended(opened(ledger, CENT), cost=0.01)
    refused(ledger, CENT)
    assert books(ledger) == (0.03, 0.0)


def test_a_refusal_says_which_budget_limit_spent_asked_when_it_frees_and_the_cure() -> None:
    """The error tells its whole story in figures and in words, and crosses a process pool."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, per="minute", name="pocket")], now=clock)
    ended(opened(ledger, None), cost=0.7)
    running = opened(ledger, NANO // 5)
    error = pickle.loads(pickle.dumps(refused(ledger, NANO // 2)))
    assert (error.budget, error.unit, error.limit, error.spent, error.asked) == ("pocket", "usd", 1.0, 0.9, 0.5)
    assert 60 <= error.frees_in_s <= 61
    for part in ("'pocket'", "'ocr'", "$1.00", "$0.70", "$0.20", "$0.50", "s: wait, or raise limit_usd="):
        assert part in str(error)
    ended(running)


@pytest.mark.parametrize(
    ("settings", "known", "spend", "cure"),
    [
        ({"limit_usd": 1}, 2 * NANO, 0, "more than the whole limit: raise limit_usd="),
        ({"limit_usd": 1}, NANO, 1, "does not free: raise limit_usd=, or start a new run"),
        ({"limit_calls": 0}, None, 0, "more than the whole limit: raise limit_calls="),
    ],
)
def test_the_cure_fits_the_case(settings: Any, known: int | None, spend: float, cure: str) -> None:
    """What helps depends on why there is no room."""
    ledger = Ledger([Budget(**settings)])
    if spend:
        ended(opened(ledger, None), cost=spend)
    error = refused(ledger, known)
    assert cure in str(error)
    assert error.frees_in_s is None


def test_when_running_calls_hold_the_room_the_message_says_so() -> None:
    """What is set aside may come back; the user is told to run fewer at once."""
    ledger = Ledger([Budget(limit_usd=1, per="hour")])
    running = opened(ledger, NANO)
    error = refused(ledger, NANO)
    assert error.frees_in_s is None
    assert "room comes when running calls end" in str(error)
    ended(running)
    ended(opened(ledger, NANO))


def test_without_a_known_cost_a_call_runs_while_there_is_room() -> None:
    """An unknown cost is settled when known, and may pass the limit; after that nothing runs."""
    ledger = Ledger([Budget(limit_usd=1)])
    ended(opened(ledger), cost=0.999999999)
    ended(opened(ledger), cost=3)
    assert "an unknown amount" in str(refused(ledger))
    assert books(ledger) == (3.999999999, 0.0)
    assert ledger.status()[0]["remaining"] == 0.0


def test_a_reserve_is_set_aside_for_calls_of_unknown_cost() -> None:
    """With a reserve, as many calls run at once as the limit can pay for, and what they do not use comes back."""
    ledger = Ledger([Budget(limit_usd=1, reserve=0.40)])
    first, second = opened(ledger), opened(ledger)
    assert books(ledger) == (0.0, 0.8)
    assert refused(ledger).asked == 0.4
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
    """A call's cost is spent once, whoever closes it again."""
    ledger = Ledger([Budget(limit_usd=5), Budget(limit_tokens=1_000, per="day")])
    call = opened(ledger, CENT)
    call.record(cost=0.02, tokens=7)
    admission = call.say().admission
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
    assert opened(ledger, tool="chat").details is None


@pytest.mark.parametrize(
    "budgets",
    [
        [Budget(limit_usd=5)],
        [Budget(limit_usd=5, per="day")],
        [Budget(limit_usd=5, tag="customer")],
        [Budget(limit_usd=5), Budget(limit_calls=10_000), Budget(limit_usd=100, per="minute")],
    ],
    ids=["run", "day", "by tag", "several"],
)
@pytest.mark.parametrize("known", [CENT, None], ids=["declared", "reserved"])
def test_1000_concurrent_calls_of_a_cent_against_5_dollars_make_500(budgets: list[Budget], known: int | None) -> None:
    """Exactly, with all 500 running at once, in tasks and in threads."""
    if known is None:
        budgets = [Budget(limit_usd=b.limit_usd, limit_calls=b.limit_calls, per=b.per, tag=b.tag,
                          reserve=0.01 if b.limit_usd else None) for b in budgets]  # fmt: skip
    ledger = Ledger(budgets)
    ran: list[int] = []

    async def tool() -> None:
        try:
            call = opened(ledger, known, customer="acme")
        except BudgetExceeded:
            return
        ran.append(1)
        await asyncio.sleep(0.01)
        ended(call, cost=0.01)

    async def all_at_once() -> None:
        await asyncio.gather(*(tool() for _ in range(1_000)))

    asyncio.run(all_at_once())
    assert len(ran) == 500
    assert books(ledger) == (5.0, 0.0)
    assert sum(ledger.rejections.values()) == 500

    ledger = Ledger(budgets)
    ran.clear()
    calls: list[ToolCall] = []

    def in_thread(_: int) -> None:
        try:
            calls.append(opened(ledger, known, customer="acme"))
        except BudgetExceeded:
            return
        if len(calls) % 3 == 0:
            ended(calls[-1], cost=0.01)

    with pinched_switches(), ThreadPoolExecutor(8) as pool:
        list(pool.map(in_thread, range(1_000)))
    assert len(calls) == 500
    for call in calls:
        if call.say().admission is not None:
            ended(call, cost=0.01)
    assert books(ledger) == (5.0, 0.0)


class pinched_switches:
    """Have threads take turns as often as the interpreter can."""

    def __enter__(self) -> None:
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self.before)


# Windows


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


# What happens when a budget is exceeded


def test_warn_lets_run_and_says_so_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """A log is not flooded, and what was not said is counted into what is."""
    clock = Clock()
    ledger = Ledger([Budget(limit_calls=1, on_exceed="warn")], now=clock)
    with caplog.at_level(logging.WARNING, "toolweaver_monitor"):
        for _ in range(5):
            opened(ledger)
            clock.now_s += 10
        assert len(caplog.records) == 1
        clock.now_s += 60
        opened(ledger)
    assert len(caplog.records) == 2
    assert "1 such calls" in caplog.messages[0]
    assert "4 such calls" in caplog.messages[1]
    assert ledger.status()[0]["overruns"] == 5
    assert ledger.rejections == {"calls/run warn": 0}
    assert books(ledger) == (6, 0)


def test_a_broken_log_does_not_refuse_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever logging does, the call runs."""

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(ledger_module.log, "warning", broken)
    mishaps = Invalid.mishaps
    opened(Ledger([Budget(limit_calls=0, on_exceed="warn")]))
    assert Invalid.mishaps == mishaps + 1


def test_a_function_may_let_a_call_run_by_returning_true() -> None:
    """It is given the refusal with its figures; the call it lets run is counted as any other."""
    given: list[BudgetExceeded] = []

    def ask(error: BudgetExceeded) -> bool:
        given.append(error)
        return len(given) == 1

    ledger = Ledger([Budget(limit_usd=1, on_exceed=ask)])
    ended(opened(ledger, 2 * NANO), cost=2)
    error = refused(ledger, NANO)
    assert error is given[1]
    assert error.spent == 2.0
    assert books(ledger) == (2.0, 0.0)
    assert (ledger.status()[0]["overruns"], ledger.rejections) == (1, {"usd/run ask": 1})


@pytest.mark.parametrize("answer", [1, "yes", None, False, object()])
def test_any_answer_but_true_refuses(answer: object) -> None:
    """A function that forgets to return, or returns something truthy, does not open the purse."""
    refused(Ledger([Budget(limit_usd=0, on_exceed=lambda _: answer)]))


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), GeneratorExit(), RecursionError()])
def test_a_function_that_raises_refuses_and_its_error_is_the_cause(raised: BaseException) -> None:
    """The caller meets `BudgetExceeded` and nothing else, and can see why."""

    def ask(_: BudgetExceeded) -> bool:
        raise raised

    ledger = Ledger([Budget(limit_usd=0, on_exceed=ask)])
    assert refused(ledger).__cause__ is raised
    assert books(ledger) == (0.0, 0.0)


def test_the_function_is_asked_outside_the_lock_and_may_use_tools_itself() -> None:
    """While it thinks, other threads spend; a tool that it calls is refused without asking again."""
    other_spent: list[bool] = []
    depth: list[int] = []

    def ask(_: BudgetExceeded) -> bool:
        depth.append(1)
        thread = threading.Thread(target=lambda: other_spent.append(bool(ended(opened(ledger, 0)))))
        thread.start()
        thread.join(5)
        refused(ledger, NANO)
        return True

    ledger = Ledger([Budget(limit_usd=0, on_exceed=ask), Budget(limit_calls=5)])
    ended(opened(ledger, NANO), cost=1)
    assert (other_spent, depth) == ([True], [1])
    assert [books(ledger, n) for n in range(2)] == [(1.0, 0.0), (2, 0)]


# Scopes


def test_a_budget_of_one_tool_does_not_mind_others() -> None:
    """Only calls of that tool count and are refused."""
    ledger = Ledger([Budget(limit_usd=1, tool="ocr")])
    ended(opened(ledger, tool="chat"), cost=100)
    ended(opened(ledger, tool="ocr"), cost=1)
    refused(ledger, tool="ocr")
    assert books(ledger) == (1.0, 0.0)


@pytest.mark.parametrize("tag", ["customer=acme", ("customer", "acme")])
def test_a_budget_of_one_tag_counts_the_calls_that_have_it(tag: Any) -> None:
    """Other customers, and calls without one, are not limited."""
    ledger = Ledger([Budget(limit_calls=1, tag=tag)])
    for customer in ("acme", "zeta", "zeta"):
        opened(ledger, customer=customer)
    opened(ledger)
    refused(ledger, customer="acme")
    assert books(ledger) == (1, 0)


def test_tag_values_that_are_numbers_match_as_text() -> None:
    """`tag="tier=1"` is for calls tagged 1 and for calls tagged "1"."""
    ledger = Ledger([Budget(limit_calls=9, tag="tier=1")])
    for tier in (1, "1", 2, 1.0, True):
        opened(ledger, tier=tier)
    assert books(ledger) == (2, 0)


def test_each_value_of_a_tag_has_an_account_of_its_own() -> None:
    """One customer's spending leaves the next one's limit whole."""
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="day")])
    for customer in ("acme", "zeta"):
        ended(opened(ledger, NANO, customer=customer), cost=1)
        error = refused(ledger, CENT, customer=customer)
        assert f"[{customer}]" in str(error)
    opened(ledger)
    assert [(row["name"], row["account"], row["spent"], row["rejections"]) for row in ledger.status()] == [
        ("usd/day by customer [acme]", "acme", 1.0, 1),
        ("usd/day by customer [zeta]", "zeta", 1.0, 1),
    ]
    assert ledger.rejections == {"usd/day by customer": 2}


def test_accounts_are_bounded_and_the_overflow_shares_one() -> None:
    """A flood of made-up customers takes neither memory nor the accounts of those who were there."""
    ledger = Ledger([Budget(limit_calls=2, tag="customer")])
    for number in range(ledger_module.MAX_ACCOUNTS + 2):
        opened(ledger, customer=f"c{number}")
    assert len(ledger.status()) == ledger_module.MAX_ACCOUNTS + 1
    assert refused(ledger, customer="yet another").budget == "calls/run by customer"
    opened(ledger, customer="c7")
    refused(ledger, customer="c7")


@pytest.mark.parametrize("tag", ["customer", "customer=acme"])
def test_a_call_without_the_tag_counts_where_the_call_around_it_counts(tag: str) -> None:
    """A workflow tagged with its customer pays for the tools inside it, however deep; a tool's own tag goes first."""
    ledger = Ledger([Budget(limit_usd=1, tag=tag), Budget(limit_calls=100)])
    workflow = opened(ledger, customer="acme")
    outer = innermost.set(workflow)
    step = opened(ledger, 0)
    inner = innermost.set(step)
    ended(opened(ledger), cost=0.75)
    ended(opened(ledger, customer="zeta"), cost=0.125)
    innermost.reset(inner)
    ended(step)
    innermost.reset(outer)
    ended(workflow)
    ended(opened(ledger), cost=50)
    assert ledger.status()[0]["spent"] == 0.75


# The books


def test_status_is_ready_for_json_and_complete() -> None:
    """Each entry says all that a gauge, a report and a health page need; names are unique."""
    ledger = Ledger([Budget(limit_usd=2, limit_calls=10, reserve=0.5, per="hour"), Budget(limit_tokens=5)])
    ended(opened(ledger), cost=0.25, tokens=5)
    refused(ledger)
    rows = json.loads(json.dumps(ledger.status()))
    assert rows[0] == {
        "name": "usd+calls/hour usd", "budget": "usd+calls/hour", "account": None, "unit": "usd", "per": "hour",
        "limit": 2.0, "spent": 0.25, "reserved": 0.0, "remaining": 1.75, "rejections": 0, "overruns": 0,
        "frees_in_s": 0.0,
    }  # fmt: skip
    assert [(r["name"], r["spent"], r["rejections"], r["frees_in_s"]) for r in rows[1:]] == [
        ("usd+calls/hour calls", 1, 0, 0.0),
        ("tokens/run", 5, 1, None),
    ]


@pytest.mark.parametrize("per", ["run", "minute"])
def test_a_call_that_vanishes_gives_back_what_it_held_but_not_what_it_recorded(per: Any) -> None:
    """An interrupt between the budget's leave and the call's end leaks no money, and loses none."""
    ledger = Ledger([Budget(limit_usd=5, per=per), Budget(limit_usd=9, per="day")])
    call = opened(ledger, NANO)
    gone = opened(ledger, NANO)
    call.record(cost=0.25)
    del call, gone
    assert [books(ledger, n) for n in range(2)] == [(0.25, 0.0)] * 2


def test_vanished_calls_make_room_before_one_is_refused() -> None:
    """What they held is free again when it is needed, without anyone having looked."""
    ledger = Ledger([Budget(limit_usd=1)])
    opened(ledger, NANO)
    ended(opened(ledger, NANO), cost=1)


def test_without_a_gil_the_lock_guards_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results by the other way, as a free-threaded interpreter takes it."""
    monkeypatch.setattr(meter_module, "HAS_GIL", False)
    monkeypatch.setattr(ledger_module, "HAS_GIL", False)
    ledger = Ledger([Budget(limit_usd=5)])
    calls = [opened(ledger, CENT) for _ in range(500)]
    refused(ledger, CENT)
    admission = calls[0].say().admission
    assert type(admission) is LockedAdmission
    lock = CountingLock()
    admission.meter.lock = lock
    calls[0].record(cost=0.02)
    ended(calls[0])
    assert lock.taken == 2
    assert books(ledger) == (0.02, 4.99)
    for call in calls[1:]:
        ended(call)


class CountingLock:
    """A lock that knows how often it was taken."""

    taken = 0

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        pass


# Forks and interrupts

ALL_WAYS = [
    [Budget(limit_usd=1_000_000)],
    [Budget(limit_usd=1_000_000, per="minute")],
    [Budget(limit_usd=1_000_000), Budget(limit_calls=10**9, per="hour"), Budget(limit_usd=10**6, tag="customer")],
]


def in_child(check: Callable[[], object]) -> tuple[int, float]:
    """Fork, run the check in the child; its exit code (0: returned) and how long it took, at most 5 s."""
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        try:
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - told by the exit code
            os._exit(1)
    while time.monotonic() - started < 5:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.monotonic() - started
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1, time.monotonic() - started


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
in_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@forks
@in_threads
@pytest.mark.parametrize("budgets", ALL_WAYS)
def test_a_child_forked_while_the_lock_is_held_goes_on_at_once(budgets: list[Budget]) -> None:
    """Another thread is in the books at the fork: the child opens its first call within a second all the same."""
    ledger = Ledger(budgets)
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with locks.living()["budget ledger"][-1]:  # type: ignore[attr-defined]
            held.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)

    def check() -> None:
        ended(opened(ledger, CENT, customer="acme"), cost=0.01)
        assert ledger.status()[0]["spent"] == 0.01

    try:
        code, took_s = in_child(check)
    finally:
        leave.set()
        thread.join()
    assert code == 0
    assert took_s < 1


@forks
@in_threads
@pytest.mark.parametrize("per", ["run", "minute"])
def test_a_child_keeps_what_was_spent_and_drops_what_the_parents_calls_hold(per: Any) -> None:
    """The parent's running calls end in the parent; the child's books start from what was spent."""
    ledger = Ledger([Budget(limit_usd=5, per=per), Budget(limit_usd=9, per=per, tag="customer")])
    ended(opened(ledger, NANO, customer="acme"), cost=1)
    running = opened(ledger, 4 * NANO, customer="acme")
    refused(ledger, NANO, customer="acme")

    def check() -> None:
        assert [books(ledger, n) for n in range(2)] == [(1.0, 0.0)] * 2
        assert sum(ledger.rejections.values()) == 0
        ended(running, cost=4)
        assert books(ledger) == (1.0, 0.0)
        calls = [opened(ledger, NANO, customer="acme") for _ in range(4)]
        refused(ledger, NANO, customer="acme")
        for call in calls:
            ended(call)

    assert in_child(check)[0] == 0
    assert [books(ledger, n) for n in range(2)] == [(1.0, 4.0)] * 2
    ended(running)


class alarms:
    """Have a signal handler run every few microseconds."""

    def __init__(self, handler: Callable[..., object], every_s: float) -> None:
        self.handler, self.every_s = handler, every_s

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self.handler)  # type: ignore[arg-type]
        signal.setitimer(signal.ITIMER_REAL, self.every_s, self.every_s)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")


@signals
@pytest.mark.parametrize("budgets", ALL_WAYS, ids=["run", "minute", "several"])
def test_a_signal_handler_that_spends_finds_and_leaves_balanced_books(budgets: list[Budget]) -> None:
    """Re-entry at thousands of points of admit, note and settle: no deadlock, not a nano-dollar wrong."""
    ledger = Ledger(budgets)
    spent = [0, 0]

    def handler(*_: object) -> None:
        ended(opened(ledger, 3, customer="acme"), cost=Decimal("0.000000003"))
        spent[1] += 1

    with alarms(handler, 60e-6):
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            for _ in range(50):
                call = opened(ledger, 5, customer="acme")
                call.record(cost=Decimal("0.000000002"))
                ended(call, cost=Decimal("0.000000005"))
            spent[0] += 50
    assert spent[1] > 200
    for row in ledger.status():
        calls = spent[0] + spent[1]
        assert row["reserved"] == 0
        assert row["spent"] == (calls if row["unit"] == "calls" else (7 * spent[0] + 3 * spent[1]) / NANO)


@signals
@pytest.mark.parametrize("budgets", ALL_WAYS, ids=["run", "minute", "several"])
def test_a_ctrl_c_at_any_moment_leaves_no_lock_held_and_no_money_set_aside(budgets: list[Budget]) -> None:
    """KeyboardInterrupt inside the books: others go on, and what the broken call held comes back."""
    ledger = Ledger(budgets)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    done = 0
    try:
        for attempt in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + attempt * 7e-7)
                while True:
                    call = opened(ledger, 5, customer="acme")
                    ended(call, cost=Decimal("0.000000005"))
                    done += 1
            except KeyboardInterrupt:
                del call
    finally:
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    for row in ledger.status():
        assert row["reserved"] == 0
        unit = 1 if row["unit"] == "calls" else 5 / NANO
        # The interrupted call of each attempt may or may not have come to be counted.
        assert done <= round(row["spent"] / unit) <= done + 150  # type: ignore[operator]
    free: list[bool] = []
    thread = threading.Thread(target=lambda: free.append(bool(ended(opened(ledger, 5, customer="acme")))))
    thread.start()
    thread.join(5)
    assert free == [True]


@pytest.fixture
def eager_gc() -> Iterator[None]:
    """Collect garbage as often as the interpreter can."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_gc")
@pytest.mark.parametrize("budgets", ALL_WAYS, ids=["run", "minute", "several"])
def test_a_finalizer_that_spends_finds_and_leaves_balanced_books(budgets: list[Budget]) -> None:
    """`__del__` of the user's, run by the garbage collector inside admit or settle, may call tools."""
    ledger = Ledger(budgets)
    spent = 0

    class Spender:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal spent
            ended(opened(ledger, 3, customer="acme"), cost=Decimal("0.000000003"))
            spent += 1

    for _ in range(1_000):
        Spender()
        ended(opened(ledger, 5, customer="acme"), cost=Decimal("0.000000005"))
    gc.collect()
    assert spent == 1_000
    rows = ledger.status()
    assert [row["reserved"] for row in rows] == [0] * len(rows)
    assert {row["spent"] for row in rows if row["unit"] == "usd"} == {8_000 / NANO}
