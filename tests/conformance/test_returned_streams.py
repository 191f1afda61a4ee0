"""Streams that a plain function returns: the protocol of a generator is kept, and it is timed to its end."""

from __future__ import annotations

import asyncio
import gc
import inspect

import pytest


def returning(make):
    """Return a plain function that returns what another one makes."""

    def tool(*args):
        return make(*args)

    return tool


def test_generator_in_full(watched, the_call, stopwatch):
    """A plain function that returns a generator returns one of the same name, and is timed to its last item."""

    def pages():
        stopwatch.spend()
        yield 1
        stopwatch.spend()
        yield 2

    tool = watched("tool")(returning(pages))
    assert not inspect.isgeneratorfunction(tool)
    running = tool()
    assert inspect.isgenerator(running)
    assert (running.__name__, running.__qualname__) == (pages.__name__, pages.__qualname__)
    assert list(running) == [1, 2]
    call = the_call()
    assert (call.outcome, call.items) == ("success", 2)
    stopwatch.assert_covers(call.duration_s)


def test_generator_protocol(watched):
    """`send()`, `throw()` and `close()` reach the body of such a generator, and its return value comes out."""
    closed = []

    def echo():
        try:
            received = yield "ready"
            try:
                received = yield received
            except KeyError as error:
                received = repr(error)
            yield received
        finally:
            closed.append(True)
        return "result"

    def outer(running):
        assert (yield from running) == "result"

    tool = watched("tool")(returning(echo))
    running = tool()
    assert [next(running), running.send("a"), running.throw(KeyError("x"))] == ["ready", "a", "KeyError('x')"]
    running.close()
    assert closed == [True]
    assert list(outer(tool())) == ["ready", None, None]


def test_generator_failure(watched, the_call):
    """An exception of such a generator propagates as the same object, and the call is a failure."""
    error = LookupError("no such page")

    def pages():
        yield 1
        raise error

    running = watched("tool")(returning(pages))()
    next(running)
    with pytest.raises(LookupError) as caught:
        next(running)
    assert caught.value is error
    assert the_call().outcome == "failure"


def test_generator_calls(watched, the_call):
    """Calls of such a generator's body are part of it, and those of its consumer are not."""
    helper = watched("helper")(lambda: None)
    consumer = watched("consumer")(lambda: None)

    def pages():
        yield 1
        helper()

    for _ in watched("tool")(returning(pages))():
        consumer()
    assert the_call("helper").parent_id == the_call().call_id is not None
    assert the_call("consumer").parent_id is None


def test_generator_dropped(watched, the_call):
    """Such a generator that is dropped before its end is recorded as abandoned."""

    def pages():
        yield 1
        yield 2

    running = watched("tool")(returning(pages))()
    next(running)
    del running
    gc.collect()
    assert the_call().outcome == "abandoned"


async def test_async_generator_in_full(watched, the_call, stopwatch):
    """A plain function that returns an async generator returns one of the same name, timed to its last item."""

    async def pages():
        await asyncio.sleep(0)
        stopwatch.spend()
        yield 1
        stopwatch.spend()
        yield 2

    running = watched("tool")(returning(pages))()
    assert inspect.isasyncgen(running)
    assert (running.__name__, running.__qualname__) == (pages.__name__, pages.__qualname__)
    assert [page async for page in running] == [1, 2]
    call = the_call()
    assert (call.outcome, call.items) == ("success", 2)
    stopwatch.assert_covers(call.duration_s)


async def test_async_generator_protocol(watched):
    """`asend()`, `athrow()` and `aclose()` reach the body of such an async generator."""
    closed = []

    async def echo():
        try:
            received = yield "ready"
            try:
                received = yield received
            except KeyError as error:
                received = repr(error)
            yield received
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    running = watched("tool")(returning(echo))()
    assert await anext(running) == "ready"
    assert await running.asend("a") == "a"
    assert await running.athrow(KeyError("x")) == "KeyError('x')"
    await running.aclose()
    assert closed == [True]


async def test_async_generator_failure(watched, the_call):
    """An exception of such an async generator propagates as the same object, and the call is a failure."""
    error = LookupError("no such page")

    async def pages():
        yield 1
        raise error

    running = watched("tool")(returning(pages))()
    await anext(running)
    with pytest.raises(LookupError) as caught:
        await anext(running)
    assert caught.value is error
    assert the_call().outcome == "failure"


async def test_coroutine_that_returns_an_async_generator(watched, the_call, stopwatch):
    """A coroutine function that returns an async generator is timed to its last item, too."""

    async def pages():
        stopwatch.spend()
        yield 1

    async def open_pages():
        return pages()

    assert [page async for page in await watched("tool")(open_pages)()] == [1]
    stopwatch.assert_covers(the_call().duration_s)


class Stream:
    """A stream as OpenAI's SDK makes it: it keeps the generator of its items in a field."""

    def __init__(self, items):
        self._iterator = items

    def __iter__(self):
        yield from self._iterator

    def __next__(self):
        return next(self._iterator)


Stream.__module__ = "openai._streaming"


def test_stream_of_an_sdk(watched, the_call, stopwatch):
    """The stream of a model's SDK that a function returns is the same object, and is timed to its last item."""

    def chunks():
        stopwatch.spend()
        yield {"object": "chat.completion.chunk"}

    stream = Stream(chunks())
    tool = watched("tool")(lambda: stream)
    assert tool() is stream
    assert len(list(stream)) == 1
    stopwatch.assert_covers(the_call().duration_s)


def test_other_iterator(watched):
    """Any other iterator that a function returns is the same object, with nothing taken from it."""
    for iterator in (iter([1, 2]), map(str, [1, 2]), zip([1], [2], strict=True)):
        tool = watched("tool")(lambda iterator=iterator: iterator)
        assert tool() is iterator
        assert len(list(iterator)) > 0
