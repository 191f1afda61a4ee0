"""Is a limit ever passed, and do the books ever differ from what was spent, whatever the schedule?"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from interleaving import in_threads

from toolweaver_monitor.budget import Budget, Ledger
from toolweaver_monitor.call import ToolCall
from toolweaver_monitor.errors import BudgetExceeded
from toolweaver_monitor.values import NANO

CENT = NANO // 100
RESERVE = 5

costs = st.integers(0, RESERVE)
plan = st.lists(st.tuples(costs, st.booleans(), st.sampled_from(["acme", "globex"]), st.integers(0, 3)), max_size=40)
"""For each call: cents, whether they are known before, the customer, and how often it lets others go first."""
limits = st.tuples(st.integers(0, 60), st.sampled_from(["run", "minute"]), st.one_of(st.none(), st.integers(0, 20)))


def budgets(limit: int, per: Any, calls: int | None) -> list[Budget]:
    """Dollars in all and for each customer, and perhaps calls."""
    found = [
        Budget(limit_usd=limit / 100, reserve=min(RESERVE, limit) / 100, per=per),
        Budget(limit_usd=max(1, limit // 2) / 100, reserve=min(RESERVE, max(1, limit // 2)) / 100, tag="customer"),
    ]
    return found if calls is None else [*found, Budget(limit_calls=calls)]


class Watched:
    """Calls against a ledger; looks into the books at every step."""

    def __init__(self, limit: tuple[int, Any, int | None]) -> None:
        self.budgets = budgets(*limit)
        self.most = min(budget.reserve_nanousd // CENT for budget in self.budgets if budget.reserve is not None)
        self.ledger = Ledger(self.budgets, now=lambda: 0.0)
        self.spent: dict[str, int] = {}
        self.ran = 0
        self.refused = 0
        self.lock = threading.Lock()

    def open(self, cents: int, known: bool, customer: str) -> ToolCall | None:
        call = ToolCall("ocr")
        call.record(customer=customer)
        try:
            self.ledger.admit(call, cents * CENT if known else None)
        except BudgetExceeded:
            with self.lock:
                self.refused += 1
            return None
        return call

    def close(self, call: ToolCall, cents: int, customer: str, parts: int) -> None:
        for part in range(parts):  # said while it runs, as a stream does
            call.record(cost=cents / 100 if not part else 0.0)
        call.say().cost_nanousd = cents * CENT
        admission, call.admission = call.admission, None
        if admission is not None:
            admission.settle(call)
        with self.lock:
            self.ran += 1
            self.spent[customer] = self.spent.get(customer, 0) + cents

    def look(self) -> None:
        for entry in self.ledger.status():
            assert round((entry["spent"] + entry["reserved"]) * NANO) <= round(entry["limit"] * NANO), entry

    def check(self) -> None:
        self.look()
        for entry in self.ledger.status():
            assert entry["reserved"] == 0
            if entry["unit"] == "calls":
                assert entry["spent"] == self.ran
            else:
                of = self.spent.values() if entry["account"] is None else [self.spent.get(entry["account"], 0)]
                assert round(entry["spent"] * 100) == sum(of)
        assert sum(self.ledger.rejections.values()) == self.refused


@settings(max_examples=200, deadline=None)
@given(limits, plan)
def test_no_limit_is_passed_by_tasks_in_any_order(limit: Any, calls: list[Any]) -> None:
    """With a reserve no smaller than any cost, spent and set aside never exceed a limit, and the books are exact."""
    watched = Watched(limit)

    async def run(cents: int, known: bool, customer: str, turns: int) -> None:
        cents = min(cents, watched.most)
        call = watched.open(cents, known, customer)
        watched.look()
        for _ in range(turns):
            await asyncio.sleep(0)
        if call is not None:
            watched.close(call, cents, customer, turns)
        watched.look()

    async def all_at_once() -> None:
        await asyncio.gather(*(run(*call) for call in calls))

    asyncio.run(all_at_once())
    watched.check()


@settings(max_examples=25, deadline=None)
@given(limits, plan, st.integers(0, 2**32))
def test_no_limit_is_passed_by_threads_in_any_order(limit: Any, calls: list[Any], seed: int) -> None:
    """The same from four threads that take turns as often as the interpreter can."""
    watched = Watched(limit)
    order = random.Random(seed)
    shares = [[call for call in calls if order.random() < 0.5] for _ in range(4)]
    ready = threading.Barrier(4)

    def work(share: list[Any]) -> None:
        ready.wait(10)
        for asked, known, customer, turns in share:
            cents = min(asked, watched.most)
            call = watched.open(cents, known, customer)
            watched.look()
            if call is not None:
                watched.close(call, cents, customer, turns)

    in_threads(work, shares)
    watched.check()
