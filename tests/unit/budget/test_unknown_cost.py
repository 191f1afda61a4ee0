"""Calls that end with tokens or a model and without a known cost, under a budget of dollars."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import wait_until
from ledger_kit import CENT, Clock, books, ended, opened, refused

from toolweaver_monitor import Budget, BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._budget import ledger as ledger_module
from toolweaver_monitor._budget import meter as meter_module
from toolweaver_monitor._budget import scope as scope_module
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._usage.pricing import book as book_module

ANSWER = {"model": "my-deployment", "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}
PRICES = {"my-deployment": {"input": 1.0, "output": 1.0}}


@monitored("chat")
def chat() -> dict[str, Any]:
    return dict(ANSWER)  # the same object would be one that comes again


@monitored("stream")
def stream() -> Any:
    current_call().record(model="my-deployment", input_tokens=5)
    yield "chunk"


def priceless(**budget: Any) -> Any:
    return setup(budget=Budget(**budget))


@pytest.mark.parametrize("scope", [{}, {"per": "minute"}, {"tool": "chat"}, {"on_exceed": "warn"}])
def test_a_budget_of_dollars_says_that_it_cannot_hold_when_costs_are_unknown(scope: Any) -> None:
    """Unknown is not zero: `health()` is not ok, names the budget and the number of calls, and tells the cure.

    Seen red: 50 calls ran, $0 was spent, and `ok` was True.
    """
    monitor = priceless(limit_usd=0.01, name="pocket", **scope)
    assert monitor.health()["ok"]
    for _ in range(50):
        chat()
    health = monitor.health()
    assert health["budgets"][0]["unknown_cost_calls"] == 50
    assert "; ".join(health["problems"]) == (
        "budget 'pocket' cannot hold: the cost of 50 calls is unknown and was not charged; "
        "add a price with setup(prices={...}), declare cost=, or set reserve= on the budget"
    )
    assert not health["ok"]


@pytest.mark.parametrize("limit", [{"limit_usd": 0.25}, {"limit_tokens": 100}, {"limit_calls": 9}])
def test_a_budget_says_that_it_cannot_hold_when_results_are_not_read(limit: Any) -> None:
    """With `setup(usage=False)` it holds for what is declared and recorded; if nothing is, `health()` is not ok.

    Seen red: calls whose results told $1 each ran without end, and `ok` was True.
    """
    monitor = setup(budget=Budget(**limit, name="pocket"), usage=False)
    assert monitor.health()["ok"]
    monitored("unread")(lambda: {"tokens_used": 7, "cost": 1.0})()
    problems = monitor.health()["problems"]
    if "limit_calls" in limit:
        assert not problems
        return
    assert "; ".join(problems) == (
        "budget 'pocket' cannot hold: 1 call told nothing that it counts, and setup(usage=False) reads no results; "
        "leave usage=False out, declare cost=, or record(...)"
    )
    monitored("telling")(lambda: current_call().record(tokens=7, cost=0.1))()
    assert monitor.health()["ok"]


@pytest.mark.parametrize("scope", [{}, {"per": "minute"}, {"tag": "customer"}])
def test_a_limit_of_tokens_says_for_which_tool_it_counts_nothing(scope: Any) -> None:
    """A stream that was not asked for its usage tells its model, and no tokens.

    Seen red: all ran, and nothing was said.
    """
    monitor = priceless(limit_tokens=100, name="pocket", **scope)
    with track("session", customer="acme"):
        with track("llm") as call:
            call.record(tokens=5)
        for name in ("plain", "chunks", "chunks"):
            with track(name) as call:
                if name == "chunks":
                    call.record(model="my-deployment")
    (note,) = [note for note in monitor.health()["notes"] if "budget 'pocket'" in note]
    assert note == (
        "budget 'pocket' counts nothing for calls of 'chunks' that tell a model or other units, and no tokens; "
        "have its stream report its usage, or record(tokens=...)"
    )
    assert [(entry["spent"], entry["reserved"]) for entry in monitor.health()["budgets"]] == [(5, 0)]


@pytest.mark.parametrize("scope", [{}, {"per": "minute"}, {"tool": "chat"}])
def test_the_reserve_is_charged_for_a_call_of_unknown_cost(scope: Any) -> None:
    """It is what the user said a call may cost: two calls of $0.10 fit $0.25, and the third is refused."""
    monitor = priceless(limit_usd=0.25, reserve=0.10, **scope)
    chat()
    chat()
    with pytest.raises(BudgetExceeded, match="this call reserves"):
        chat()
    (entry,) = monitor.health()["budgets"]
    assert (entry["spent"], entry["reserved"], entry["unknown_cost_calls"]) == (0.2, 0.0, 2)
    assert monitor.health()["ok"]
    assert monitor.summary()["unpriced_calls"] == 2


def test_a_generator_that_ends_without_a_cost_is_charged_the_reserve() -> None:
    """So is any call that recorded tokens, whether it succeeds or fails."""
    monitor = priceless(limit_usd=1, reserve=0.10)
    list(stream())

    @monitored("parse", cost=0.30)
    def parse() -> None:
        current_call().record(tokens=5)
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        parse()
    (entry,) = monitor.health()["budgets"]
    assert (entry["spent"], entry["reserved"], entry["unknown_cost_calls"]) == (0.2, 0.0, 2)


def test_calls_whose_cost_is_known_leave_the_budget_at_peace() -> None:
    """A price, a declared cost, a recorded one, and a call that used neither tokens nor a model."""
    monitor = setup(budget=Budget(limit_usd=100, reserve=0.10), prices=PRICES)
    chat()

    @monitored("ocr", cost=0.01)
    def ocr() -> dict[str, Any]:
        return dict(ANSWER)  # the same object would be one that comes again

    @monitored("plain")
    def plain() -> str:
        return "text"

    ocr(), plain()
    health = monitor.health()
    assert health["ok"]
    (entry,) = health["budgets"]
    assert (entry["spent"], entry["reserved"], entry["unknown_cost_calls"]) == (2.01, 0.0, 0)


def test_calls_that_end_before_the_list_of_prices_is_loaded_give_their_reserve_back_once_it_is(
    monkeypatch: pytest.MonkeyPatch, require_package: Callable[[str, str], None]
) -> None:
    """Also if no sink and no reader takes note of them: a program may only ever call.

    Seen red: with no drain when the list is loaded, each further call was refused for good.
    """
    require_package("genai_prices", "pip install 'toolweaver_monitor[prices]'")
    real, may_load = book_module.GenaiPrices, threading.Event()

    def load_late() -> Any:
        assert may_load.wait(20)
        return real()

    monkeypatch.setattr(book_module, "GenaiPrices", load_late)
    monitor = setup(budget=Budget(limit_usd=0.10, reserve=0.05))

    @monitored("ask")
    def ask() -> None:
        current_call().record(model="gpt-4o", input_tokens=1_000)

    def runs() -> bool:
        try:
            ask()
        except BudgetExceeded:
            return False
        return True

    ask(), ask()
    assert not runs()
    may_load.set()
    wait_until(runs, 30)
    (entry,) = monitor.health()["budgets"]
    assert (entry["reserved"], entry["unknown_cost_calls"]) == (0.0, 0)
    assert 0 < entry["spent"] < 0.05


@pytest.mark.parametrize("has_gil", [True, False])
@pytest.mark.parametrize("reserve", [None, 0.30])
def test_a_price_that_is_found_late_replaces_the_reserve(
    monkeypatch: pytest.MonkeyPatch, reserve: float | None, has_gil: bool
) -> None:
    """Until then the reserve stays set aside, and the call is counted as one of unknown cost."""
    monkeypatch.setattr(meter_module, "HAS_GIL", has_gil)
    monkeypatch.setattr(ledger_module, "HAS_GIL", has_gil)
    ledger = Ledger([Budget(limit_usd=1, reserve=reserve)])
    call = ended(opened(ledger), model="a-model")
    assert (*books(ledger), ledger.status()[0]["unknown_cost_calls"]) == (0.0, reserve or 0.0, 1)
    call._admission.charge(CENT)
    call._admission = None  # as enrichment leaves it
    assert (*books(ledger), ledger.status()[0]["unknown_cost_calls"]) == (0.01, 0.0, 0)


def test_the_reserve_replaces_what_was_set_aside_for_a_declared_cost() -> None:
    """A failed call is not charged its declared cost, but what it used is not free either. Only one end counts."""
    ledger = Ledger([Budget(limit_usd=1, reserve=0.20), Budget(limit_tokens=100)])
    call = opened(ledger, NANO // 2)
    call.record(tokens=7)
    for _ in range(3):
        call._admission.settle(call)
    assert [books(ledger, n) for n in range(2)] == [(0.0, 0.2), (7, 0)]
    call._admission = None
    assert [books(ledger, n) for n in range(2)] == [(0.2, 0.0), (7, 0)]
    assert [entry["unknown_cost_calls"] for entry in ledger.status()] == [1, 0]
    refused(ledger, NANO)


def test_an_account_that_is_closed_hands_on_its_calls_of_unknown_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay counted, as rejections do."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 1)
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, reserve=0.1, tag="customer", per="minute")], now=clock)
    ended(opened(ledger, customer="acme"), model="a-model")
    clock.now_s += 100
    ledger.status()
    clock.now_s += 100
    opened(ledger, customer="globex")
    counts = {entry["account"]: entry["unknown_cost_calls"] for entry in ledger.status()}
    assert counts == {"__overflow__": 1, "globex": 0}


def test_nothing_stays_set_aside_when_a_price_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reserve is spent, as for a model without a price. Seen red: it stayed set aside for good."""
    monitor = priceless(limit_usd=1.0, reserve=0.25)
    monkeypatch.setattr(monitor._components.prices, "cost_nanousd", lambda _: 1 / 0)
    chat()
    monitor.summary()
    (budget,) = monitor.health()["budgets"]
    assert (budget["reserved"], budget["spent"]) == (0, 0.25)
    wait_until(lambda: "division by zero" in caplog.text)  # a thread logs it, or does so in the next test


@pytest.mark.parametrize("windows", [["run"], ["run", "hour"]])
def test_the_reserve_of_an_unpriced_call_is_spent_though_something_still_refers_to_it(windows: Any) -> None:
    """As a list of all objects does, which a debugger makes. Seen red: it stayed set aside until that list was gone."""
    monitor = setup(budget=[Budget(limit_usd=1.00, reserve=0.05, per=per) for per in windows])
    with track("chat") as call:
        call.record(model="my-deployment", tokens=5)
        held = call._admission
    parts = getattr(held, "parts", (held,))
    for entry in monitor.health()["budgets"]:
        assert (entry["reserved"], entry["spent"], entry["unknown_cost_calls"]) == (0.0, 0.05, 1)
    assert len(parts) == len(windows)
    del held, parts
    for entry in monitor.health()["budgets"]:
        assert (entry["reserved"], entry["spent"]) == (0.0, 0.05)
