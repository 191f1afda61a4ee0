"""The calls that a budget applies to, and their accounts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from ledger_kit import CENT, Clock, books, ended, opened, refused

from toolweaver_monitor import BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._budget import scope as scope_module
from toolweaver_monitor._budget.meter import Meter
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.sanitize import NANO


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
    for number in range(scope_module.MAX_ACCOUNTS + 2):
        opened(ledger, customer=f"c{number}")
    assert len(ledger.status()) == scope_module.MAX_ACCOUNTS + 1
    assert refused(ledger, customer="yet another").budget == "calls/run by customer"
    opened(ledger, customer="c7")
    refused(ledger, customer="c7")


def dividing(_: BudgetExceeded) -> float:
    return 1 / 0


@pytest.mark.parametrize("on_exceed", ["raise", lambda error: False, dividing])
def test_a_refusal_that_is_kept_keeps_no_account(monkeypatch: pytest.MonkeyPatch, on_exceed: Any) -> None:
    """Its traceback holds neither the account nor, in a loop, itself: both go without the garbage collector."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 1)
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="minute", on_exceed=on_exceed)], now=clock)
    ended(opened(ledger, customer="acme"), cost=1)
    gc.disable()
    try:
        try:
            opened(ledger, CENT, customer="acme")
        except BudgetExceeded as refusal:
            gone = weakref.ref(refusal)
            clock.now_s += 100
            opened(ledger, customer="globex")
    finally:
        gc.enable()
    assert gone() is None or on_exceed is dividing  # whose own frame, in the cause's traceback, has the refusal
    assert [entry["account"] for entry in ledger.status()] == ["__overflow__", "globex"]
    assert ledger.rejections == {next(iter(ledger.rejections)): 1}


def test_an_account_stays_while_the_price_of_a_call_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call cost that ended before its price was known is charged to its customer, however late."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 1)
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="minute")], now=clock)
    call = ended(opened(ledger, customer="acme"), model="a-model")
    clock.now_s += 100
    opened(ledger, customer="zeta")
    call._admission.charge(NANO)
    assert {entry["account"]: entry["spent"] for entry in ledger.status()} == {"acme": 1.0, "__overflow__": 0.0}
    call._admission = None  # as enrichment leaves it
    clock.now_s += 100
    opened(ledger, customer="globex")
    assert [entry["account"] for entry in ledger.status()] == ["__overflow__", "globex"]


def test_a_call_that_has_ended_and_is_not_drained_keeps_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without I/O sinks calls wait until a reader counts them; their accounts make room all the same."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 1)
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, limit_calls=5, tag="customer", per="minute")], now=clock)
    kept = ended(opened(ledger, customer="acme"), cost=0.5)
    clock.now_s += 100
    opened(ledger, customer="globex")
    assert {entry["account"] for entry in ledger.status()} == {"globex"}
    assert kept._admission is not None


def test_the_least_recently_used_account_that_is_idle_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is closed at a time; those that run, hold something or were used later stay."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 3)
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="minute")], now=clock)
    running = opened(ledger, customer="a")
    ended(opened(ledger, customer="b"))
    ended(opened(ledger, customer="c"))
    ended(opened(ledger, customer="b"))
    for new, accounts in (("d", "abd"), ("e", "ade"), ("f", "aef")):
        ended(opened(ledger, customer=new))
        assert "".join(entry["account"] for entry in ledger.status()) == accounts
    ended(running, cost=0.5)
    opened(ledger, customer="g")
    assert {entry["account"]: entry["spent"] for entry in ledger.status()} == {"a": 0.5, "f": 0.0, "g": 0.0}


def test_a_search_for_an_idle_account_that_finds_none_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of made-up customers costs one look at all accounts per slot of the window."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 3)
    looks = 0
    is_idle = Meter.is_idle

    def counted(meter: Meter) -> bool:
        nonlocal looks
        looks += 1
        return is_idle(meter)

    monkeypatch.setattr(Meter, "is_idle", counted)
    clock = Clock()
    ledger = Ledger([Budget(limit_calls=1, tag="customer", per="minute")], now=clock)
    for customer in "abc":
        opened(ledger, customer=customer)
    for number in range(50):
        with contextlib.suppress(BudgetExceeded):
            opened(ledger, customer=f"c{number}")
        clock.now_s += 0.1
    assert looks <= 3 * 6


def test_an_account_that_a_signal_handler_closes_in_between_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is never charged to an account that is gone: it is admitted again."""
    clock = Clock()
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="minute")], now=clock)
    (scope,) = ledger.scopes
    opened(ledger, customer="acme")
    find_meters = scope.find_meters
    closed = []

    def interrupted(call: ToolCall) -> tuple[Meter, ...]:
        meters = find_meters(call)
        if not closed:
            closed.append(scope._close_if_idle("acme"))
        return meters

    monkeypatch.setattr(scope, "find_meters", interrupted)
    ended(opened(ledger, customer="acme"), cost=0.25)
    assert closed == [True]
    assert books(ledger) == (0.25, 0.0)


def test_an_account_that_a_signal_handler_uses_while_it_is_being_closed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is admitted between the look at an account and its closing finds its customer's account after."""
    ledger = Ledger([Budget(limit_usd=1, tag="customer", per="minute")], now=Clock())
    opened(ledger, customer="acme")
    is_idle, admitted = Meter.is_idle, []

    def interrupted(meter: Meter) -> bool:
        idle = is_idle(meter)
        admitted.append(opened(ledger, customer="acme"))
        return idle

    monkeypatch.setattr(Meter, "is_idle", interrupted)
    assert not ledger.scopes[0]._close_if_idle("acme")
    ended(admitted[0], cost=0.25)
    assert books(ledger) == (0.25, 0.0)


