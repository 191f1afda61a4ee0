"""The arguments of a monitored function, which it does not hold while it is suspended."""

from __future__ import annotations

import asyncio
import inspect
import traceback
import weakref

import pytest

from toolweaver_monitor import monitored, setup


class Document:
    """Large, as far as the tests know."""


@pytest.mark.parametrize("nested", [False, True], ids=["outermost", "inside another call"])
@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
async def test_arguments_are_let_go_while_it_waits(kind: str, nested: bool) -> None:
    """A tool that drops a large argument and then waits frees it, as it would unwatched.

    Seen red: without `args = kwargs = None` in its wrapper, each kind kept it until it ended.
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


@pytest.mark.parametrize("nested", [False, True], ids=["outermost", "inside another call"])
@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
async def test_a_traceback_can_be_printed_with_the_arguments_of_its_frames(kind: str, nested: bool) -> None:
    """Crash reporters that show what each frame was given work with the frame of the wrapper as well.

    Mutation: `del args, kwargs` in its wrapper; `inspect.formatargvalues`, which `cgitb` uses, raised a KeyError.
    """

    @monitored("wait")
    async def wait(document: int) -> None:
        raise ValueError(document)

    @monitored("step")
    def step(document: int):  # type: ignore[no-untyped-def]
        yield
        raise ValueError(document)

    @monitored("stream")
    async def stream(document: int):  # type: ignore[no-untyped-def]
        yield
        raise ValueError(document)

    async def use() -> None:
        if kind == "coroutine":
            await wait(7)
        elif kind == "generator":
            list(step(7))
        else:
            [_ async for _ in stream(7)]

    setup()
    with pytest.raises(ValueError, match="7") as raised:
        await (monitored("outer")(use) if nested else use)()
    frames = [frame for frame, _ in traceback.walk_tb(raised.tb)]
    shown = [inspect.formatargvalues(*inspect.getargvalues(frame)) for frame in frames]
    assert shown[-1] == "(document=7)"
