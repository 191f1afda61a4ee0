"""T2: outcomes. Each ending is recorded as what it was, and none passes for a success."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, monitored, setup, track

ENDINGS: dict[str, tuple[BaseException, str]] = {
    "an error": (ValueError("x"), "failure"),
    "exit": (SystemExit(0), "interrupted"),
    "exit with an error": (SystemExit(2), "failure"),
    "a group": (ExceptionGroup("g", [TimeoutError()]), "failure"),
    "a cancelled future's error": (concurrent.futures.CancelledError(), "failure"),
    "timeout": (TimeoutError("x"), "timeout"),
    "asyncio's timeout": (TimeoutError(), "timeout"),
    "a future's timeout": (concurrent.futures.TimeoutError(), "timeout"),
    "a socket's timeout": (OSError(110, "timed out"), "timeout"),
    "a client's own timeout": (type("ReadTimeout", (Exception,), {})(), "timeout"),
    "a kind of a client's timeout": (type("Late", (type("APITimeoutError", (Exception,), {}),), {})(), "timeout"),
    "a timer of gevent's": (type("Timeout", (BaseException,), {})(), "timeout"),
    "a child process's timeout": (subprocess.TimeoutExpired("ocr", 5), "timeout"),
    "cancellation": (asyncio.CancelledError(), "cancelled"),
    "a group of cancellations": (
        BaseExceptionGroup("g", [asyncio.CancelledError(), BaseExceptionGroup("h", [asyncio.CancelledError()])]),
        "cancelled",
    ),
    "a group of a cancellation and an error": (
        BaseExceptionGroup("g", [asyncio.CancelledError(), ValueError()]),
        "failure",
    ),
    "Ctrl-C": (KeyboardInterrupt(), "cancelled"),
    "a dropped generator": (GeneratorExit(), "abandoned"),
}


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(budget=Budget(limit_usd=0.5, tool="dear", name="dear")) as found:
        yield found


def outcomes(monitor: Monitor) -> list[str]:
    return [operation["outcome"] for operation in monitor.metrics.operations]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("way", ["def", "async def", "with", "async with"])
def test_t2_each_ending_is_recorded_as_what_it_was(ending: str, way: str, monitor: Monitor) -> None:
    """Each outcome differs from the others, and none passes for a success.

    Mutations that turned it red: KeyboardInterrupt taken for a failure in `outcomes.outcome_of`; TimeoutError looked
    for after Exception; every BaseException taken for cancelled; a group taken for cancelled where any of it is.
    """
    error, wanted = ENDINGS[ending]

    @monitored("tool")
    def plain() -> None:
        raise error

    @monitored("tool")
    async def coroutine() -> None:
        raise error

    def block() -> None:
        with track("tool"):
            raise error

    async def async_block() -> None:
        async with track("tool"):
            raise error

    run: dict[str, Callable[[], object]] = {
        "def": plain,
        "async def": lambda: coroutine().send(None),
        "with": block,
        "async with": lambda: async_block().send(None),
    }
    with pytest.raises(type(error)) as caught:
        run[way]()
    assert caught.value is error
    assert outcomes(monitor) == [wanted]
    summary = monitor.summary()
    assert summary["successes"] == 0
    assert summary["failures"] == (1 if wanted in ("failure", "timeout") else 0)


def test_t2_a_budget_s_refusal_is_rejected_and_the_tool_has_not_run(monitor: Monitor) -> None:
    """The refused call is neither success nor failure.

    Mutation that turned it red: `publish(call, "failure")` in `hot_path.ask_budgets`.
    """
    ran = 0

    @monitored("dear", cost=0.4)
    def dear() -> None:
        nonlocal ran
        ran += 1

    dear()
    with pytest.raises(BudgetExceeded):
        dear()
    assert ran == 1
    assert outcomes(monitor) == ["success", "rejected"]


def test_t2_generators_that_are_dropped_closed_or_collected_are_abandoned(monitor: Monitor) -> None:
    """`close()`, `break`, `aclose()` and the garbage collector.

    Mutation that turned it red: GeneratorExit taken for a failure in `outcomes.outcome_of`.
    """

    @monitored("stream")
    def stream() -> Iterator[int]:
        yield from range(9)

    @monitored("stream")
    async def async_stream() -> AsyncIterator[int]:
        for number in range(9):
            yield number

    async def both() -> None:
        closed = async_stream()
        await anext(closed)
        await closed.aclose()

    with closing(stream()) as closed:
        next(closed)
    for _ in stream():
        break
    dropped = stream()
    next(dropped)
    del dropped
    gc.collect()
    asyncio.run(both())
    assert outcomes(monitor) == ["abandoned"] * 4


def test_t2_what_waits_and_is_timed_out_or_cancelled_says_so(monitor: Monitor) -> None:
    """A cancelled task, `wait_for`, `asyncio.timeout` inside the tool, a task group's sibling, a future cancelled.

    Mutation that turned it red: `("asyncio.exceptions", "CancelledError")` left out of `outcomes._REQUESTED_ENDS`.
    """

    @monitored("slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    @monitored("limited")
    async def limited() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)

    @monitored("promised")
    def promised() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def several() -> None:
        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.001)
        with pytest.raises(TimeoutError):
            await limited()
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group is what raises
            async with asyncio.TaskGroup() as group:
                group.create_task(slow())
                await asyncio.sleep(0)
                raise ValueError("the other one failed")
        future = promised()
        future.cancel()
        await asyncio.sleep(0)

    asyncio.run(several())
    found = {(operation["operation"], operation["outcome"]) for operation in monitor.metrics.operations}
    assert found == {("slow", "cancelled"), ("limited", "timeout"), ("promised", "cancelled")}
    assert monitor.summary()["count"] == 5
