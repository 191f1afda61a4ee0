"""Streams that a function returns: its call ends with the last item, and counts what the items told."""

from __future__ import annotations

import asyncio
import functools
import gc
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Usage, current_call, instrument, monitored, setup, uninstrument
from toolweaver_monitor.testing import ToolRecorder

CHUNKS = ({"text": "to"}, {"text": "tal"}, {"tokens_used": 120, "cost": 2.0})


@pytest.fixture
def recorder() -> Iterator[ToolRecorder]:
    with ToolRecorder() as recorder:
        yield recorder


def items() -> Iterator[Any]:
    yield from map(dict, CHUNKS)  # new ones: an item that comes again is charged once


async def async_items() -> AsyncIterator[Any]:
    for chunk in CHUNKS:
        await asyncio.sleep(0)
        yield dict(chunk)


def breaking() -> Iterator[Any]:
    yield {"tokens_used": 7}
    raise ConnectionError("the stream broke")


def sdk_class(name: str = "Stream", module: str = "openai._streaming") -> Any:
    """Return a class as OpenAI's: a stream that keeps the generator of its items in a field."""

    class Stream:
        def __init__(self, chunks: Any) -> None:
            self._iterator = chunks

        def __iter__(self) -> Iterator[Any]:
            yield from self._iterator

        def __next__(self) -> Any:
            return next(self._iterator)

    Stream.__name__ = Stream.__qualname__ = name
    Stream.__module__ = module
    return Stream


def async_sdk_class() -> Any:
    class AsyncStream:
        def __init__(self, chunks: Any) -> None:
            self._iterator = chunks

        async def __aiter__(self) -> AsyncIterator[Any]:
            async for chunk in self._iterator:
                yield chunk

        async def __anext__(self) -> Any:
            return await anext(self._iterator)

    AsyncStream.__qualname__, AsyncStream.__module__ = "AsyncStream", "openai._streaming"
    return AsyncStream


def manager_class() -> Any:
    """Return a class as Anthropic's: a manager that keeps the request which `with` sends."""

    class MessageStreamManager:
        def __init__(self, api_request: Callable[[], Any]) -> None:
            self.__api_request = api_request

        def __enter__(self) -> Any:
            return self.__api_request()

        def __exit__(self, *_: object) -> None:
            pass

    MessageStreamManager.__qualname__ = "MessageStreamManager"
    MessageStreamManager.__module__ = "anthropic.lib.streaming._messages"
    return MessageStreamManager


def returning(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a plain function that returns what another one makes."""

    def chat() -> Any:
        return make()

    return chat


def returning_one(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that hands its argument on to another one."""

    def chat(argument: Any) -> Any:
        return make(argument)

    return chat


def told(recorder: ToolRecorder, name: str = "chat") -> list[tuple[str, int, float | None, int | None]]:
    return [(call.outcome, call.tokens, call.cost_usd, call.items) for call in recorder.calls(name)]


def test_a_returned_generator_is_watched_to_its_end(recorder: ToolRecorder) -> None:
    """Tokens, cost, items and duration are those of the whole stream. Seen red: 0 tokens at the return."""

    @monitored("chat")
    def chat() -> Iterator[Any]:
        return items()

    stream = chat()
    assert isinstance(stream, types.GeneratorType)
    assert (stream.__name__, stream.__qualname__) == ("items", "items")
    assert recorder.calls() == []
    assert list(stream) == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]
    (call,) = recorder.calls()
    assert call.first_item_s is not None
    assert 0 < call.first_item_s <= call.duration_s


async def test_a_returned_async_generator_is_watched_to_its_end(recorder: ToolRecorder) -> None:
    """From a plain function, from a coroutine function, and from a function that returns a coroutine."""

    @monitored("plain")
    def plain() -> AsyncIterator[Any]:
        return async_items()

    @monitored("coroutine")
    async def coroutine() -> AsyncIterator[Any]:
        return async_items()

    @monitored("later")
    def later() -> Any:
        async def make() -> AsyncIterator[Any]:
            return async_items()

        return make()

    for stream in (plain(), await coroutine(), await later()):
        assert isinstance(stream, types.AsyncGeneratorType)
        assert [chunk async for chunk in stream] == list(CHUNKS)
    for name in ("plain", "coroutine", "later"):
        assert told(recorder, name) == [("success", 120, 2.0, 3)]


def test_a_returned_generator_keeps_the_whole_protocol(recorder: ToolRecorder) -> None:
    """`send`, `throw`, `close` and the return value are those of the user's generator."""

    def echo() -> Any:
        received = yield "ready"
        try:
            while received:
                received = yield received * 2
        except KeyError as error:
            yield repr(error)
        return "result"

    chat: Any = monitored("chat")(returning(echo))
    stream = chat()
    assert [next(stream), stream.send(2), stream.throw(KeyError("x"))] == ["ready", 4, "KeyError('x')"]
    with pytest.raises(StopIteration) as stopped:
        next(stream)
    assert stopped.value.value == "result"
    stream = chat()
    next(stream)
    stream.close()
    assert [outcome for outcome, *_ in told(recorder)] == ["success", "abandoned"]


