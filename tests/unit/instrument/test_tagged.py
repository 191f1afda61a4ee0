"""Tags for all calls inside a block or a function, without a call of its own: `tagged()`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, ToolCall, current_call, monitored, setup, tagged, track
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.context import NOOP_CALL
from toolweaver_monitor.errors import ConfigurationError

Calls = Callable[[], list[ToolCall]]


@monitored("search", cost=0.01)
def search() -> str:
    return "coffee"


@monitored("ask", cost=0.1)
async def ask() -> str:
    return search()


@monitored("words")
def words() -> Any:
    yield from "ab"


def shown(calls: list[ToolCall]) -> dict[str, dict[str, Any]]:
    return {call.tool_name: dict(call.tags) for call in calls}


def test_calls_in_the_block_have_its_tags_and_no_others_do(calls: Calls) -> None:
    """Functions, coroutines, generators and blocks; it is no call itself, and calls in it stay outermost ones.

    Seen red: with the tags left out of `TaggedPlace.child`; with a serial of its own, calls had a parent.
    """
    search()
    with tagged(customer="acme", order=7):
        search()
        list(words())
        with track("parse", pages=2):
            pass
        asyncio.run(ask())
    search()
    first, *inside, last = calls()
    assert (dict(first.tags), dict(last.tags)) == ({}, {})
    assert [call.tool_name for call in inside] == ["search", "words", "parse", "search", "ask"]
    nested = inside.pop(3)
    assert [call.tags.get("customer") for call in inside] == ["acme"] * 4
    assert inside[2].tags == {"customer": "acme", "order": 7, "pages": 2}
    assert [call.parent_id for call in inside] == [None] * 4
    assert len({call.trace_id for call in inside}) == 4
    assert (nested.parent_id, nested.tags) == (inside[3].call_id, {})  # it counts for those of the call around it


def test_totals_by_tag_have_calls_at_any_depth_once() -> None:
    """A call inside a call inside the block counts for the block's tags, as inside a tagged call; its cost once.

    Seen red: with the tags left out of `TaggedPlace.child`.
    """
    monitor = setup()
    for customer in ("acme", "acme", "beta"):
        with tagged(customer=customer):
            asyncio.run(ask())
    by_customer = monitor.costs.by_tag("customer")
    assert {value: totals["cost_usd"] for value, totals in by_customer.items()} == pytest.approx(
        {"acme": 0.22, "beta": 0.11}
    )
    assert [root["tool_name"] for root in monitor.costs.roots()] == ["ask"] * 3


@pytest.mark.parametrize("hand_on", [lambda result: result, dict], ids=["the same object", "the same figures"])
def test_inside_a_call_the_block_is_transparent(hand_on: Callable[[Any], Any], calls: Calls) -> None:
    """The call around stays the parent and what `current_call()` returns; a result handed on is counted once.

    Seen red: with the block's own scope returned by `current_call()`; without `call_around` in `mark_read` and
    `tell_parent`, the cost of the result counted twice.
    """

    @monitored("model")
    def model() -> dict[str, Any]:
        return {"tokens_used": 100, "cost": 0.25}

    @monitored("agent")
    def agent() -> dict[str, Any]:
        with tagged(step="one"):
            assert current_call().tool_name == "agent"
            current_call().record(tokens=0)
            return hand_on(model())

    agent()
    inner, outer = sorted(calls(), key=lambda call: call.tool_name == "agent")
    assert inner.parent_id == outer.call_id
    assert inner.trace_id == outer.trace_id
    assert (inner.tags, outer.tags) == ({"step": "one"}, {})
    assert (inner.cost_usd, outer.cost_usd) == (0.25, None)


def test_the_innermost_value_of_a_tag_counts(calls: Calls) -> None:
    """The call's own before the block's, and the inner block's before the outer's.

    Seen red: with all tags of the block given to `with_tags`; with the order of `merge_tags` turned round.
    """
    with tagged(customer="outer", team="search"), tagged(customer="inner"):
        search()
        with track("parse", customer="own"):
            pass
    found = shown(calls())
    assert found["search"] == {"customer": "inner", "team": "search"}
    assert found["parse"] == {"customer": "own", "team": "search"}


def test_tags_of_setup_give_way_to_those_of_a_block() -> None:
    """Which are nearer to the call. Those that the block does not have stay.

    Seen red: with no look at setup's tags in `TaggedPlace.child`.
    """
    monitor = setup(tags={"customer": "setup", "region": "eu"})
    with tagged(customer="block"):
        search()
        with track("parse", customer="own"):
            pass
    assert set(monitor.costs.by_tag("customer")) == {"block", "own"}
    assert set(monitor.costs.by_tag("region")) == {"eu"}


@pytest.mark.parametrize("inside", [None, "customer", "team"])
def test_tags_of_setup_give_way_to_those_of_the_calls_around(inside: str | None) -> None:
    """A customer that `setup()` names is for calls that have none, and pays for nobody else's tools.

    Seen red: with the money of `search`, and its budget, at setup's customer.
    """
    monitor = setup(tags={"customer": "setup", "region": "eu"}, budget=Budget(limit_usd=0.015, tag="customer"))
    block = tagged(**{inside: "acme"}) if inside else contextlib.nullcontext()
    with track("ask", customer="acme"), block:
        search()
        with pytest.raises(BudgetExceeded):
            search()
    search()
    spent = {name: row["cost_usd"] for name, row in monitor.costs.by_tag("customer").items()}
    assert spent == {"acme": 0.01, "setup": 0.01}
    assert set(monitor.costs.by_tag("region")) == {"eu"}


def test_a_budget_by_tag_sees_the_blocks_tags() -> None:
    """A customer's budget holds for all calls in the customer's block, however deep.

    Seen red: with the tags left out of `TaggedPlace.child`.
    """
    setup(budget=Budget(limit_usd=0.15, tag="customer"))
    with tagged(customer="acme"):
        asyncio.run(ask())
        with pytest.raises(BudgetExceeded):
            asyncio.run(ask())
    with tagged(customer="beta"):
        asyncio.run(ask())


def test_a_reserve_is_lent_through_a_block() -> None:
    """A call in a block takes over the reserve of the call around it, as without the block.

    Seen red: without `call_around` in `Meter._find_lender`, the inner call was refused.
    """
    setup(budget=Budget(limit_usd=1.0, reserve=0.6))
    with track("agent"), tagged(step="one"), track("model"):
        pass


def test_tasks_and_threads_of_asyncio_inherit_the_tags(calls: Calls) -> None:
    """And tasks beside the block do not have them.

    Seen red: with the tags in a global and not in the context.
    """

    async def serve(customer: str) -> None:
        async with tagged(customer=customer):
            await asyncio.sleep(0)
            await asyncio.gather(ask(), asyncio.to_thread(search))

    async def main() -> None:
        await asyncio.gather(serve("acme"), serve("beta"), ask())

    asyncio.run(main())
    outermost = [(call.tool_name, call.tags.get("customer")) for call in calls() if call.parent_id is None]
    assert sorted(outermost, key=str) == sorted(
        [("ask", "acme"), ("ask", "beta"), ("search", "acme"), ("search", "beta"), ("ask", None)], key=str
    )


def test_as_a_decorator_it_keeps_the_function(calls: Calls) -> None:
    """Name, kind, result and exception; above or below `@monitored`, and called inside itself.

    Seen red: without the coroutine's own wrapper, the block ended before the coroutine ran.
    """

    @tagged(team="search")
    def find(depth: int = 0) -> str:
        """Find."""
        return find(depth - 1) if depth else search()

    @tagged(team="answers")
    async def answer() -> str:
        return await ask()

    @tagged(team="broken")
    def broken() -> None:
        search()
        raise KeyError("x")

    assert find(2) == "coffee"
    assert (find.__name__, find.__doc__) == ("find", "Find.")
    assert inspect.iscoroutinefunction(answer)
    assert asyncio.run(answer()) == "coffee"
    with pytest.raises(KeyError):
        broken()
    search()
    assert [call.tags.get("team") for call in calls() if call.parent_id is None] == [
        "search",
        "answers",
        "broken",
        None,
    ]


class Asked:
    """An object that is called as a coroutine function is."""

    __name__ = "asked"

    async def __call__(self) -> str:
        return search()


def handed_on() -> Any:
    """Return a coroutine, as a decorator between does."""
    return Asked()()


@pytest.mark.parametrize(
    "function", [Asked(), handed_on, functools.partial(Asked())], ids=["object", "plain", "partial"]
)
def test_a_coroutine_has_the_tags_however_it_is_made(function: Any, calls: Calls) -> None:
    """Seen red: without `_run`, the block of a plain function had ended before its coroutine ran."""
    assert asyncio.run(tagged(team="x")(function)()) == "coffee"
    assert shown(calls()) == {"search": {"team": "x"}}


class Paged:
    """An object that is called as a generator function is."""

    def __call__(self) -> Any:
        yield search()


def test_what_cannot_be_decorated_is_told_at_once() -> None:
    """With the cure, where it is written.

    Seen red: without the check, a generator's calls had no tags; without `__call__`, those of an object had none.
    """
    for thing in (words, words.__wrapped__, Paged(), functools.partial(words), int, 3):  # type: ignore[attr-defined]
        with pytest.raises(ConfigurationError) as caught:
            tagged(team="x")(thing)
        assert caught.value.hint


def test_a_block_can_be_entered_again_and_left_out_of_order(calls: Calls) -> None:
    """The same object nested in itself, and a block that is left while another one inside is open.

    Seen red: with one token on the object, the second end left the tags on.
    """
    block = tagged(customer="acme")
    with block, block:
        search()
    outer, inner = tagged(a=1), tagged(b=2)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    search()
    inner.__exit__(None, None, None)
    search()
    assert [dict(call.tags) for call in calls()] == [{"customer": "acme"}, {}, {}]


def test_a_block_that_is_open_while_setup_is_called_tags_what_follows() -> None:
    """As around `main()`: before the setup nothing is counted, and after it all calls have the tags.

    Seen red: with the place of the earlier setup kept, the new one had none of its limits.
    """
    with tagged(service="checkout"):
        search()
        for _ in range(2):
            monitor = setup()
            search()
            assert monitor.costs.by_tag("service")["checkout"]["calls"] == 1
            assert {node.tree for node in monitor.metrics._shared.by_node} == {bus.policy.tree}  # type: ignore[union-attr]


def test_a_call_handed_in_has_the_tags_too() -> None:
    """As one that runs: `monitor.record()` inside the block.

    Seen red: with the tags left out of `TaggedPlace.child`.
    """
    monitor = setup()
    with tagged(customer="acme"):
        monitor.record("search", duration_s=0.5, cost=0.25)
    assert monitor.costs.by_tag("customer")["acme"]["cost_usd"] == 0.25


def test_outside_any_call_there_is_still_none() -> None:
    """`current_call()` records nothing, and says so.

    Seen red: with the block's own scope returned.
    """
    setup()
    with tagged(customer="acme"):
        assert current_call() is NOOP_CALL


def test_secrets_in_tags_are_shown_to_no_sink(calls: Calls) -> None:
    """As with tags of calls.

    Seen red: with the tags stored past `ToolKey.with_tags`.
    """
    with tagged(note="password=hunter2hunter2"):
        search()
    assert "hunter2" not in str(shown(calls()))
