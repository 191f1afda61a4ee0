"""Budgets whose sums are common to all processes of a store: leases, windows, and a store that is out of reach."""

from __future__ import annotations

import calendar
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_until

from toolweaver_monitor import Budget, BudgetExceeded, MetricsCollector, get_monitor, monitored, setup, shutdown, track
from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._store.ledger import Account, StoreLedger
from toolweaver_monitor._store.lock_file import LockFile
from toolweaver_monitor._store.store_file import StoreFile
from toolweaver_monitor.sinks import SQLiteStore

CENT = 10_000_000


class Sums:
    """A process's view of a store's ledger, with a wall clock of its own."""

    def __init__(self, path: Path, clock: list[float]) -> None:
        self.ledger = StoreLedger(StoreFile(path), lambda: clock[0])
        self.grants: list[Any] = []
        self.is_reachable = True

    def exchange(self, name: str, per: str, unit: str, limit: int, back: int, need: int) -> Any:
        if not self.is_reachable:
            return None
        self.grants.append(self.ledger.exchange(Account(name, per, unit), limit, back, need))
        return self.grants[-1]


@pytest.fixture
def clock() -> list[float]:
    return [1_800_000_000.0]


@pytest.fixture
def processes(tmp_path: Path, clock: list[float]) -> Any:
    """Make the ledger of one more process, and its view of the common sums."""

    def process(*budgets: Budget) -> tuple[Ledger, Sums]:
        sums = Sums(tmp_path / "runs.db", clock)
        ledger = Ledger(budgets)
        ledger.share(sums)
        return ledger, sums

    return process


def run_calls(ledger: Ledger, count: int, nanousd: int = CENT) -> int:
    """Run calls of a known cost, and return how many were admitted."""
    for number in range(count):
        call = ToolCall("ocr")
        try:
            ledger.admit(call, nanousd)
        except BudgetExceeded:
            return number
        call._ensure_details().cost_nanousd = nanousd
        call._admission.settle(call)
    return count


def test_two_processes_spend_one_limit(processes: Any) -> None:
    """Whatever one has spent is gone for the other. Seen red: with `share` doing nothing."""
    first, _ = processes(Budget(limit_usd=1.0, per="day"))
    second, _ = processes(Budget(limit_usd=1.0, per="day"))
    assert run_calls(first, 70) == 70
    first.give_back(at_once=True)
    assert run_calls(second, 100) == 30


def test_most_calls_need_no_transaction(processes: Any) -> None:
    """A lease is a 32nd of what is left. Seen red: with exactly the need leased each time."""
    ledger, sums = processes(Budget(limit_usd=10.0, per="day"))
    assert run_calls(ledger, 500) == 500
    assert sums.grants[0].amount == 10 * 10**9 // 32
    assert len(sums.grants) < 40


def test_nothing_is_leased_ahead_right_after_a_refusal(processes: Any, clock: list[float]) -> None:
    """So that the last cents go to the process that needs them. Seen red: without `refusals`."""
    greedy, _ = processes(Budget(limit_usd=1.0, per="day"))
    other, sums = processes(Budget(limit_usd=1.0, per="day"))
    assert run_calls(greedy, 1, 2 * 10**9) == 0
    assert run_calls(other, 1) == 1
    assert sums.grants[-1].amount == CENT
    clock[0] += 2
    other.give_back(at_once=True)
    assert run_calls(other, 1) == 1
    assert sums.grants[-1].amount > CENT


@pytest.mark.parametrize(("per", "length_s"), [("minute", 60), ("hour", 3_600), ("day", 86_400)])
def test_a_window_frees_after_its_length_and_never_before(
    processes: Any, clock: list[float], per: Any, length_s: int
) -> None:
    """And a sixtieth later at most. Seen red: with the first slot that counts two later."""
    ledger, _ = processes(Budget(limit_usd=1.0, per=per))
    assert run_calls(ledger, 1_000) == 100
    clock[0] += length_s - 1
    assert run_calls(ledger, 1) == 0
    clock[0] += length_s / 60 + 1
    assert run_calls(ledger, 1_000) == 100


