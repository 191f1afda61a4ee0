"""The call that a background task of Starlette or FastAPI is part of: the innermost one when the task was made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import OURS

from toolweaver_monitor import Budget, BudgetExceeded, current_call, monitored, setup, tagged, track
from toolweaver_monitor._core.context import current
from toolweaver_monitor.testing import ToolRecorder

background = pytest.importorskip("starlette.background")


@pytest.fixture
def recorder() -> Iterator[ToolRecorder]:
    with ToolRecorder() as recorder:
        yield recorder


@monitored("notify", cost=2.0)
async def notify(customer: str) -> None:
    helper()


@monitored("notify", cost=2.0)
def notify_in_thread(customer: str) -> None:
    helper()


@monitored("helper")
def helper() -> None: ...


def application(task: Callable[..., Any], *, is_async: bool) -> Any:
    """Return a client of an application whose endpoint answers inside a block, and leaves a task for later."""
    fastapi = pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    app = fastapi.FastAPI()

    async def ask(customer: str, tasks: fastapi.BackgroundTasks) -> str:
        async with track("ask", customer=customer):
            tasks.add_task(task, customer)
            return "asked"

    def ask_in_thread(customer: str, tasks: fastapi.BackgroundTasks) -> str:
        with track("ask", customer=customer):
            tasks.add_task(task, customer)
            return "asked"

    for endpoint in (ask, ask_in_thread):  # the class is no global of this module
        endpoint.__annotations__ = {"customer": str, "tasks": fastapi.BackgroundTasks}
    app.get("/ask")(ask if is_async else ask_in_thread)
    return TestClient(app)


def spent_by(monitor: Any, customer: str) -> float:
    return sum(entry["spent"] for entry in monitor.health()["budgets"] if entry["account"] == customer)


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("task", [notify, notify_in_thread])
def test_a_task_is_part_of_the_call_that_it_was_added_in(task: Any, is_async: bool, recorder: ToolRecorder) -> None:
    """Coroutine functions, and functions that Starlette runs in a thread; from either kind of endpoint.

    Seen red: without the patch it had no parent.
    """
    client = application(task, is_async=is_async)
    for customer in ("acme", "zeta"):
        assert client.get(f"/ask?customer={customer}").json() == "asked"
    for ask, task_call, inner in zip(*map(recorder.calls, ("ask", "notify", "helper")), strict=True):
        assert (task_call.parent_id, task_call.trace_id) == (ask.call_id, ask.trace_id)
        assert inner.parent_id == task_call.call_id
        assert ask.started_at + ask.duration_s <= task_call.started_at  # it had ended
    assert len(recorder.calls("ask")) == 2


def test_the_customer_of_the_call_around_pays() -> None:
    """Also if the task is added by a call inside, and its budget is one of this tool only."""

    @monitored("agent")
    def add(customer: str) -> Any:
        return background.BackgroundTask(notify, customer)

    with setup(budget=Budget(limit_usd=3, tag="customer", tool="notify")) as monitor:
        for customer in ("acme", "zeta"):
            with track("ask", customer=customer):
                task = add(customer)
            asyncio.run(task())
        assert (spent_by(monitor, "acme"), spent_by(monitor, "zeta")) == (2.0, 2.0)
        assert monitor.costs.by_tag("customer")["acme"]["cost_usd"] == 2.0


def test_a_refusal_is_raised_where_starlette_runs_the_task() -> None:
    """The answer has been sent; the server logs the error."""
    with setup(budget=Budget(limit_usd=3, tag="customer")) as monitor:
        client = application(notify, is_async=True)
        client.get("/ask?customer=acme")
        with pytest.raises(BudgetExceeded):
            client.get("/ask?customer=acme")
        client.get("/ask?customer=zeta")
        assert (spent_by(monitor, "acme"), spent_by(monitor, "zeta")) == (2.0, 2.0)


async def test_each_task_of_a_group_has_the_call_that_it_was_made_in(recorder: ToolRecorder) -> None:
    tasks = background.BackgroundTasks()
    for name in ("first", "second"):
        async with track(name):
            tasks.add_task(notify, "acme")
    tasks.add_task(notify, "acme")
    await tasks()
    assert current.get() is None
    (first,), (second,), calls = recorder.calls("first"), recorder.calls("second"), recorder.calls("notify")
    assert [call.parent_id for call in calls] == [first.call_id, second.call_id, None]


async def test_a_task_keeps_the_tags_of_the_block_that_it_was_made_in(recorder: ToolRecorder) -> None:
    with tagged(customer="acme"):
        task = background.BackgroundTask(notify, "acme")
    await task()
    (call,) = recorder.calls("notify")
    assert (call.parent_id, call.tags["customer"]) == (None, "acme")


async def test_a_task_outside_any_call_stays_as_it_is(recorder: ToolRecorder) -> None:
    """And what it was given are the very objects, inside one, too. What it records is its own call's."""

    async def work(*_: object) -> None:
        seen.append(current_call().tool_name)
        raise LookupError("lost")

    seen: list[str] = []
    argument = object()
    plain = background.BackgroundTask(work, argument)
    assert list(vars(plain)) == ["func", "args", "kwargs", "is_async"]
    with track("ask"):
        task = background.BackgroundTask(work, argument)
    assert task.func is work
    assert task.args == (argument,)
    for one in (plain, task):
        with pytest.raises(LookupError, match="lost"):
            await one()
        assert current.get() is None
    assert seen == ["", "ask"]


def test_a_module_that_is_imported_after_setup_is_patched_then() -> None:
    """Without wrapt, whose import takes long. A setup that comes again, and one that is off, change nothing more."""
    program = """
import asyncio, sys
from toolweaver_monitor import monitored, setup, track
finders = list(sys.meta_path)
setup(enabled=False)
assert sys.meta_path == finders
setup()
monitor = setup()
assert len(sys.meta_path) == len(finders) + 1
assert "wrapt" not in sys.modules
from starlette.background import BackgroundTask
assert sys.meta_path == finders
init = BackgroundTask.__init__
with monitor:
    with track("ask"):
        task = BackgroundTask(monitored("notify")(lambda: None))
    asyncio.run(task())
    print(monitor.tree())
setup()
assert BackgroundTask.__init__ is init
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": OURS})
    assert done.returncode == 0, done.stderr
    assert "\n    notify " in done.stdout  # below `ask`