def test_an_error_of_the_stream_is_the_error_of_the_call(recorder: ToolRecorder) -> None:
    """Seen red: the call was a success when the stream broke."""
    chat: Any = monitored("chat")(returning(breaking))
    with pytest.raises(ConnectionError, match="broke"):
        list(chat())
    assert told(recorder) == [("failure", 7, None, 1)]
    assert recorder.calls()[0].error == "the stream broke"


def test_calls_inside_a_returned_generator_are_part_of_its_call(recorder: ToolRecorder) -> None:
    """And what it records counts for it."""
    helper: Any = monitored("helper")(lambda: None)

    def body() -> Iterator[int]:
        helper()
        yield 1
        current_call().record(tokens=5)
        helper()

    chat: Any = monitored("chat")(returning(body))
    for _ in chat():
        monitored("consumer")(lambda: None)()
    (call,) = recorder.calls("chat")
    assert call.tokens == 5
    assert [inner.parent_id for inner in recorder.calls("helper")] == [call.call_id] * 2
    assert [other.parent_id for other in recorder.calls("consumer")] == [None]


def test_a_returned_stream_that_is_dropped_is_abandoned(recorder: ToolRecorder) -> None:
    """Before its first item, and later; what it had told counts."""
    chat: Any = monitored("chat")(returning(breaking))
    chat()
    next(chat())
    gc.collect()
    assert told(recorder) == [("abandoned", 0, None, None), ("abandoned", 7, None, 1)]


def test_extractors_are_given_each_item(recorder: ToolRecorder) -> None:
    """As for a generator function: `usage=` and `cost=` read the items and not the generator."""

    @monitored("chat", usage=lambda item: Usage(tokens=item, increment=True), cost=lambda item: item / 100)
    def chat() -> Iterator[int]:
        return (number for number in (1, 2))

    assert list(chat()) == [1, 2]
    assert told(recorder) == [("success", 3, 0.03, 2)]


def test_a_declared_cost_is_charged_at_the_end(recorder: ToolRecorder) -> None:
    """And not for a stream that breaks."""
    for make in (items, breaking):
        chat: Any = monitored("chat", cost=0.5, usage=False)(make)
        plain: Any = monitored("plain", cost=0.5, usage=False)(returning(make))
        for tool in (chat, plain):
            try:
                list(tool())
            except ConnectionError:
                pass
    assert told(recorder) == told(recorder, "plain") == [("success", 0, 0.5, 3), ("failure", 0, None, 1)]


@pytest.mark.parametrize("make", [sdk_class, async_sdk_class], ids=["sync", "async"])
async def test_the_stream_of_an_sdk_is_watched_and_stays_itself(make: Any, recorder: ToolRecorder) -> None:
    """The function's caller gets the very object, of the very class. Seen red: 0 tokens and no cost."""
    kind = make()
    stream = kind(items() if make is sdk_class else async_items())

    @monitored("chat")
    def chat() -> Any:
        return stream

    assert chat() is stream
    assert type(stream) is kind
    assert recorder.calls() == []
    if make is sdk_class:
        assert [next(stream), *stream] == list(CHUNKS)
    else:
        assert [await anext(stream)] + [chunk async for chunk in stream] == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_stream_of_an_sdk_beside_other_values_is_watched(
    is_async: bool, kind: Any, recorder: ToolRecorder
) -> None:
    """`return stream, request_id`, also through an agent around.

    Seen red: 0 tokens, and not unpriced.
    """
    result = kind((sdk_class()(items()), "req_1"))

    async def answer() -> Any:
        return result

    if is_async:
        agent = monitored("agent")(monitored("chat")(answer))
        assert await agent() is result
    else:
        assert monitored("agent")(monitored("chat")(lambda: result))() is result
    assert recorder.calls() == []
    assert list(result[0]) == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]
    assert told(recorder, "agent") == [("success", 0, None, 3)]


async def test_a_coroutine_function_may_return_the_stream_of_an_sdk(recorder: ToolRecorder) -> None:
    @monitored("chat")
    async def chat() -> Any:
        return async_sdk_class()(async_items())

    assert [chunk async for chunk in await chat()] == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]


