"""Under any schedule no limit is exceeded, and the books match what was spent."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import threading
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interleaving import in_threads

from toolweaver_monitor import setup, track
from toolweaver_monitor._budget import Budget, Ledger, scope
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor.errors import BudgetExceeded

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


ROOM = 3
steps = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 4), st.booleans(), st.sampled_from([0, 1, 15, 59, 62])),
    max_size=40,
)
"""For each: the customer, cents, whether a call that runs ends before it opens another, and seconds that pass."""

WAS_IN_USE_AGAIN = [
    (3, 0, False, 0), (1, 0, True, 0), (0, 0, False, 59), (1, 0, True, 0), (0, 0, True, 15), (2, 0, True, 59),
    (8, 0, False, 0), (8, 0, False, 15), (3, 0, True, 59), (1, 0, True, 15), (1, 0, True, 0), (0, 0, True, 0),
    (0, 0, True, 0), (0, 0, True, 0), (0, 1, True, 0),
]  # fmt: skip
"""What was not in use when it was looked at is, when room is wanted; so all have to be looked at again."""


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
        call._ensure_details().cost_nanousd = cents * CENT
        admission, call._admission = call._admission, None
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


class Customers:
    """Two ledgers with one limit for each customer are asked the same; `tight` has room for few customers only."""

    def __init__(self, limit_usd: float) -> None:
        self.now_s = 0
        budget = Budget(limit_usd=limit_usd, per="minute", tag="customer")
        self.tight, self.spacious = (Ledger([budget], now=lambda: self.now_s) for _ in range(2))
        self.running: list[tuple[str, list[ToolCall]]] = []
        self.last_seen_s: dict[str, int] = {}

    def active(self) -> set[str]:
        """Those who have a call running, or have had one in the last window and one slot more."""
        recent = {customer for customer, at_s in self.last_seen_s.items() if self.now_s - at_s < 62}
        return recent | {customer for customer, _ in self.running}

    def open(self, customer: str) -> None:
        """Open a call in both, which agree whether it may run."""
        calls = []
        for ledger, room in ((self.tight, ROOM), (self.spacious, 2_000)):
            call = ToolCall("ocr")
            call.record(customer=customer)
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(BudgetExceeded):
                patch.setattr(scope, "MAX_ACCOUNTS", room)
                ledger.admit(call, None)
                calls.append(call)
        assert len(calls) != 1
        self.last_seen_s[customer] = self.now_s
        if calls:
            self.running.append((customer, calls))

    def end_one(self, cents: int) -> None:
        """End the call that has run for longest."""
        if self.running:
            customer, calls = self.running.pop(0)
            self.last_seen_s[customer] = self.now_s
            for call in calls:
                call._ensure_details().cost_nanousd = cents * CENT
                admission, call._admission = call._admission, None
                admission.settle(call)


@settings(max_examples=300, deadline=None)
@example(WAS_IN_USE_AGAIN)
@given(steps)
def test_accounts_that_are_not_in_use_take_no_room(steps: list[tuple[int, int, bool, int]]) -> None:
    """As long as no more customers are active than there is room for, each has a limit of its own, and it is exact."""
    asked = Customers(limit_usd=0.05)
    for number, cents, ends, passed_s in steps:
        if ends:
            asked.end_one(cents)
        active = sorted(asked.active())
        asked.open(f"c{number}" if len(active) < ROOM else active[number % ROOM])
        ours, theirs = ({e["account"]: e for e in ledger.status()} for ledger in (asked.tight, asked.spacious))
        assert len(ours.keys() - {scope.OVERFLOW}) <= ROOM
        assert ours.get(scope.OVERFLOW, {"spent": 0})["spent"] == 0
        assert all(ours[account]["spent"] == entry["spent"] for account, entry in theirs.items() if entry["spent"])
        assert asked.tight.rejections == asked.spacious.rejections
        asked.now_s += passed_s


@settings(max_examples=300, deadline=None)
@given(steps)
def test_nothing_that_was_spent_goes_with_an_account(steps: list[tuple[int, int, bool, int]]) -> None:
    """However many customers there are, and however long their calls run, all accounts together hold what was spent."""
    asked = Customers(limit_usd=1_000)
    for number, cents, ends, passed_s in steps:
        if ends:
            asked.end_one(cents)
        asked.open(f"c{number}")
        asked.now_s += passed_s
        ours, theirs = (sum(e["spent"] for e in ledger.status()) for ledger in (asked.tight, asked.spacious))
        assert round(ours * 100) == round(theirs * 100)


Tree = tuple[int | None, bool, list[Any]]
"""A call's cents, or None if its cost stays unknown; whether the calls inside it run at once; and those calls."""


def afford(tree: Tree, left: int = RESERVE) -> Tree:
    """Return the tree with no call that costs more than the calls around it leave; unknown counts as the reserve."""
    cents, at_once, inside = tree
    charged = min(RESERVE if cents is None else cents, left)
    cents = None if cents is None and charged == RESERVE else charged
    return cents, at_once, [afford(one, left - charged) for one in inside]


