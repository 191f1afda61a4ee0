"""`warn_at`: one line and one callback before a limit is reached."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from ledger_kit import CENT, Clock, ended, opened

from toolweaver_monitor import Budget, BudgetStatus, current_call, monitored, setup, track
from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._budget import ledger as ledger_module
from toolweaver_monitor._budget import meter as meter_module
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.errors import ConfigurationError


@monitored("ocr", cost=0.10)
def ocr() -> str:
    return "text"


def spend(dollars: float) -> None:
    with track("chat") as call:
        call.record(cost=dollars)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("reserve", [None, 0.02])
@pytest.mark.parametrize("has_gil", [True, False])
def test_a_warning_comes_once_when_the_share_is_spent(
    reserve: Any, has_gil: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call with which 90 % are spent logs one line and calls back once, with the state of the limit.

    Seen red: with the warning only of calls that set nothing aside; with a warning at each call.
    """
    for module in (meter_module, ledger_module):
        monkeypatch.setattr(module, "HAS_GIL", has_gil)
    told: list[BudgetStatus] = []
    setup(budget=Budget(limit_usd=1.00, reserve=reserve, warn_at=0.9, on_warn=told.append))
    for _ in range(8):
        ocr()
    assert told == []
    spend(0.09)
    assert told == []
    spend(0.02)
    spend(0.01)
    assert [status["spent"] for status in told] == [pytest.approx(0.91)]
    assert lines(caplog) == ["budget 'usd/run' is nearly spent: $0.91 of $1.00 (91%); raise limit_usd or spend less"]


@pytest.mark.parametrize(
    "budget", [{"limit_calls": 2}, {"limit_tokens": 200}, {"limit_usd": 0.20}, {"limit_usd": 0.20, "tag": "customer"}]
)
def test_every_kind_of_limit_warns(budget: Any) -> None:
    """Dollars, tokens and calls, with and without an account for each customer."""
    told: list[BudgetStatus] = []
    setup(budget=Budget(**budget, warn_at=0.5, on_warn=told.append), tags={"customer": "acme"})
    for _ in range(2):
        with track("chat") as call:
            call.record(cost=0.10, tokens=100)
    assert len(told) == 1
    assert told[0]["remaining"] == told[0]["spent"]


def test_a_price_that_is_found_late_warns_too() -> None:
    """The cost of a call may be known only when it is drained."""
    told: list[BudgetStatus] = []
    monitor = setup(budget=Budget(limit_usd=1, reserve=0.5, warn_at=0.5, on_warn=told.append))
    monitor._components.prices.cost_nanousd = lambda call: 60 * CENT  # type: ignore[method-assign]
    with track("chat") as call:
        call.record(model="m", input_tokens=10)
    monitor.summary()
    assert [status["spent"] for status in told] == [0.6]


def test_a_window_warns_again_when_it_has_passed_and_a_raised_limit_at_once() -> None:
    """At most one warning a window, however long the spending stays high."""
    clock, told = Clock(), []
    ledger = Ledger([Budget(limit_usd=1, per="minute", warn_at=0.5, on_warn=told.append)], now=clock)

    def charge(cost: float) -> None:
        call = ended(opened(ledger, None), cost=cost)
        call._admission.warn()

    for _ in range(5):
        charge(0.2)
        clock.now_s += 15
    assert len(told) == 1
    for _ in range(4):
        charge(0.2)
        clock.now_s += 15
    assert len(told) == 2
    ledger.raise_limit(ledger.scopes[0], "usd", 160 * CENT)
    charge(0.2)
    assert len(told) == 3


def test_what_a_callback_raises_stays_out_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """The call that crosses the share succeeds, `health()` counts the callback among the user's functions, and the log
    names it. Seen red: it was counted only.
    """

    def broken(status: BudgetStatus) -> None:
        raise RuntimeError("no network")

    monitor = setup(budget=Budget(limit_usd=0.10, warn_at=0.5, on_warn=broken))
    before = Diagnostics.extractor_errors
    assert ocr() == "text"
    assert Diagnostics.extractor_errors == before + 1
    assert caplog.messages[-1] == "on_warn= of budget 'usd/run' raised RuntimeError: no network"
    assert monitor.summary()["successes"] == 1
    assert len(lines(caplog)) == 2


def test_a_callback_runs_outside_the_call_and_may_call_tools() -> None:
    """It finds the call closed, and holds no lock: what it calls is a call of its own."""
    seen: list[Any] = []

    def call_a_tool(status: BudgetStatus) -> None:
        seen.append((current_call().tool_name, ocr()))

    monitor = setup(budget=[Budget(limit_usd=1, warn_at=0.1, on_warn=call_a_tool), Budget(limit_usd=5, per="day")])
    ocr()
    assert seen == [("", "text")]
    assert monitor.summary()["count"] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        *[({"warn_at": bad}, "give one, such as warn_at=0.9") for bad in (0, -1, 90, 1.01, "90%", True, float("nan"))],
        ({"on_warn": print}, "give warn_at=0.9, too"),
        ({"warn_at": 0.9, "on_warn": "log"}, "give a plain function"),
    ],
)
def test_a_warning_that_makes_no_sense_is_refused(settings: Any, said: str) -> None:
    """A share lies between 0 and 1, and a callback can be called."""
    with pytest.raises(ConfigurationError) as caught:
        Budget(limit_usd=1, **settings)
    assert said in str(caught.value)


def test_a_forked_copy_does_not_warn_again() -> None:
    """What was said before the fork is not said by each worker."""
    told: list[BudgetStatus] = []
    ledger = Ledger([Budget(limit_usd=1, warn_at=0.5, on_warn=told.append)])
    ended(opened(ledger, None), cost=0.6)._admission.warn()
    ledger._in_child()
    ended(opened(ledger, None), cost=0.1)._admission.warn()
    assert len(told) == 1