def test_a_month_frees_with_the_calendar(processes: Any, clock: list[float]) -> None:
    """In UTC. Seen red: with 30 days."""
    clock[0] = float(calendar.timegm((2027, 2, 1, 0, 0, 0)))
    ledger, _ = processes(Budget(limit_usd=1.0, per="month"))
    assert run_calls(ledger, 200) == 100
    clock[0] = float(calendar.timegm((2027, 2, 28, 23, 59, 59)))
    assert run_calls(ledger, 1) == 0
    clock[0] += 1
    assert run_calls(ledger, 200) == 100


def test_a_clock_that_is_set_back_frees_nothing(processes: Any, clock: list[float]) -> None:
    """Neither for this process nor for one that starts then. Seen red: with the slot taken from the clock alone."""
    ledger, _ = processes(Budget(limit_usd=1.0, per="hour"))
    assert run_calls(ledger, 50) == 50
    ledger.give_back(at_once=True)
    clock[0] -= 86_400
    assert run_calls(ledger, 1_000) == 50
    later, _ = processes(Budget(limit_usd=1.0, per="hour"))
    assert run_calls(later, 1) == 0
    clock[0] += 86_400  # set right: what was spent meanwhile is no day old
    assert run_calls(later, 1) == 0


def test_more_than_was_set_aside_is_charged_later(processes: Any) -> None:
    """The cost of a call that nobody knew before it ran. Seen red: with a rest below 0 not returned."""
    ledger, _ = processes(Budget(limit_usd=1.0, per="day"))
    call = ToolCall("ocr")
    ledger.admit(call, None)
    call._ensure_details().cost_nanousd = 90 * CENT
    call._admission.settle(call)
    ledger.give_back()
    other, _ = processes(Budget(limit_usd=1.0, per="day"))
    assert run_calls(other, 100) == 10


def test_what_a_process_has_leased_goes_back_when_it_is_idle(processes: Any) -> None:
    """At the second tick without a call. Seen red: with `give_back` only at the end."""
    ledger, sums = processes(Budget(limit_usd=1.0, per="day"))
    run_calls(ledger, 1)
    ledger.give_back()
    ledger.give_back()
    assert sums.ledger.exchange(Account("usd/day", "day", "usd"), 10**9, 0, 0).spent == CENT


def test_name_window_and_unit_make_one_budget(processes: Any) -> None:
    """And each process holds its own limit against the sum. Seen red: with the limit in the key."""
    small, _ = processes(Budget(limit_usd=0.5, per="day", name="daily"))
    large, _ = processes(Budget(limit_usd=1.0, per="day", name="daily"))
    another, _ = processes(Budget(limit_usd=1.0, per="hour", name="daily"))
    assert run_calls(small, 100) == 50
    assert run_calls(large, 100) == 50
    assert run_calls(another, 100) == 100


def test_a_budget_per_run_stays_in_its_process(processes: Any) -> None:
    """Its sums are nobody else's. Seen red: with `run` among the shared windows."""
    first, _ = processes(Budget(limit_usd=1.0))
    second, sums = processes(Budget(limit_usd=1.0))
    assert (run_calls(first, 200), run_calls(second, 200)) == (100, 100)
    assert sums.grants == []


