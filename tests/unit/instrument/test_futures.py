"""A call whose function returns a future ends with it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from toolweaver_monitor import Budget, ToolCall, monitored, setup, track

ANSWER = {"model": "m", "usage": {"prompt_tokens": 100, "completion_tokens": 20}}
PRICES = {"m": {"input": 1.0, "output": 5.0}}


@pytest.mark.parametrize(
    ("end", "outcome", "spent"),
    [
        (lambda future: future.set_result(dict(ANSWER)), "success", 0.0002),
        (lambda future: future.set_exception(LookupError("no such page")), "failure", 0.0),
        (lambda future: future.cancel(), "cancelled", 0.0),
    ],
)
def test_a_future_of_an_executor_ends_its_call(end: Any, outcome: str, spent: float) -> None:
    """With its outcome and its figures; until then the budget's reserve is set aside. It keeps nothing of its context.

    Seen red: the call was a success that used nothing, and ended when the work was submitted.
    """
    future: Future[Any] = Future()
    calls: list[ToolCall] = []
    monitor = setup(calls.append, prices=PRICES, budget=Budget(limit_usd=1, reserve=0.5))
    assert monitored("submit")(lambda: future)() is future
    assert monitor.health()["budgets"][0]["reserved"] == 0.5
    end(future)
    (operation,) = monitor.metrics.operations
    assert (operation["outcome"], operation["cost"]) == (outcome, spent)
    assert monitor.health()["budgets"][0]["reserved"] == 0
    monitor.flush()
    assert [call._token for call in calls] == [None]


@pytest.mark.parametrize("answer", [lambda found: found, dict])
def test_what_a_future_brings_is_handed_on_by_the_call_around(answer: Any) -> None:
    """The agent awaits a task that a function inside it has started, and returns what it brings, or a copy.

    Seen red: the copy was charged again, and the very same answer counted as served from a cache.
    """

    async def work() -> dict[str, Any]:
        await asyncio.sleep(0)
        return dict(ANSWER)

    ask = monitored("ask")(lambda: asyncio.ensure_future(work()))

    @monitored("agent")
    async def agent() -> Any:
        return answer(await ask())

    async def main() -> Any:
        with track("session") as session:
            await agent()
            with track("next") as call:
                pass
        return session, call

    monitor = setup(prices=PRICES, budget=Budget(limit_usd=1, reserve=0.5))
    session, call = asyncio.run(main())
    assert monitor.summary()["total_tokens"] == 120
    assert monitor.health()["budgets"][0]["spent"] == 0.0002
    assert [monitor.costs.by("tool")["agent"][name] for name in ("cache_hits", "saved_usd")] == [0, 0.0]
    assert monitor.costs.of(session)["cost_usd"] == 0.0002
    assert call.parent_id == session.call_id
