"""Limits that hold when everything runs at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_kit import CENT, books, ended, opened, pinched_switches

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import BudgetExceeded


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
    closed: list[ToolCall] = []

    def in_thread(_: int) -> None:
        try:
            call = opened(ledger, known, customer="acme")
        except BudgetExceeded:
            return
        calls.append(call)
        if len(calls) % 3 == 0:
            closed.append(ended(call, cost=0.01))

    with pinched_switches(), ThreadPoolExecutor(8) as pool:
        list(pool.map(in_thread, range(1_000)))
    assert len(calls) == 500
    for call in calls:
        if call not in closed:
            ended(call, cost=0.01)
    assert books(ledger) == (5.0, 0.0)