async def test_a_future_may_hold_the_stream_of_an_sdk(recorder: ToolRecorder) -> None:
    """It is watched in place; a generator in a future cannot be, and is as it was."""
    loop = asyncio.get_running_loop()
    streams = [async_sdk_class()(async_items()), async_items()]

    @monitored("chat")
    def chat(stream: Any) -> Any:
        future = loop.create_future()
        future.set_result(stream)
        return future

    for stream in streams:
        found = await chat(stream)
        assert found is stream
        await asyncio.sleep(0)
        assert [chunk async for chunk in found] == list(CHUNKS)
    assert sorted(told(recorder), key=str) == [("success", 0, None, None), ("success", 120, 2.0, 3)]


def test_a_stream_that_makes_its_items_late_is_watched(recorder: ToolRecorder) -> None:
    """Anthropic's makes its generator when it is first asked for it, from a copy of the stream."""

    class Late:
        @functools.cached_property
        def _iterator(self) -> Iterator[Any]:
            return items()

        def __iter__(self) -> Iterator[Any]:
            yield from self._iterator

        def __next__(self) -> Any:
            return next(self._iterator)

    Late.__qualname__, Late.__module__ = "Stream", "anthropic._streaming"
    chat: Any = monitored("chat")(returning(Late))
    assert list(chat()) == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]


def test_a_stream_manager_is_watched(recorder: ToolRecorder) -> None:
    """Its call ends with the stream that the `with` block opens; its error is that of the request."""

    def refused() -> Any:
        raise PermissionError("no key")

    chat: Any = monitored("chat")(returning_one(manager_class()))
    with chat(lambda: sdk_class()(items())) as stream:
        assert list(stream) == list(CHUNKS)
    with pytest.raises(PermissionError), chat(refused):
        pass
    chat(lambda: None)  # dropped
    assert told(recorder) == [("success", 120, 2.0, 3), ("failure", 0, None, None), ("abandoned", 0, None, None)]


@pytest.mark.filterwarnings("error")
async def test_an_async_stream_manager_is_watched(recorder: ToolRecorder) -> None:
    """Its request is a coroutine, of which Python warns as ever if the manager is never entered."""

    class AsyncMessageStreamManager:
        def __init__(self, api_request: Any) -> None:
            self.__api_request = api_request

        async def __aenter__(self) -> Any:
            return await self.__api_request

        async def __aexit__(self, *_: object) -> None:
            pass

    AsyncMessageStreamManager.__qualname__ = "AsyncMessageStreamManager"
    AsyncMessageStreamManager.__module__ = "anthropic.lib.streaming._messages"

    async def request() -> Any:
        return async_sdk_class()(async_items())

    chat: Any = monitored("chat")(lambda: AsyncMessageStreamManager(request()))
    async with chat() as stream:
        assert [chunk async for chunk in stream] == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)]
    with pytest.warns(RuntimeWarning, match=r"request' was never awaited") as warned:
        chat()  # dropped
    assert len(warned) == 1
    assert told(recorder)[1:] == [("abandoned", 0, None, None)]


def test_a_stream_that_tells_no_usage_is_unpriced(recorder: ToolRecorder) -> None:
    """A provider charges for it, so its cost is unknown and not 0; also if it is dropped before its first item."""
    chat: Any = monitored("chat")(lambda: sdk_class()({"text": text} for text in "ab"))
    assert len(list(chat())) == 2
    chat()
    assert recorder.monitor.summary()["unpriced_calls"] == 2
    monitored("quiet", usage=False)(lambda: sdk_class()({"text": text} for text in "ab"))()
    assert recorder.monitor.summary()["unpriced_calls"] == 2


class CustomStreamWrapper:
    """A class as LiteLLM's, which makes each item by itself, in both ways."""

    __module__ = "litellm.litellm_core_utils.streaming_handler"

    def __init__(self, chunks: Any) -> None:
        self.chunks = iter(chunks)

    def __iter__(self) -> Any:
        return self

    def __aiter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.chunks)

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        for chunk in self.chunks:
            return chunk
        raise StopAsyncIteration


@pytest.mark.parametrize("kind", [CustomStreamWrapper, sdk_class()], ids=["steps", "its own generator"])
def test_a_stream_that_makes_each_item_by_itself_is_watched(kind: Any, recorder: ToolRecorder) -> None:
    """It stays the object that it is, and an instance of its class; also if two calls return it."""
    made = kind(iter(CHUNKS))
    chat: Any = monitored("chat")(returning(lambda: made))
    stream = monitored("agent")(returning(chat))()
    assert stream is made
    assert isinstance(stream, kind)
    assert (type(stream).__qualname__, type(stream).__module__) == (kind.__qualname__, kind.__module__)
    assert list(stream) == list(CHUNKS)
    assert next(stream, "end") == "end"
    assert told(recorder) == [("success", 120, 2.0, 3)]
    assert told(recorder, "agent") == [("success", 0, None, 3)]
    assert list(kind(iter(CHUNKS))) == list(CHUNKS)  # others of its class are not touched
    assert len(recorder.calls()) == 2


