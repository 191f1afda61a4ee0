"""A pool that is instrumented runs each task in the context that it was submitted in."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from toolweaver_monitor import current_call, instrument, monitored, track, uninstrument

word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@monitored("inner")
def inner(number: int = 0) -> str:
    current_call().record(tokens=1)
    return word.get()


def test_submit_and_map_carry_the_context_and_are_no_calls(calls: Any) -> None:
    """The task's calls are children of the one around `submit`; without it they have no parent."""
    word.set("here")
    with ThreadPoolExecutor(1) as pool:
        with track("outer"):
            assert pool.submit(inner).result() == "none"
        assert [call.parent_id is not None for call in calls()] == [False, False]
        for _ in range(2):
            assert instrument(pool) is pool
        with track("outer") as outer:
            assert pool.submit(inner).result() == "here"
            assert list(pool.map(inner, range(2))) == ["here", "here"]
        found = calls()
        assert [call.tool_name for call in found] == ["inner", "inner", "inner", "outer"]
        assert {call.parent_id for call in found[:3]} == {outer.call_id}
        uninstrument(pool)
        assert pool.submit(inner).result() == "none"
    assert len(calls()) == 1


def test_every_pool_at_once_and_those_of_asyncio(calls: Any) -> None:
    """The class, with its subclasses; `loop.run_in_executor` goes through `submit`, too."""
    before = vars(ThreadPoolExecutor)["submit"]

    class Own(ThreadPoolExecutor):
        pass

    instrument(ThreadPoolExecutor)
    assert inspect.signature(ThreadPoolExecutor.submit) == inspect.signature(before)

    async def main() -> None:
        with track("outer"):
            await asyncio.get_running_loop().run_in_executor(None, inner)
            await asyncio.to_thread(inner)
            with Own(1) as pool:
                await asyncio.wrap_future(pool.submit(inner))

    asyncio.run(main())
    *children, outer = calls()
    assert [call.parent_id for call in children] == [outer.call_id] * 3
    uninstrument(ThreadPoolExecutor)
    assert vars(ThreadPoolExecutor)["submit"] is before


def test_what_a_task_raises_and_what_submit_raises_are_untouched() -> None:
    """No frame is added to the task's traceback; wrong uses complain as ever; one context is not shared by two."""
    error = ValueError("mine")

    def fails() -> None:
        raise error

    with instrument(ThreadPoolExecutor(2)) as pool:
        found = pool.submit(fails).exception()
        assert found is error
        frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
        assert frames == ["run", "fails"]  # the pool's own, and the task
        with pytest.raises(TypeError):
            pool.submit()
        assert all(pool.map(lambda _: word.set("changed"), range(20)))
        assert word.get() != "changed"
        uninstrument(pool)
    with pytest.raises(RuntimeError, match="shutdown"):
        instrument(pool).submit(inner)
    uninstrument(pool)