trees = st.recursive(
    st.tuples(st.one_of(st.none(), st.integers(0, RESERVE)), st.booleans(), st.just([])),
    lambda inside: st.tuples(st.integers(0, RESERVE), st.booleans(), st.lists(inside, max_size=4)),
    max_leaves=15,
).map(afford)


@settings(max_examples=100, deadline=None)
@given(st.integers(RESERVE, 40), st.booleans(), st.lists(trees, min_size=1, max_size=3))
def test_nested_reserves_and_unknown_costs_keep_to_the_limit(limit: int, several: bool, work: list[Tree]) -> None:
    """Calls inside calls take over their reserves, unknown costs are charged one, and nothing is charged twice.

    Seen red: with unknown costs counted as 0; with the whole reserve given back; with one reserve lent twice.
    """
    budget = Budget(limit_usd=limit / 100, reserve=RESERVE / 100)
    with setup(budget=[budget, Budget(limit_calls=10**6)] if several else budget) as monitor:
        charged = [0, 0]

        def look() -> dict[str, Any]:
            entry: dict[str, Any] = dict(monitor._components.budgets()[0])
            assert round((entry["spent"] + entry["reserved"]) * 100) <= limit, entry
            return entry

        async def run(tree: Tree) -> None:
            cents, at_once, inside = tree
            with contextlib.suppress(BudgetExceeded):
                async with track("tool") as call:
                    look()
                    await asyncio.sleep(0)
                    if at_once:
                        await asyncio.gather(*map(run, inside))
                    else:
                        for one in inside:
                            await run(one)
                    if cents is None:
                        call.record(model="a-model-without-a-price")
                        charged[1] += 1
                    else:
                        call.record(cost=cents / 100)
                        charged[0] += cents
                look()

        async def all_at_once() -> None:
            await asyncio.gather(*map(run, work))

        asyncio.run(all_at_once())
        monitor.summary()
        entry = look()
        assert (round(entry["spent"] * 100), entry["reserved"]) == (charged[0] + charged[1] * RESERVE, 0)
        assert entry["unknown_cost_calls"] == charged[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(RESERVE, 40), st.sampled_from(["run", "minute", "month"]), st.lists(trees, min_size=2, max_size=4))
def test_nested_reserves_of_threads_keep_to_the_limit(limit: int, per: Any, work: list[Tree]) -> None:
    """The same from threads that take turns as often as the interpreter can, with calls inside calls of other threads.

    Seen red: with unknown costs counted as 0; with the whole reserve given back.
    """
    charged, counting = [0, 0], threading.Lock()
    with setup(budget=Budget(limit_usd=limit / 100, reserve=RESERVE / 100, per=per)) as monitor:
        ledger = monitor._components.ledger
        assert ledger is not None

        def look() -> dict[str, Any]:
            entry: dict[str, Any] = dict(ledger.status()[0])
            assert round((entry["spent"] + entry["reserved"]) * 100) <= limit, entry
            return entry

        def run(tree: Tree) -> None:
            cents, at_once, inside = tree
            with contextlib.suppress(BudgetExceeded), track("tool") as call:
                look()
                if at_once and inside:
                    contexts = [contextvars.copy_context() for _ in inside]
                    in_threads(lambda pair: pair[0].run(run, pair[1]), list(zip(contexts, inside, strict=True)))
                else:
                    for one in inside:
                        run(one)
                if cents is None:
                    call.record(model="a-model-without-a-price")
                else:
                    call.record(cost=cents / 100)
                with counting:
                    charged[cents is None] += RESERVE if cents is None else cents
            look()

        in_threads(run, work)
        monitor.summary()
        entry = look()
        assert (round(entry["spent"] * 100), entry["reserved"]) == (sum(charged), 0)
        assert entry["unknown_cost_calls"] * RESERVE == charged[1]


@settings(max_examples=50, deadline=None)
@given(trees)
def test_calls_one_at_a_time_are_refused_only_when_the_money_is_spent(tree: Tree) -> None:
    """However deep calls are nested, a limit of what all cost and one reserve lets each of them run."""
    refused: list[BudgetExceeded] = []

    def cost(tree: Tree) -> int:
        return (RESERVE if tree[0] is None else tree[0]) + sum(map(cost, tree[2]))

    def run(tree: Tree) -> None:
        try:
            with track("tool") as call:
                for one in tree[2]:
                    run(one)
                if tree[0] is None:
                    call.record(model="a-model-without-a-price")
                else:
                    call.record(cost=tree[0] / 100)
        except BudgetExceeded as refusal:
            refused.append(refusal)

    with setup(budget=Budget(limit_usd=(cost(tree) + RESERVE) / 100, reserve=RESERVE / 100)):
        run(tree)
    assert not refused