def test_an_account_stays_open_while_its_refusal_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `on_exceed` decides is counted with its customer, even if another one needs room meanwhile."""
    monkeypatch.setattr(scope_module, "MAX_ACCOUNTS", 1)

    def ask(_: BudgetExceeded) -> bool:
        opened(ledger, 0, customer="globex")
        return answers.pop()

    answers = [False, True]
    ledger = Ledger([Budget(limit_usd=0, tag="customer", per="minute", on_exceed=ask)], now=Clock())
    opened(ledger, customer="acme")
    refused(ledger, customer="acme")
    entries = {entry["account"]: (entry["overruns"], entry["rejections"]) for entry in ledger.status()}
    assert entries == {"acme": (1, 1), "__overflow__": (0, 0)}


@pytest.mark.parametrize("tag", ["customer", "customer=acme"])
def test_a_call_without_the_tag_counts_where_the_call_around_it_counts(tag: str) -> None:
    """A workflow tagged with its customer pays for the tools inside it, however deep; a tool's own tag goes first."""
    ledger = Ledger([Budget(limit_usd=1, tag=tag), Budget(limit_calls=100)])
    workflow = opened(ledger, customer="acme")
    outer = current.set(workflow)
    step = opened(ledger, 0)
    inner = current.set(step)
    ended(opened(ledger), cost=0.75)
    ended(opened(ledger, customer="zeta"), cost=0.125)
    current.reset(inner)
    ended(step)
    current.reset(outer)
    ended(workflow)
    ended(opened(ledger), cost=50)
    assert ledger.status()[0]["spent"] == 0.75


@pytest.mark.parametrize("tag", ["customer", "customer=acme"])
def test_a_budget_of_one_tool_and_a_tag_finds_the_tag_on_calls_of_other_tools_around(tag: str) -> None:
    """The receipt says whose it is, and the budget counts only what OCR costs: its calls have that customer's limit."""
    monitor = setup(budget=Budget(limit_calls=1, tool="ocr", tag=tag))
    for customer in ("acme", "zeta"):
        with track("receipt", customer=customer), track("step"):
            with track("ocr"):
                pass
            if customer == "acme":
                with pytest.raises(BudgetExceeded), track("ocr"):
                    pass
    with track("step"), track("ocr"):
        pass
    spent = {entry["account"]: entry["spent"] for entry in monitor.health()["budgets"]}
    assert spent == ({"acme": 1, "zeta": 1} if tag == "customer" else {None: 1})


@pytest.mark.parametrize("said_late", [False, True])
def test_what_a_call_has_started_counts_for_its_tag_when_it_has_ended_too(said_late: bool) -> None:
    """A task left running by a customer's request spends that customer's money, and is refused when it is gone."""
    monitor = setup(budget=Budget(limit_calls=2, tag="customer"))

    async def later(requested: asyncio.Event) -> None:
        await requested.wait()
        with track("ocr"):
            pass
        with pytest.raises(BudgetExceeded), track("ocr"):
            pass

    async def request() -> None:
        requested = asyncio.Event()
        with track("request", **({} if said_late else {"customer": "acme"})) as call:
            if said_late:
                call.record(customer="acme")
            task = asyncio.create_task(later(requested))
        requested.set()
        await task

    asyncio.run(request())
    assert [(entry["account"], entry["spent"]) for entry in monitor.health()["budgets"]] == [("acme", 2)]


@pytest.mark.parametrize("way", ["block", "function", "generator"])
def test_a_call_that_records_its_tag_while_it_runs_is_charged_to_that_account(way: str) -> None:
    """From then on, also if it began under another. It is not refused, which a note says; calls after it are.

    Seen red: what it used counted for the account around it, or for none.
    """
    monitor = setup(budget=Budget(limit_usd=0.25, tag="customer", name="b", reserve=0.1))

    def spend() -> None:
        current_call().record(cost=0.04)
        current_call().record(customer="acme", cost=0.06)

    def items() -> Iterator[int]:
        spend()
        yield 1

    def run() -> None:
        if way == "block":
            with track("tool"):
                spend()
        elif way == "function":
            monitored("tool")(spend)()
        else:
            list(monitored("tool")(items)())

    run()
    with track("session", customer="globex"):
        run()
    assert [entry["spent"] for entry in monitor.health()["budgets"]] == [0.2, 0.0]
    assert not [note for note in monitor.health()["notes"] if "'tool'" in note]
    run()
    remaining = {name: monitor.budgets["b"].remaining(name) for name in ("acme", "globex")}
    assert remaining == {"acme": 0.0, "globex": 0.25}
    assert monitor.costs.by_tag("customer")["acme"]["cost_usd"] == pytest.approx(0.3)
    (note,) = [note for note in monitor.health()["notes"] if "'tool'" in note]
    assert note == (
        "no budget by customer refuses 'tool', which records that tag while it runs; give it to track(...) or "
        "tagged(...) before"
    )
    with pytest.raises(BudgetExceeded), track("next", customer="acme"):
        pass


def test_a_limit_of_calls_counts_one_whose_tag_comes_late() -> None:
    """Once, however often it is noted, and calls that are handed in count once as well."""
    monitor = setup(budget=Budget(limit_calls=9, tag="customer"))
    with track("tool") as call:
        call.record(customer="acme")
        call.record(customer="acme", page=1)
    monitor.record("tool", duration_s=1, customer="acme")
    assert [entry["spent"] for entry in monitor.health()["budgets"]] == [2]