async def test_a_stream_that_makes_each_item_by_itself_is_watched_on_a_loop(recorder: ToolRecorder) -> None:
    chat: Any = monitored("chat")(returning_one(CustomStreamWrapper))
    assert [chunk async for chunk in chat(CHUNKS)] == list(CHUNKS)
    stream = chat(CHUNKS)
    await anext(stream)
    with pytest.raises(ConnectionError, match="broke"):
        [chunk async for chunk in chat(breaking())]
    del stream
    gc.collect()
    await asyncio.sleep(0.01)
    assert sorted(told(recorder)) == [("abandoned", 0, None, 1), ("failure", 7, None, 1), ("success", 120, 2.0, 3)]


def test_a_stream_that_cannot_be_watched_is_unpriced(recorder: ToolRecorder) -> None:
    """It comes back as itself, and a budget of dollars says that it cannot hold."""

    class Stream:
        __slots__ = ("chunks",)
        __module__ = "openai._streaming"

        def __next__(self) -> Any:
            return next(self.chunks)

    Stream.__qualname__ = "Stream"
    stream = Stream()

    def chat() -> Any:
        return stream

    assert monitored("chat")(chat)() is stream
    assert told(recorder) == [("success", 0, None, None)]
    assert recorder.monitor.summary()["unpriced_calls"] == 1
    with setup(budget=Budget(limit_usd=1, name="money")) as monitor:
        assert monitored("chat")(chat)() is stream
        (problem,) = monitor.health()["problems"]
        assert problem.startswith("budget 'money' cannot hold: the cost of 1 call is unknown")


@pytest.mark.parametrize("make", [items, lambda: sdk_class()(items())], ids=["generator", "sdk"])
def test_a_budget_is_charged_at_the_end_of_a_returned_stream(make: Callable[[], Any]) -> None:
    """Seen red: 20 streams of $2 ran under a limit of a cent."""
    with setup(budget=Budget(limit_usd=0.01, name="money")) as monitor:
        chat = monitored("chat")(returning(make))
        assert list(chat()) == list(CHUNKS)
        with pytest.raises(BudgetExceeded):
            chat()
        assert monitor.health()["budgets"][0]["spent"] == 2.0


def test_what_a_call_inside_has_told_is_counted_once(recorder: ToolRecorder) -> None:
    """An agent that returns the stream of a tool, and the tool, are both watched; the money is the tool's."""
    for make in (items, lambda: sdk_class()(items())):
        chat: Any = monitored("chat")(returning(make))
        agent: Any = monitored("agent")(returning(chat))
        assert list(agent()) == list(CHUNKS)
    assert told(recorder) == [("success", 120, 2.0, 3)] * 2
    assert told(recorder, "agent") == [("success", 0, None, 3)] * 2
    (first, _), (agent_call, _) = recorder.calls("chat"), recorder.calls("agent")
    assert first.parent_id == agent_call.call_id


def test_of_an_instrumented_module_only_the_streams_of_sdks_are_watched(recorder: ToolRecorder) -> None:
    """The generators that its functions return stay the same objects: its own identity tests stay green."""
    module = types.ModuleType("pages")
    kept: dict[str, Any] = {"generator": items(), "sdk": sdk_class()(items())}

    def fetch(name: str) -> Any:
        return kept[name]

    fetch.__module__ = "pages"
    module.fetch = fetch  # type: ignore[attr-defined]
    instrument(module)
    try:
        for name, stream in kept.items():
            assert module.fetch(name) is stream  # type: ignore[attr-defined]
            assert list(stream) == list(CHUNKS)
    finally:
        uninstrument(module)
    assert [(call.tokens, call.items) for call in recorder.calls()] == [(0, None), (120, 3)]


@pytest.mark.parametrize("make", [lambda: map(str, (1, 2)), lambda: iter([1])], ids=["map", "iterator"])
def test_another_iterator_comes_back_as_itself_and_a_budget_says_so(make: Callable[[], Any]) -> None:
    """Once for each tool, and only if a budget of dollars or tokens applies to it."""
    made = make()
    for budget, notes in ((Budget(limit_usd=1), 1), (Budget(limit_tokens=1), 1), (Budget(limit_calls=9), 0), (None, 0)):
        with setup(budget=budget) as monitor:
            assert monitored("rows")(returning(lambda: made))() is made
            monitored("rows")(returning(make))()
            monitored("other", usage=False)(returning(make))()
            found = [note for note in monitor.health()["notes"] if note.startswith("no budget of dollars or tokens")]
            assert len(found) == notes
            assert all("holds for 'rows'" in note for note in found)
            assert monitor.summary()["unpriced_calls"] == 0
    assert len(list(made)) in (1, 2)
