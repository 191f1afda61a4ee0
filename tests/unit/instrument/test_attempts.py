"""Attempts that are numbered without being told, where a library of retries runs the tool again."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Monitor, ToolCall, current_call, monitored, setup, track
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._instrument.retries import count_attempts

ended: list[ToolCall] = []
"""The calls of a test."""


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    ended.clear()
    with setup(ended.append) as found:
        yield found


def with_tenacity(function: Callable[..., Any], tries: int = 3) -> Any:
    tenacity = pytest.importorskip("tenacity")
    return tenacity.retry(stop=tenacity.stop_after_attempt(tries), reraise=True)(function)


def with_stamina(function: Callable[..., Any], tries: int = 3) -> Any:
    stamina = pytest.importorskip("stamina")
    return stamina.retry(on=OSError, attempts=tries, wait_initial=0, wait_jitter=0)(function)


def with_backoff(function: Callable[..., Any], tries: int = 3) -> Any:
    backoff = pytest.importorskip("backoff")
    return backoff.on_exception(backoff.constant, OSError, max_tries=tries, interval=0, jitter=None)(function)


LIBRARIES = [with_tenacity, with_stamina, with_backoff]


def attempts(monitor: Monitor, tool: str = "tool") -> list[tuple[str, int]]:
    """Return the outcome and the number of each call of a tool."""
    assert monitor.flush(10)
    return [(call.outcome, call.attempt) for call in ended if call.tool_name == tool]


class Flaky:
    """A tool that fails so often, and then works."""

    __name__ = "flaky"  # backoff logs it

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __call__(self, page: int = 0) -> str:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("busy")
        return "done"


@pytest.mark.parametrize("retry", LIBRARIES)
@pytest.mark.parametrize("way", ["function", "coroutine", "block", "inside a call"])
def test_attempts_are_numbered_without_being_told(retry: Any, way: str, monitor: Monitor) -> None:
    """The failed ones and the last, which succeeded; one operation, of two retries.

    Seen red: every call was attempt 1. Without `number_attempt` the last one still is.
    """
    work = Flaky(2)

    @monitored("tool")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return work()

    def block() -> str:
        with track("tool"):
            return work()

    if way == "coroutine":
        assert asyncio.run(retry(coroutine)()) == "done"
    elif way == "inside a call":
        with track("agent"):
            assert retry(monitored("tool")(work))() == "done"
    else:
        assert retry(block if way == "block" else monitored("tool")(work))() == "done"
    assert attempts(monitor) == [("failure", 1), ("failure", 2), ("success", 3)]
    counts = monitor.costs.by("tool")["tool"]
    assert (counts["calls"], counts["operations"], counts["retries"]) == (3, 1, 2)


@pytest.mark.parametrize("retry", LIBRARIES)
def test_the_next_operation_begins_at_one(retry: Any, monitor: Monitor) -> None:
    """Also if the one before was given up; and calls open by the short way again."""
    for failures in (9, 0, 1):
        try:
            retry(monitored("tool")(Flaky(failures)))()
        except OSError:
            pass
    assert attempts(monitor) == [
        ("failure", 1), ("failure", 2), ("failure", 3), ("success", 1), ("failure", 1), ("success", 2),
    ]  # fmt: skip
    gc.collect()
    with track("another"):
        pass
    assert not bus.policy.needs_slow_open


def test_operations_that_run_at_once_are_told_apart(monitor: Monitor) -> None:
    """Each task has its own operation of one tool."""

    async def several() -> None:
        async def one(failures: int) -> str:
            work = Flaky(failures)

            @monitored("tool", tags={"failures": failures})
            async def tool() -> str:
                await asyncio.sleep(0)
                return work()

            found: str = await with_tenacity(tool, 5)()
            return found

        await asyncio.gather(*(one(failures) for failures in range(5)))

    asyncio.run(several())
    found = sorted(attempts(monitor))
    wanted = [("failure", n + 1) for failures in range(5) for n in range(failures)]
    assert found == sorted(wanted + [("success", failures + 1) for failures in range(5)])


def test_an_operation_between_two_attempts_of_another_is_told_apart(monitor: Monitor) -> None:
    """Both are of the same tool."""
    tenacity = pytest.importorskip("tenacity")
    between = with_tenacity(monitored("tool")(Flaky(0)))
    tool = monitored("tool")(Flaky(1))
    tenacity.retry(before_sleep=lambda state: between())(tool)()
    assert attempts(monitor) == [("failure", 1), ("success", 1), ("success", 2)]


def test_a_loop_that_calls_a_tool_with_other_arguments_is_no_retry(monitor: Monitor) -> None:
    """Nor is a second call after a failure that the program has caught, without a library between."""
    tool = monitored("tool")(Flaky(2))
    for page in range(4):
        try:
            tool(page)
        except OSError:
            pass
    assert attempts(monitor) == [("failure", 1), ("failure", 1), ("success", 1), ("success", 1)]
    assert monitor.costs.by("tool")["tool"]["retries"] == 0


@pytest.mark.parametrize("retry", LIBRARIES)
def test_a_second_call_in_one_attempt_is_no_retry(retry: Any, monitor: Monitor) -> None:
    """The function that is tried again asks two services in turn, and gives up the attempt if neither answers.

    Seen red: without the comparison of numbers in `number_attempt`, the second call of the first attempt was attempt 2.
    """
    tool = monitored("tool")(Flaky(2))

    def ask() -> str:
        try:
            found: str = tool(1)
        except OSError:
            found = tool(2)
        return found

    retry(ask)()
    assert attempts(monitor) == [("failure", 1), ("failure", 1), ("success", 2)]


def test_what_a_retried_function_calls_is_no_retry_of_its_own(monitor: Monitor) -> None:
    """The call around it is: between that one and the library is no other call."""
    tool = monitored("tool")(Flaky(2))
    with_tenacity(monitored("agent")(tool))()
    assert attempts(monitor, "agent") == [("failure", 1), ("failure", 2), ("success", 3)]
    assert attempts(monitor) == [("failure", 1), ("failure", 1), ("success", 1)]


@pytest.mark.parametrize("way", ["function", "coroutine", "block", "inside a call"])
@pytest.mark.parametrize("library", ["tenacity", "backoff"])
def test_attempts_that_a_result_makes_are_numbered_if_it_tells_a_failure(
    library: str, way: str, monitor: Monitor
) -> None:
    """Nothing is raised; the library looks at the result, and so does the call.

    Seen red: with `note_failure` for raised errors only.
    """
    package = pytest.importorskip(library)
    left = iter((True, True, False))

    def work() -> dict[str, Any]:
        return {"is_error": next(left), "error": "busy", "cost": 0.01}

    async def coroutine() -> dict[str, Any]:
        return work()

    def block() -> dict[str, Any]:
        with track("tool") as call:
            result = work()
            if result["is_error"]:
                call.fail("busy")
        return result

    def is_error(result: Any) -> bool:
        return bool(result["is_error"])

    tool: Any = block if way == "block" else monitored("tool")(coroutine if way == "coroutine" else work)
    if library == "tenacity":
        retried = package.retry(retry=package.retry_if_result(is_error))(tool)
    else:
        retried = package.on_predicate(package.constant, is_error, interval=0, jitter=None)(tool)
    if way == "inside a call":
        retried = monitored("agent")(retried)
    if way == "coroutine":
        asyncio.run(retried())
    else:
        retried()
    assert attempts(monitor) == [("failure", 1), ("failure", 2), ("success", 3)]


@pytest.mark.parametrize("depth", [1, 2])
def test_attempts_in_a_task_that_the_retried_function_awaits_are_numbered(depth: int, monitor: Monitor) -> None:
    """As LangChain runs async tools; also in a task that such a task awaits, and beside others.

    Seen red: the frames of the retry are in another task than the tool, and each call was attempt 1.
    """

    async def one(failures: int) -> None:
        tool: Any = monitored("tool")(Flaky(failures))

        async def work() -> None:
            await asyncio.sleep(0)
            tool()

        async def retried() -> None:
            task = asyncio.create_task(work())
            await (asyncio.create_task(pass_on(task)) if depth == 2 else task)

        async def pass_on(task: Any) -> None:
            await task

        await with_tenacity(retried, 5)()

    async def several() -> None:
        await asyncio.gather(*(one(failures) for failures in range(3)))

    asyncio.run(several())
    assert sorted(attempts(monitor)) == [
        ("failure", 1), ("failure", 1), ("failure", 2), ("success", 1), ("success", 2), ("success", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["call around", "generator between"])
def test_what_is_tried_again_around_a_task_is_not_what_runs_in_it(way: str, monitor: Monitor) -> None:
    """The call around is tried again, or may be: of an async generator that awaits a task nothing is to be seen.

    Seen red: if the frames of other tasks are never those of a call around; if a chain counts that ends at a generator.
    """
    tool: Any = monitored("tool")(Flaky(1))

    async def in_task() -> None:
        await asyncio.sleep(0)
        tool()

    async def agent() -> None:
        await asyncio.create_task(in_task())

    async def items() -> Any:
        yield await agent()

    async def read() -> None:
        async for _ in monitored("agent")(items)():
            pass

    asyncio.run(with_tenacity(monitored("agent")(agent) if way == "call around" else read)())
    assert attempts(monitor) == [("failure", 1), ("success", 1)]


def test_what_the_program_records_goes_before(monitor: Monitor) -> None:
    """`record(attempt=...)` counts as it is said."""
    work = Flaky(2)

    @monitored("tool")
    def tool() -> str:
        current_call().record(attempt=7)
        return work()

    with_tenacity(tool)()
    assert attempts(monitor) == [("failure", 7), ("failure", 7), ("success", 7)]


def test_the_report_has_retries_and_what_failed_in_the_end(monitor: Monitor) -> None:
    """Two operations of three attempts each, of which one was given up."""
    for failures in (2, 9):
        try:
            with_tenacity(monitored("tool")(Flaky(failures)))()
        except OSError:
            pass
    lines = monitor.report().splitlines()
    assert "  retries  failed in the end  " in lines[2]
    assert lines[3].split()[:5] == ["tool", "6", "5", "4", "1"]


LATE = """
from toolweaver_monitor import current_call, monitored, setup

