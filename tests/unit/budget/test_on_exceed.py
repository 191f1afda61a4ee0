"""What happens when a budget is exceeded."""

from __future__ import annotations

import logging
import threading

import pytest
from ledger_kit import Clock, books, ended, opened, refused

from toolweaver_monitor._budget import Budget, Ledger, messages
from toolweaver_monitor._core.sanitize import NANO, Diagnostics
from toolweaver_monitor.errors import BudgetExceeded


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
    assert "1 such call since" in caplog.messages[0]
    assert "4 such calls since" in caplog.messages[1]
    assert ledger.status()[0]["overruns"] == 5
    assert ledger.rejections == {"calls/run warn": 0}
    assert books(ledger) == (6, 0)


def test_a_broken_log_does_not_refuse_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever logging does, the call runs."""

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(messages.log, "warning", broken)
    mishaps = Diagnostics.internal_errors
    opened(Ledger([Budget(limit_calls=0, on_exceed="warn")]))
    assert Diagnostics.internal_errors == mishaps + 1


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
