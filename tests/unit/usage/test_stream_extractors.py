"""The `usage=` and `cost=` callables of generators, which get each item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, ToolCall, Usage, monitored, setup
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.testing import ToolRecorder

PRICES = {"m": {"input": 1.00, "output": 2.00}}
CHUNKS = [{"in": 10, "out": 1}, {"in": 0, "out": 2}]


def increments(item: Any) -> Usage:
    return Usage(input_tokens=item["in"], output_tokens=item["out"], model="m", increment=True)


def run_sync(items: Iterable[Any], take: int | None, **declared: Any) -> None:
    @monitored("chunks", **declared)
    def chunks() -> Iterator[Any]:
        yield from items

    stream: Any = chunks()
    for count, _ in enumerate(stream, 1):
        if count == take:
            break
    stream.close()


def run_async(items: Iterable[Any], take: int | None, **declared: Any) -> None:
    @monitored("chunks", **declared)
    async def chunks() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async def consume() -> None:
        stream: Any = chunks()
        count = 0
        async for _ in stream:
            count += 1
            if count == take:
                break
        await stream.aclose()

    asyncio.run(consume())


Run = Callable[..., None]
both_kinds = pytest.mark.parametrize("run", [run_sync, run_async])


def call_of(run: Run, items: Iterable[Any], take: int | None = None, **declared: Any) -> tuple[ToolCall, int, int]:
    before = Diagnostics.invalid_values, Diagnostics.extractor_errors
    with ToolRecorder(prices=PRICES) as recorder:
        run(items, take, **declared)
        (call,) = recorder.calls("chunks")
    return call, Diagnostics.invalid_values - before[0], Diagnostics.extractor_errors - before[1]


@both_kinds
def test_a_reader_gets_each_item_of_a_generator(run: Run) -> None:
    """10 + 1 + 2 tokens, at 10 x $1 + 3 x $2 a million. Seen red: the reader was asked once, about None."""
    call, invalid, errors = call_of(run, CHUNKS, usage=increments)
    assert (call.tokens, call._cost_nanousd, call.outcome, invalid, errors) == (13, 16_000, "success", 0, 0)


@both_kinds
def test_items_that_cover_the_stream_so_far_count_once(run: Run) -> None:
    """Without `increment` the largest values count, whatever the items look like to the library's own readers."""
    items = [{"model": "m", "usage": {"so far": count}} for count in (10, 20, 30)]
    call, _, errors = call_of(run, items, usage=lambda item: Usage(tokens=item["usage"]["so far"]))
    assert (call.tokens, errors) == (30, 0)


@both_kinds
def test_an_item_in_which_the_reader_finds_nothing_is_read_as_usual(run: Run) -> None:
    call, *_ = call_of(run, ["text", {"tokens_used": 4}, {"tokens_used": 5}], usage=lambda _: None)
    assert call.tokens == 9


@both_kinds
@pytest.mark.parametrize(("answer", "expected"), [(lambda _: 1 / 0, (0, 2)), (lambda _: "much", (2, 0))])
def test_a_reader_that_fails_is_not_replaced_by_another(run: Run, answer: Any, expected: tuple[int, int]) -> None:
    """The items reach their consumer all the same, and each failure is counted."""
    call, invalid, errors = call_of(run, [{"tokens_used": 4}] * 2, usage=answer)
    assert (call.tokens, call.outcome, call.items, invalid, errors) == (0, "success", 2, *expected)


@both_kinds
def test_values_that_make_no_sense_are_left_out(run: Run) -> None:
    """They are checked item by item, and do not take the other items with them."""
    bad: Any = Usage(input_tokens="many", output_tokens=-1, cost=float("nan"), increment=True)  # type: ignore[arg-type]
    usages = iter([Usage(tokens=5, cost=0.25, increment=True), bad])
    call, invalid, _ = call_of(run, "ab", usage=lambda _: next(usages))
    assert (call.tokens, call.cost_usd, invalid) == (5, 0.25, 3)


@both_kinds
def test_a_stream_that_is_dropped_counts_what_its_items_used_and_cost(run: Run) -> None:
    call, *_ = call_of(run, CHUNKS, 1, usage=increments, cost=lambda _: 0.5)
    assert (call.tokens, call.cost_usd, call.outcome) == (11, 0.5, "abandoned")


@both_kinds
def test_the_cost_of_each_item_adds_up(run: Run) -> None:
    """None is no cost of this item. Seen red: the callable was asked once, about None."""
    costs = {"a": 0.10, "b": None, "c": 0.20}
    call, _, errors = call_of(run, "abc", cost=costs.get)
    assert (call._cost_nanousd, call.cost_source, errors) == (300_000_000, "declared", 0)


@both_kinds
@pytest.mark.parametrize("broken", [lambda: 1 / 0, lambda: "much", lambda: -1])
def test_the_cost_of_some_items_is_not_that_of_all(run: Run, broken: Any) -> None:
    """Unknown is not zero: the price of the tokens counts instead, and without one the call is unpriced."""
    items = [*CHUNKS, {"in": 0, "out": 0}]
    answers = iter([lambda: 0.5, broken, lambda: 0.5])
    call, *_ = call_of(run, items, usage=increments, cost=lambda _: next(answers)())
    assert (call._cost_nanousd, call.cost_source) == (16_000, "priced")


@both_kinds
def test_a_cost_that_the_items_tell_goes_before_the_declared_one(run: Run) -> None:
    """Costs of several sources are never added."""
    call, *_ = call_of(run, "ab", usage=lambda _: Usage(cost=0.25, increment=True), cost=lambda _: 9.0)
    assert (call.cost_usd, call.cost_source) == (0.5, "reported")


@both_kinds
def test_a_fixed_cost_is_charged_once_beside_a_reader(run: Run) -> None:
    call, *_ = call_of(run, CHUNKS, usage=increments, cost=0.5)
    assert (call.tokens, call.cost_usd, call.cost_source) == (13, 0.5, "declared")


def test_a_chunk_that_a_reader_has_read_is_not_counted_by_the_tools_around_it() -> None:
    with ToolRecorder() as recorder:

        @monitored("inner", usage=increments)
        def inner() -> Iterator[Any]:
            yield from (dict(each, tokens_used=99) for each in CHUNKS)

        @monitored("outer")
        def outer() -> Iterator[Any]:
            yield from inner()

        list(outer())
        assert sum(call.tokens for call in recorder.calls()) == 13


@both_kinds
def test_a_budget_counts_what_items_cost(run: Run) -> None:
    with ToolRecorder(budget=Budget(limit_usd=1.00)):
        run("ab", None, cost=lambda _: 0.75)
        with pytest.raises(BudgetExceeded):
            run("ab", None, cost=lambda _: 0.75)


@both_kinds
def test_readers_are_not_asked_while_nothing_is_monitored(run: Run) -> None:
    asked: list[Any] = []
    run("ab", None, usage=asked.append, cost=asked.append)
    assert asked == []


def test_the_end_of_an_iterator_of_ones_own_is_no_result_for_the_callables() -> None:
    """A monitored `__next__` gives each item to `usage=`; its StopIteration has none to give.

    Seen red: the callable was asked about None, and raised.
    """
    asked: list[object] = []

    def read(item: object) -> Usage:
        asked.append(item)
        return Usage(tokens=5)

    class Pages:
        left = 2

        def __iter__(self) -> Pages:
            return self

        @monitored("page", usage=read)
        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    monitor = setup()
    assert list(Pages()) == [1, 0]
    assert asked == [1, 0]
    assert monitor.summary()["total_tokens"] == 10