def test_a_store_out_of_reach_is_told_and_paid_later(processes: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The process then counts for itself: the limit holds for what it knows. Seen red: with every call refused."""
    ledger, sums = processes(Budget(limit_usd=1.0, per="day"))
    sums.is_reachable = False
    assert run_calls(ledger, 1_000) == 100
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot reach its store" in caplog.text
    sums.is_reachable = True
    ledger.give_back()
    other, _ = processes(Budget(limit_usd=1.0, per="day"))
    assert run_calls(other, 1) == 0


def test_the_status_is_that_of_all_processes(processes: Any) -> None:
    """Also in one that has spent nothing yet. Seen red: with the process's own sum shown."""
    first, _ = processes(Budget(limit_usd=1.0, per="day"))
    run_calls(first, 25)
    first.give_back(at_once=True)
    second, _ = processes(Budget(limit_usd=1.0, per="day"))
    (status,) = second.status()
    assert (status["spent"], status["remaining"], status["limit"]) == (0.25, 0.75, 1.0)
    with pytest.raises(BudgetExceeded) as caught:
        second.admit(ToolCall("ocr"), 10**9)
    assert (caught.value.spent, caught.value.limit) == (0.25, 1.0)
    assert caught.value.frees_in_s


def test_most_of_the_common_limit_is_warned_of_once(processes: Any) -> None:
    """`warn_at` is a share of what all have spent. Seen red: with the lease compared."""
    seen: list[Any] = []
    budget = Budget(limit_usd=1.0, per="day", warn_at=0.8, on_warn=seen.append)
    first, _ = processes(budget)
    second, _ = processes(budget)
    assert run_calls(first, 70) == 70
    first.give_back(at_once=True)
    assert seen == []
    assert run_calls(second, 25) == 25
    assert len(seen) == 1


def test_a_setup_with_a_store_shares_its_budgets(tmp_path: Path) -> None:
    """A second run goes on where the first stopped. Seen red: with `share_budgets` not called."""

    @monitored("ocr", cost=0.25)
    def ocr() -> None: ...

    for expected in (3, 1, 0):
        setup(SQLiteStore(tmp_path / "runs.db"), budget=Budget(limit_usd=1.0, per="day", name="daily"))
        ran = 0
        while ran < 3:
            try:
                ocr()
            except BudgetExceeded:
                break
            ran += 1
        assert ran == expected
        monitor = get_monitor()
        assert monitor is not None
        assert monitor.budgets["daily"].remaining() == pytest.approx(1.0 - 0.25 * {3: 3, 1: 4, 0: 4}[expected])
        assert shutdown()


def test_a_second_setup_with_the_store_loses_nothing_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its budgets go on, so there is no loss to warn of. Seen red: with every spent budget told as lost."""
    monkeypatch.setattr("toolweaver_monitor._runtime.setup._has_warned", False)
    metrics = MetricsCollector()
    for _ in range(2):
        monitor = setup(SQLiteStore(tmp_path / "runs.db"), metrics, budget=Budget(limit_usd=1.0, per="day", name="d"))
        with track("ocr") as call:
            call.record(cost=0.25)
        assert monitor.flush()
    assert monitor.budgets["d"].remaining() == 0.5
    assert caplog.text == ""


def test_a_store_that_is_locked_stops_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for less than a second, once, and `health()` says that the limit is that of this process meanwhile.

    Seen red: with the error of the lock let through; without a problem; with each call waiting for the lock.
    """
    requests: list[object] = []
    request = StoreLedger.request
    monkeypatch.setattr(StoreLedger, "request", lambda *of: requests.append(of) or request(*of))
    monkeypatch.setattr("toolweaver_monitor._runtime.shared_budgets.RETRY_S", 1.0)
    path = tmp_path / "runs.db"
    monitor = setup(SQLiteStore(path), budget=Budget(limit_usd=100.0, per="day", name="daily"))
    with LockFile(path.with_name("runs.db.lock")).held(1):
        for _ in range(10):
            with track("ocr") as call:
                call.record(cost=5.0)
        assert len(requests) < 5
        (problem,) = (text for text in monitor.health()["problems"] if text.startswith("budget"))
        assert problem.startswith(f"budget 'daily' counts this process only: {path} is busy")
    assert monitor.flush()
    with track("ocr"):
        wait_until(lambda: monitor.health()["problems"] == [])
    assert shutdown()
