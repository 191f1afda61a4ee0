"""The call that a generator is part of: the innermost one when its function was called, not when it is stepped."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, ToolCall, monitored, setup, track
from toolweaver_monitor.testing import ToolRecorder


@pytest.fixture
def recorder() -> Iterator[ToolRecorder]:
    with ToolRecorder() as recorder:
        yield recorder


@monitored("helper")
def helper() -> None:
    pass


@monitored("pages")
def pages() -> Iterator[int]:
    helper()
    yield 1
    helper()


@monitored("apages")
async def apages() -> AsyncIterator[int]:
    helper()
    yield 1
    helper()


def spent_by(monitor: Any, customer: str) -> float:
    return sum(entry["spent"] for entry in monitor.health()["budgets"] if entry["account"] == customer)


def assert_inside(recorder: ToolRecorder, name: str, around: str = "ask") -> None:
    (call,) = recorder.calls(name)
    (ask,) = recorder.calls(around)
    assert call.parent_id == ask.call_id
    assert call.trace_id == ask.trace_id
    assert {inner.parent_id for inner in recorder.calls("helper")} == {call.call_id}


def test_a_generator_is_part_of_the_call_that_it_was_called_under(recorder: ToolRecorder) -> None:
    """Seen red: stepped after the block, it had no parent."""
    with track("ask"):
        stream = pages()
    assert list(stream) == [1]
    assert_inside(recorder, "pages")


async def test_an_async_generator_is_part_of_the_call_that_it_was_called_under(recorder: ToolRecorder) -> None:
    async with track("ask"):
        stream = apages()
    assert [page async for page in stream] == [1]
    assert_inside(recorder, "apages")


def test_it_is_not_part_of_the_call_that_steps_it(recorder: ToolRecorder) -> None:
    """The consumer's own calls are the consumer's, before, between and after its items."""
    with track("ask"):
        stream = pages()
    with track("serve") as serve:
        for _ in stream:
            monitored("send")(lambda: None)()
        monitored("send")(lambda: None)()
    assert_inside(recorder, "pages")
    assert {send.parent_id for send in recorder.calls("send")} == {serve.call_id}


def test_a_generator_that_was_called_outside_stays_outside(recorder: ToolRecorder) -> None:
    stream = pages()
    with track("serve"):
        assert list(stream) == [1]
    (call,) = recorder.calls("pages")
    assert call.parent_id is None


def test_the_call_around_keeps_its_own_duration(recorder: ToolRecorder) -> None:
    """It has ended when its block ends, whatever is still read."""
    with track("ask") as ask:
        stream = pages()
    ended_s = ask.duration_s
    list(stream)
    (same,) = recorder.calls("ask")
    assert same.duration_s == ended_s
    assert [call.tool_name for call in recorder.calls()] == ["ask", "helper", "helper", "pages"]


def test_a_call_that_was_never_stepped_is_no_call(recorder: ToolRecorder) -> None:
    with track("ask"):
        pages()
        stream = pages()
    stream.close()  # type: ignore[attr-defined]
    gc.collect()
    assert [call.tool_name for call in recorder.calls()] == ["ask"]


def test_the_customer_of_the_call_around_pays() -> None:
    """Its budget is charged for a stream that is sent after the block, and refuses the next one at its first step."""

    @monitored("chat")
    async def chat() -> AsyncIterator[dict[str, Any]]:
        yield {"tokens_used": 10, "cost": 2.0}

    async def ask(customer: str) -> Any:
        async with track("ask", customer=customer):
            return chat()

    async def main() -> None:
        first, second = await ask("acme"), await ask("acme")
        assert [item async for item in first] == [{"tokens_used": 10, "cost": 2.0}]
        assert spent_by(monitor, "acme") == 2.0
        with pytest.raises(BudgetExceeded):
            await anext(second)
        assert len([item async for item in await ask("zeta")]) == 1

    with setup(budget=Budget(limit_usd=1, tag="customer")) as monitor:
        asyncio.run(main())


def test_steps_in_other_threads_and_contexts_keep_the_parent(recorder: ToolRecorder) -> None:
    """As Starlette steps a plain generator: in a pool of threads, each step in a copy of a context."""
    with track("ask"):
        stream = pages()
    items: list[int] = []

    def step() -> None:
        items.append(next(stream, 0))

    for _ in range(2):
        thread = threading.Thread(target=contextvars.Context().run, args=(step,))
        thread.start()
        thread.join()
    assert items == [1, 0]
    assert_inside(recorder, "pages")


async def test_a_task_keeps_the_call_that_started_it(recorder: ToolRecorder) -> None:
    """`asyncio.create_task` copies the context, so also what the task calls after the block is part of it."""
    go = asyncio.Event()

    @monitored("work")
    async def work() -> None:
        helper()

    async def later() -> None:
        await go.wait()
        await work()

    async with track("ask"):
        task = asyncio.create_task(later())
    go.set()
    await task
    assert_inside(recorder, "work")


def test_wrong_arguments_raise_when_it_is_called(recorder: ToolRecorder) -> None:
    """As without the decorator; the call is a failure."""

    @monitored("tool")
    def tool(page: int) -> Iterator[int]:
        yield page

    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'page'"):
        tool()  # type: ignore[call-arg]
    assert [call.outcome for call in recorder.calls()] == ["failure"]


@pytest.mark.parametrize(
    ("function", "check"), [(pages, inspect.isgeneratorfunction), (apages, inspect.isasyncgenfunction)]
)
def test_its_function_passes_for_a_generator_function(function: Any, check: Callable[[Any], bool]) -> None:
    """And is copied with its flags, as by pickling by value and by decorators that change the code."""
    code = function.__code__
    assert check(function)
    assert code.replace(co_name="other").co_flags == code.co_flags


def test_a_setup_that_ends_before_the_first_step_watches_nothing() -> None:
    """The generator runs bare, with the whole protocol."""
    seen: list[ToolCall] = []
    with setup(seen.append):
        stream: Any = pages()

        @monitored("echo")
        def echo() -> Any:
            return (yield (yield 1))

        echoing = echo()
    assert list(stream) == [1]
    assert next(echoing) == 1
    assert echoing.send("a") == "a"
    with pytest.raises(StopIteration, match="b"):
        echoing.send("b")
    assert seen == []
