"""How much is left, for the program and for a running call, and a limit that is raised while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ledger_kit import CENT, opened, refused

from toolweaver_monitor import Budget, BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._budget import ledger as ledger_module
from toolweaver_monitor._budget import meter as meter_module
from toolweaver_monitor.errors import ConfigurationError


@monitored("ocr", cost=0.10)
def ocr() -> str:
    return "text"


def test_a_budget_by_name_tells_what_is_left() -> None:
    """Dollars, tokens or calls; what running calls have set aside is not left."""
    monitor = setup(
        budget=[
            Budget(limit_usd=1, per="day", name="daily"),
            Budget(limit_usd=2, limit_calls=5, name="both"),
        ]
    )
    ocr()
    assert monitor.budgets["daily"].remaining() == 0.9
    assert monitor.budgets["both calls"].remaining() == 4
    assert (monitor.budgets["both usd"].limit, monitor.budgets["both usd"].unit) == (2.0, "usd")
    assert list(monitor.budgets) == ["daily", "both usd", "both calls"]
    assert "other" not in monitor.budgets
    with pytest.raises(KeyError, match="did you mean 'daily'"):
        monitor.budgets["dayly"]


def test_without_budgets_there_is_an_empty_mapping() -> None:
    """A program can ask for a budget by name whatever its setup."""
    monitor = setup()
    assert (len(monitor.budgets), monitor.budgets.get("daily")) == (0, None)


def test_a_budget_by_customer_tells_what_each_customer_has_left() -> None:
    """A customer that has spent nothing has the whole limit; to look opens no account."""
    monitor = setup(budget=Budget(limit_usd=1, tag="customer", name="each"))
    with track("work", customer="acme"):
        ocr()
    left = monitor.budgets["each"]
    assert (left.remaining("acme"), left.remaining("globex")) == (0.9, 1.0)
    assert [entry["account"] for entry in monitor.health()["budgets"]] == ["acme"]
    with pytest.raises(ConfigurationError, match="give one: remaining"):
        left.remaining()
    fixed = setup(budget=Budget(limit_usd=1, tag="customer=acme", name="acme's")).budgets["acme's"]
    assert fixed.remaining() == 1.0
    with pytest.raises(ConfigurationError, match="has no accounts"):
        fixed.remaining("acme")


@pytest.mark.parametrize("budget", [{}, {"per": "minute"}, {"per": "month"}, {"tag": "customer"}, {"reserve": 0.10}])
def test_a_raised_limit_lets_calls_run_again(budget: Any) -> None:
    """What is spent stays spent."""
    monitor = setup(budget=Budget(limit_usd=0.10, name="money", **budget), tags={"customer": "acme"})
    ocr()
    with pytest.raises(BudgetExceeded):
        ocr()
    monitor.budgets["money"].raise_to(0.20)
    ocr()
    with pytest.raises(BudgetExceeded, match=r"\$0.20 of \$0.20"):
        ocr()
    assert {entry["limit"] for entry in monitor.health()["budgets"]} == {0.20}


def test_a_limit_by_customer_is_raised_for_those_who_come_later_too() -> None:
    """Each customer has the new limit. Seen red: with the limit raised for the accounts that are there only."""
    monitor = setup(budget=Budget(limit_usd=0.10, tag="customer", name="each"))
    for customer in ("acme", "globex"):
        with track("work", customer=customer):
            ocr()
        monitor.budgets["each"].raise_to(0.30)
    assert [entry["limit"] for entry in monitor.health()["budgets"]] == [0.30, 0.30]
    assert monitor.budgets["each"].remaining("initech") == 0.30


def test_a_limit_without_a_reserve_that_is_raised_admits_calls_of_unknown_cost() -> None:
    """Calls of unknown cost run while there is room below the new limit."""
    ledger = Ledger([Budget(limit_usd=0.10)])
    running = opened(ledger, 10 * CENT)
    refused(ledger, None)
    ledger.raise_limit(ledger.scopes[0], "usd", 11 * CENT)
    opened(ledger, None)
    assert running._admission.held == 10 * CENT


@pytest.mark.parametrize("bad", [0.5, -1, "30", None, float("nan")])
def test_a_limit_is_not_lowered_by_raising_it(bad: Any) -> None:
    """Less, and what is no amount, is an error that says what to do."""
    money = setup(budget=Budget(limit_usd=1, name="money")).budgets["money"]
    with pytest.raises(ConfigurationError, match="give "):
        money.raise_to(bad)
    assert money.limit == 1.0


def test_a_call_knows_how_much_is_left_for_it() -> None:
    """An agent chooses the cheaper tool while it can still pay for it.

    Seen red: without what the call itself has set aside.
    """
    setup(budget=[Budget(limit_usd=1, reserve=0.30), Budget(limit_usd=5, per="day"), Budget(limit_calls=9)])
    with track("agent") as call:
        assert current_call().budget_left() == 1.0
        ocr()
        assert call.budget_left() == 0.9
        call.record(cost=0.20)
        assert call.budget_left() == pytest.approx(0.7)
    assert current_call().budget_left() is None


@pytest.mark.parametrize("has_gil", [True, False])
def test_what_other_running_calls_have_set_aside_is_not_left(has_gil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two calls at once each finds the limit less the reserve of the other."""
    for module in (meter_module, ledger_module):
        monkeypatch.setattr(module, "HAS_GIL", has_gil)
    setup(budget=Budget(limit_usd=1, reserve=0.30))
    left: list[float | None] = []

    @monitored("agent")
    async def agent() -> None:
        await asyncio.sleep(0.01)
        left.append(current_call().budget_left())
        await asyncio.sleep(0.01)

    async def both() -> None:
        await asyncio.gather(agent(), agent())

    asyncio.run(both())
    assert left == [0.7, 0.7]


@pytest.mark.parametrize("budget", [None, Budget(limit_calls=5), Budget(limit_usd=1, tool="ocr")])
def test_a_call_without_a_budget_of_dollars_has_no_known_rest(budget: Any) -> None:
    """None is not 0: no limit in dollars applies to it."""
    setup(budget=budget)
    with track("agent") as call:
        assert call.budget_left() is None


def test_what_is_left_is_never_below_zero() -> None:
    """Without a reserve a call may pass the limit; then 0 is left, and not less."""
    monitor = setup(budget=Budget(limit_usd=0.10, name="money"))
    with track("agent") as call:
        call.record(cost=0.50)
        assert call.budget_left() == 0.0
        assert monitor.budgets["money"].remaining() == 0.0
