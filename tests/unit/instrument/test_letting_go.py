"""What does a watched function keep of what it was given, while it waits?"""

from __future__ import annotations

import asyncio
import weakref

import pytest

from toolweaver_monitor import monitored, setup


class Document:
    """Large, as far as the tests know."""


@pytest.mark.parametrize("nested", [False, True], ids=["outermost", "inside another call"])
@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
async def test_arguments_are_let_go_while_it_waits(kind: str, nested: bool) -> None:
    """A tool that drops a large argument and then waits frees it, as it would unwatched.

    Seen red: without `del args, kwargs` in its driver, each kind kept it until it ended.
    """
    gone: list[bool] = []

    @monitored("wait")
    async def wait(document: Document | None, *, other: Document | None) -> None:
        seen = weakref.ref(document), weakref.ref(other)
        document = other = None
        await asyncio.sleep(0)
        gone.extend(each() is None for each in seen)

    @monitored("step")
    def step(document: Document | None, *, other: Document | None):  # type: ignore[no-untyped-def]
        seen = weakref.ref(document), weakref.ref(other)
        document = other = None
        yield
        gone.extend(each() is None for each in seen)

    @monitored("stream")
    async def stream(document: Document | None, *, other: Document | None):  # type: ignore[no-untyped-def]
        seen = weakref.ref(document), weakref.ref(other)
        document = other = None
        yield
        gone.extend(each() is None for each in seen)

    async def use() -> None:
        if kind == "coroutine":
            await wait(Document(), other=Document())
        elif kind == "generator":
            list(step(Document(), other=Document()))
        else:
            [_ async for _ in stream(Document(), other=Document())]

    setup()
    await (monitored("outer")(use) if nested else use)()
    assert gone == [True, True]