setup()
numbers = []

@monitored
def flaky():
    numbers.append(current_call().attempt)
    raise OSError("down")

for _ in range(2):
    try:
        flaky()
    except OSError:
        pass
import tenacity
try:
    tenacity.retry(stop=tenacity.stop_after_attempt(3), reraise=True)(flaky)()
except OSError:
    pass
print(numbers)
"""


def test_a_library_of_retries_that_is_imported_after_the_first_failures_is_seen() -> None:
    pytest.importorskip("tenacity")
    done = subprocess.run([sys.executable, "-c", LATE], check=True, capture_output=True, text=True)
    assert done.stdout == "[1, 1, 1, 2, 3]\n", done.stderr


def retried(failures: int, way: str = "function", tries: int = 5) -> tuple[Any, Any]:
    """Return a tool that tenacity runs inside it until it works, and what tenacity has made."""
    work = Flaky(failures)

    def function() -> str:
        return work()

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return work()

    made = with_tenacity(coroutine if way == "coroutine" else function, tries)
    tool = monitored("tool")(made)
    return (lambda: asyncio.run(tool())) if way == "coroutine" else tool, made


@pytest.mark.parametrize("way", ["function", "coroutine"])
def test_a_call_above_tenacity_is_told_how_many_attempts_ran_inside_it(way: str, monitor: Monitor) -> None:
    """Each call is one operation, and one of them failed in the end.

    Seen red: all were attempt 1. With each call counted as one retry, there were minus two operations.
    """
    for failures in (0, 2, 9, 0):
        try:
            retried(failures, way)[0]()
        except OSError:
            pass
    assert attempts(monitor) == [("success", 1), ("success", 3), ("failure", 5), ("success", 1)]
    counts = monitor.costs.by("tool")["tool"]
    assert (counts["calls"], counts["operations"], counts["retries"]) == (4, 4, 6)
    lines = monitor.report().splitlines()
    assert lines[2].split()[:4] == ["tool", "calls", "failed", "retries"]
    assert lines[3].split()[:5] == ["tool", "4", "1", "6", "1"]


def test_the_calls_of_one_function_are_told_apart(monitor: Monitor) -> None:
    """Tenacity has one dict of statistics for all of them."""
    tenacity = pytest.importorskip("tenacity")
    left = iter((True, False, False, True, True, False))

    @monitored("tool")
    @tenacity.retry(retry=tenacity.retry_if_result(lambda failed: failed))
    def tool() -> bool:
        return next(left)

    for _ in range(3):
        assert tool() is False
    assert attempts(monitor) == [("success", 2), ("success", 1), ("success", 3)]


def test_a_call_in_which_tenacity_is_off_is_told_nothing(monitor: Monitor) -> None:
    """The statistics are those of the call before it.

    Seen red: without a look at their `start_time`, it was attempt 3.
    """
    tool, made = retried(2)
    if not hasattr(made.retry, "enabled"):
        pytest.skip("tenacity < 9.1.3 cannot be turned off")
    tool()
    made.retry.enabled = False
    tool()
    assert attempts(monitor) == [("success", 3), ("success", 1)]


@pytest.mark.parametrize("longer", ["first", "second"])
def test_calls_that_overlap_are_told_nothing(longer: str, monitor: Monitor) -> None:
    """Their statistics may be another's. The one after them is read again.

    Seen red: both, if none is marked, if only the earlier one is, and if only the later one is.
    """
    tenacity = pytest.importorskip("tenacity")

    @monitored("tool")
    @tenacity.retry
    async def tool(work: Flaky, pause_s: float) -> str:
        await asyncio.sleep(pause_s)
        return work()

    async def several() -> None:
        pauses = (0.03, 0.01) if longer == "first" else (0.01, 0.03)
        await asyncio.gather(*(tool(Flaky(2), pause_s) for pause_s in pauses))
        await tool(Flaky(1), 0)

    asyncio.run(several())
    assert attempts(monitor) == [("success", 1), ("success", 1), ("success", 2)]


def test_calls_in_two_threads_overlap_as_well(monitor: Monitor) -> None:
    tenacity = pytest.importorskip("tenacity")
    both = threading.Barrier(2, timeout=10)

    @monitored("tool")
    @tenacity.retry
    def tool(work: Flaky) -> str:
        both.wait()
        return work()

    threads = [threading.Thread(target=tool, args=(Flaky(3),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempts(monitor) == [("success", 1), ("success", 1)]


@pytest.mark.parametrize("way", ["function", "coroutine"])
def test_what_tenacity_has_made_is_seen_from_outside(way: str) -> None:
    """The wrapper is as it is above any other function; and above another decorator nothing is added."""
    _, made = retried(0, way)
    tool = monitored("tool")(made)
    assert tool.__wrapped__ is made
    assert tool.retry is made.retry
    assert inspect.iscoroutinefunction(tool) == (way == "coroutine")
    assert count_attempts(tool) is tool


def test_a_call_around_is_told_nothing_if_nothing_is_monitored(monitor: Monitor) -> None:
    """The call that is open when monitoring ends is another tool's."""
    tool, _ = retried(2)
    with track("agent") as call:
        monitor.shutdown()
        assert tool() == "done"
        assert call.attempt == 1


def test_an_attempt_that_has_attempts_inside_keeps_its_number(monitor: Monitor) -> None:
    """One retry outside, around a tool that gives up the first time; and so does a number of the program's own."""
    with_tenacity(retried(4, tries=3)[0])()
    assert attempts(monitor) == [("failure", 3), ("success", 2)]
    counts = monitor.costs.by("tool")["tool"]
    assert (counts["calls"], counts["operations"], counts["retries"]) == (2, 1, 3)

    @monitored("numbered")
    @with_tenacity
    def numbered() -> str:
        current_call().record(attempt=7)
        return work()

    work = Flaky(2)
    numbered()
    assert attempts(monitor, "numbered") == [("success", 7)]
