"""The books under forks, signals, Ctrl-C and finalizers."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from ledger_kit import CENT, books, ended, opened, refused

from toolweaver_monitor import monitored, setup
from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.sanitize import NANO

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
        with locks.live_locks()["budget ledger"][-1]:  # type: ignore[attr-defined]
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
    """Have a signal handler run a few microseconds after it ran last: a slow machine gets on between two, too.

    An alarm that comes while CPython 3.11 is just done with one can wait for the next: so there is one, 5 ms later.
    """

    def __init__(self, handler: Callable[[], object], after_s: float) -> None:
        self.handler, self.after_s = handler, after_s

    def ring(self, *_: object) -> None:
        self.handler()
        signal.setitimer(signal.ITIMER_REAL, self.after_s, 0.005)

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, self.after_s, 0.005)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")


@signals
@pytest.mark.parametrize("budgets", ALL_WAYS, ids=["run", "minute", "several"])
def test_a_signal_handler_that_spends_finds_and_leaves_balanced_books(budgets: list[Budget]) -> None:
    """Re-entry at a thousand points of admit, note and settle: no deadlock, not a nano-dollar wrong."""
    ledger = Ledger(budgets)
    spent = [0, 0]

    def handler() -> None:
        ended(opened(ledger, 3, customer="acme"), cost=Decimal("0.000000003"))
        spent[1] += 1

    with alarms(handler, 60e-6):
        until = time.monotonic() + 10
        while spent[1] < 1_000 and time.monotonic() < until:
            for _ in range(50):
                call = opened(ledger, 5, customer="acme")
                call.record(cost=Decimal("0.000000002"))
                ended(call, cost=Decimal("0.000000005"))
            spent[0] += 50
    assert spent[1] >= 1_000
    for row in ledger.status():
        calls = spent[0] + spent[1]
        assert row["reserved"] == 0
        assert row["spent"] == (calls if row["unit"] == "calls" else (7 * spent[0] + 3 * spent[1]) / NANO)


class CtrlC:
    """Interrupts the block it is given, at another moment each time; a late one does not strike the test itself."""

    def __init__(self) -> None:
        self.expected = False
        self.raised = self.caught = 0

    def interrupt(self, *_: object) -> None:
        if self.expected:
            self.expected = False
            self.raised += 1
            raise KeyboardInterrupt

    def _repeat(self, work: Callable[[], object]) -> None:
        while self.expected:  # a frame of its own: CPython 3.13 may leave a `try` around a loop when it jumps back
            work()

    def strike(self, work: Callable[[], object], times: int) -> None:
        """Run `work` again and again until the interrupt."""
        before = signal.signal(signal.SIGALRM, self.interrupt)
        gc.disable()  # its callbacks swallow what is raised in them
        try:
            for attempt in range(times):
                try:
                    self.expected = True
                    signal.setitimer(signal.ITIMER_REAL, 1e-4 + attempt * 7e-7, 0.005)  # again, as in `alarms`
                    self._repeat(work)
                except KeyboardInterrupt:
                    self.caught += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.enable()


@signals
@pytest.mark.parametrize("budgets", ALL_WAYS, ids=["run", "minute", "several"])
def test_a_ctrl_c_at_any_moment_leaves_no_lock_held_and_no_money_set_aside(budgets: list[Budget]) -> None:
    """KeyboardInterrupt inside the books: others go on, and what the broken call held comes back."""
    ledger = Ledger(budgets)
    ctrl_c, done, undrained = CtrlC(), 0, []

    def spend() -> None:
        nonlocal done
        call = opened(ledger, 5, customer="acme")
        undrained.append(call)
        ended(call, cost=Decimal("0.000000005"))
        done += 1

    ctrl_c.strike(spend, times=150)
    assert ctrl_c.caught == ctrl_c.raised == 150
    undrained.clear()
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


@signals
@pytest.mark.parametrize("costs", [{"cost": Decimal("0.000000003")}, {"model": "a-model"}], ids=["known", "unknown"])
def test_a_ctrl_c_at_any_moment_leaves_no_reserve_taken_over(costs: Any) -> None:
    """What a broken call took over from the call around it, and what that has left, comes back."""
    ledger = Ledger([Budget(limit_usd=1_000_000, reserve=Decimal("0.000000005")), Budget(limit_tokens=1)])
    ctrl_c, undrained = CtrlC(), []

    def spend() -> None:
        around = opened(ledger)
        undrained.append(around)
        current.set(around)
        inside = opened(ledger)
        undrained.append(inside)
        ended(inside, **costs)
        ended(around)

    ctrl_c.strike(lambda: contextvars.copy_context().run(spend), times=150)
    assert ctrl_c.caught == ctrl_c.raised == 150
    undrained.clear()
    gc.collect()
    (row, _) = ledger.status()
    assert row["reserved"] == 0
    assert row["spent"] > 0


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


@signals
def test_a_ctrl_c_between_calls_is_never_swallowed() -> None:
    """Python ignores what is raised in a `__del__`, so none of this library's runs on the thread that calls.

    Seen red: 8 of 100 were swallowed while a call gave up its admission when it ended.
    """
    monitor = setup(budget=Budget(limit_usd=1_000_000))

    @monitored("ocr", cost=0.01)
    def ocr() -> None:
        pass

    ctrl_c = CtrlC()
    ctrl_c.strike(ocr, times=300)
    assert ctrl_c.caught == ctrl_c.raised == 300
    assert monitor.health()["budgets"][0]["reserved"] == 0
    monitor.shutdown()
