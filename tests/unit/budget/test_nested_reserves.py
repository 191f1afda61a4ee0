"""The reserve of a call, and the calls inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, current_call, monitored, setup, track

SCOPES: list[list[Budget]] = [
    [Budget(limit_usd=0.25, reserve=0.10)],
    [Budget(limit_usd=0.25, reserve=0.10, per="minute"), Budget(limit_calls=100), Budget(limit_tokens=100)],
    [Budget(limit_usd=0.25, reserve=0.10, tag="customer")],
]
scopes = pytest.mark.parametrize("budgets", SCOPES, ids=["run", "several", "by tag"])


@monitored("llm")
def llm(cents: int = 2) -> None:
    current_call().record(cost=cents / 100)


@monitored("ocr", cost=0.02)
def ocr() -> None:
    pass


def money(monitor: Monitor) -> tuple[float, float]:
    """Return what is spent and what is set aside, in dollars."""
    entry = monitor.health()["budgets"][0]
    return round(entry["spent"], 9), round(entry["reserved"], 9)


@scopes
def test_a_call_takes_over_the_reserve_of_the_call_around_it(budgets: list[Budget]) -> None:
    """One call at a time needs one reserve, however deep it is; calls around it cost nothing themselves.

    Seen red: depth 3 was refused with $0 spent and $0.20 set aside.
    """
    monitor = setup(budget=budgets)
    with track("agent", customer="acme"):
        with track("step"):
            assert money(monitor) == (0.0, 0.1)
            llm()
            assert money(monitor) == (0.02, 0.08)
            llm()
            assert money(monitor) == (0.04, 0.08)
        with track("step"):
            assert money(monitor) == (0.04, 0.1)
    assert money(monitor) == (0.04, 0.0)


def test_a_tool_ten_levels_deep_runs_with_room_for_one_reserve() -> None:
    """A deep agent runs as long as its calls fit."""
    monitor = setup(budget=Budget(limit_usd=0.10, reserve=0.10))

    def nested(depth: int) -> None:
        with track(f"level {depth}"):
            nested(depth - 1) if depth else llm(10)

    nested(10)
    assert money(monitor) == (0.1, 0.0)


@scopes
async def test_each_of_several_calls_at_once_asks_for_a_reserve_of_its_own(budgets: list[Budget]) -> None:
    """The first takes over what the agent has set aside, the second asks for its own, and the third finds no room."""
    monitor = setup(budget=budgets)
    ran = []

    @monitored("chat")
    async def chat(number: int) -> None:
        ran.append(number)
        await asyncio.sleep(0)
        current_call().record(cost=0.10)

    async with track("agent", customer="acme"):
        answers = await asyncio.gather(*(chat(number) for number in range(3)), return_exceptions=True)
        assert ran == [0, 1]
        assert isinstance(answers[2], BudgetExceeded)
        assert money(monitor) == (0.2, 0.0)
    assert money(monitor) == (0.2, 0.0)


@scopes
def test_what_the_call_around_records_stays_with_it(budgets: list[Budget]) -> None:
    """A call that costs and has others inside needs room for both."""
    monitor = setup(budget=budgets)
    with track("agent", customer="acme") as agent:
        agent.record(cost=0.04)
        assert money(monitor) == (0.0, 0.1)
        with track("step"):
            assert money(monitor) == (0.0, 0.14)
            agent.record(cost=0.02)
            llm()
        assert money(monitor) == (0.02, 0.12)
    assert money(monitor) == (0.08, 0.0)


@scopes
def test_a_call_of_known_cost_takes_over_a_reserve_if_it_does_not_fit_otherwise(budgets: list[Budget]) -> None:
    """It is not refused while the call around it holds the room, and that keeps the reserve less its cost."""
    monitor = setup(budget=budgets)
    with track("warm up", customer="acme"):
        llm(15)
    with track("agent", customer="acme"):
        assert money(monitor) == (0.15, 0.1)
        ocr()
        assert money(monitor) == (0.17, 0.08)
        with pytest.raises(BudgetExceeded):
            ocr()
        assert money(monitor) == (0.17, 0.08)
    assert money(monitor) == (0.17, 0.0)


@scopes
def test_a_declared_cost_is_never_lent(budgets: list[Budget]) -> None:
    """What a call will surely cost stays set aside for it; a call inside it asks for a reserve of its own."""
    monitor = setup(budget=budgets)

    @monitored("parse", cost=0.05, tags={"customer": "acme"})
    def parse() -> None:
        assert money(monitor) == (0.0, 0.05)
        llm(10)
        assert money(monitor) == (0.1, 0.05)

    parse()
    assert money(monitor) == (0.15, 0.0)


@scopes
def test_a_refused_call_inside_gives_back_what_it_took_over(budgets: list[Budget]) -> None:
    """Nothing that a refused call asked for is lost to the call around it, in any of its budgets."""
    monitor = setup(budget=[*budgets, Budget(limit_calls=0, tool="never")])
    with track("agent", customer="acme"):
        with pytest.raises(BudgetExceeded), track("never"):
            pass
        assert money(monitor) == (0.0, 0.1)
        llm(10)
    assert money(monitor) == (0.1, 0.0)


@scopes
async def test_a_call_that_outlives_the_one_around_it_gives_back_to_the_budget(budgets: list[Budget]) -> None:
    """A task in the background keeps what it took over until it ends."""
    monitor = setup(budget=budgets)

    async def background() -> None:
        with track("late"):
            await asyncio.sleep(0.01)
            llm()

    async with track("agent", customer="acme"):
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
    assert money(monitor) == (0.0, 0.1)
    await task
    assert money(monitor) == (0.02, 0.0)


@scopes
def test_a_stream_that_outlives_the_step_it_began_in_gives_back_to_the_agent(budgets: list[Budget]) -> None:
    """The agent goes on reading it, and has its reserve again when it ends.

    Seen red: the agent held nothing, so others took the room that it needed, and the limit was exceeded.
    """
    monitor = setup(budget=budgets)

    @monitored("chat")
    def chat() -> Iterator[dict[str, Any]]:
        yield {"cost": 0.02}

    with track("agent", customer="acme"):
        with track("step"):
            answer = chat()
            next(answer)
        assert money(monitor) == (0.0, 0.1)
        assert not list(answer)
        assert money(monitor) == (0.02, 0.08)
    assert money(monitor) == (0.02, 0.0)


@scopes
@pytest.mark.parametrize("fault", [OSError("down"), KeyboardInterrupt()])
def test_a_failed_call_inside_gives_back_what_it_took_over(budgets: list[Budget], fault: BaseException) -> None:
    """However a call ends, the call around it has the rest again."""
    monitor = setup(budget=budgets)
    with track("agent", customer="acme"):
        with pytest.raises(type(fault)), track("step"):
            raise fault
        assert money(monitor) == (0.0, 0.1)
    assert money(monitor) == (0.0, 0.0)


@scopes
def test_the_reserve_of_an_unknown_cost_inside_is_spent_and_not_given_back(budgets: list[Budget]) -> None:
    """The agent holds nothing any more; a further call asks for its own."""
    monitor = setup(budget=budgets)

    @monitored("chat")
    def chat() -> Any:
        return {"model": "my-deployment", "usage": {"prompt_tokens": 5, "completion_tokens": 5}}

    with track("agent", customer="acme"):
        chat()
        assert money(monitor) == (0.1, 0.0)
        chat()
        assert money(monitor) == (0.2, 0.0)
        with pytest.raises(BudgetExceeded):
            chat()
    assert money(monitor) == (0.2, 0.0)


def test_a_price_that_is_found_late_gives_the_rest_back_to_the_call_around() -> None:
    """While the price is looked up the reserve stays with the call that ended."""
    monitor = setup(budget=SCOPES[0])
    with track("agent"):
        inner = track("chat")
        with inner as call:
            call.record(model="a-model")
            admission = call._admission
        assert admission is not None
        admission.charge(30_000_000)
        (entry,) = monitor._components.budgets()
        assert (entry["spent"], round(entry["reserved"], 9)) == (0.03, 0.07)
