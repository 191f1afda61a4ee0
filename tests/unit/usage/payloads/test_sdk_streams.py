"""Streams of the real SDKs, answered by a transport that sends nothing: what a function returns is counted."""

from __future__ import annotations

import gc
import importlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import monitored
from toolweaver_monitor.testing import ToolRecorder

PRICES = {"gpt-4o": {"input": 2.5, "output": 10.0}, "claude": {"input": 3.0, "output": 15.0}}
OPENAI = [
    {"choices": [{"index": 0, "delta": {"content": "total"}, "finish_reason": None}], "usage": None},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None},
    {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}},
]
OPENAI = [{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", **one} for one in OPENAI]
ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None,
            "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "total"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
    {"type": "message_stop"},
]  # fmt: skip
WHOLE: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "usage": OPENAI[-1]["usage"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "total"}, "finish_reason": "stop"}],
    },
    "anthropic": {**ANTHROPIC[0]["message"], "usage": {"input_tokens": 100, "output_tokens": 20}},
}  # fmt: skip
USD = {"openai": 100 * 2.5e-6 + 20 * 10e-6, "anthropic": 100 * 3e-6 + 20 * 15e-6}


def sdk(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if os.environ.get("TOOLWEAVER_SDKS_EXPECTED"):
            raise
        pytest.skip(f"{name} is not installed: nox -s sdks")


def http_of(name: str) -> Any:
    """Return the HTTP library that an SDK is built on."""
    streaming = vars(sdk(f"{name}._streaming"))
    return streaming.get("httpx2") or streaming["httpx"]


def client_of(name: str, *, is_async: bool, broken: bool = False) -> Any:
    """Return a client of an SDK whose answers are those of its provider: a stream, if one is requested."""
    http, package = http_of(name), sdk(name)
    events = OPENAI if name == "openai" else ANTHROPIC
    lines = [(f"event: {one['type']}\n" if "type" in one else "") + f"data: {json.dumps(one)}\n\n" for one in events]
    if name == "openai":
        lines.append("data: [DONE]\n\n")

    class Body(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[name-defined, misc]
        def __iter__(self) -> Iterator[bytes]:
            for line in lines:
                yield line.encode()
                if broken:
                    raise http.ReadError("the line is dead")

        async def __aiter__(self) -> Any:
            for line in self:
                yield line

    def answer(request: Any) -> Any:
        if not json.loads(request.content).get("stream"):
            return http.Response(200, json=WHOLE[name])
        return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    transport = http.MockTransport(answer)
    kind = getattr(package, ("Async" if is_async else "") + {"openai": "OpenAI", "anthropic": "Anthropic"}[name])
    client = http.AsyncClient(transport=transport) if is_async else http.Client(transport=transport)
    return kind(api_key="none", http_client=client, max_retries=0)


def create(name: str, client: Any, **options: Any) -> Any:
    message = [{"role": "user", "content": "add up"}]
    if name == "openai":
        return client.chat.completions.create(model="gpt-4o", messages=message, stream=True, **options)
    return client.messages.create(model="claude", messages=message, max_tokens=99, stream=True)


def opened(name: str, client: Any) -> Any:
    """Return the manager with which an SDK opens a stream of events."""
    message = [{"role": "user", "content": "add up"}]
    if name == "openai":
        return client.chat.completions.stream(model="gpt-4o", messages=message)
    return client.messages.stream(model="claude", messages=message, max_tokens=99)


@pytest.fixture(params=["openai", "anthropic"])
def name(request: pytest.FixtureRequest) -> Any:
    sdk(request.param)
    return request.param


@pytest.fixture
def recorder() -> Iterator[ToolRecorder]:
    with ToolRecorder(prices=PRICES) as recorder:
        yield recorder


def assert_counted(recorder: ToolRecorder, name: str) -> None:
    (call,) = recorder.calls()
    assert (call.outcome, call.tokens, call.cost_usd) == ("success", 120, pytest.approx(USD[name]))
    assert call.items == len(OPENAI if name == "openai" else ANTHROPIC)


def test_a_stream_is_counted(name: str, recorder: ToolRecorder) -> None:
    """Also by its class: the caller gets what the SDK made."""
    made: list[Any] = []

    @monitored("chat")
    def chat() -> Any:
        made.append(create(name, client_of(name, is_async=False)))
        return made[0]

    stream = chat()
    assert stream is made[0]
    assert type(stream) is sdk(name).Stream
    assert recorder.calls() == []
    with stream:
        list(stream)
    assert_counted(recorder, name)


async def test_an_async_stream_is_counted(name: str, recorder: ToolRecorder) -> None:
    client = client_of(name, is_async=True)

    @monitored("chat")
    async def chat() -> Any:
        return await create(name, client)

    stream = await chat()
    assert type(stream) is sdk(name).AsyncStream
    async for _ in stream:
        pass
    assert_counted(recorder, name)


async def test_an_async_stream_of_a_plain_function_is_counted(name: str, recorder: ToolRecorder) -> None:
    client = client_of(name, is_async=True)

    @monitored("chat")
    def chat() -> Any:
        return create(name, client)

    async for _ in await chat():
        pass
    assert_counted(recorder, name)


def test_a_stream_that_breaks_is_a_failure(name: str, recorder: ToolRecorder) -> None:
    """With the tokens that it had told by then; one without any is unpriced."""
    chat: Any = monitored("chat")(create)
    with pytest.raises(Exception, match=r"dead|Connection error"):
        list(chat(name, client_of(name, is_async=False, broken=True)))
    (call,) = recorder.calls()
    assert (call.outcome, call.items) == ("failure", 1)
    assert recorder.monitor.summary()["unpriced_calls"] == (name == "openai")


def test_a_manager_is_counted(name: str, recorder: ToolRecorder) -> None:
    chat: Any = monitored("chat")(opened)
    with chat(name, client_of(name, is_async=False)) as stream:
        assert recorder.calls() == []
        for _ in stream:
            pass
    assert_counted(recorder, name)


async def test_an_async_manager_is_counted(name: str, recorder: ToolRecorder) -> None:
    chat: Any = monitored("chat")(opened)
    async with chat(name, client_of(name, is_async=True)) as stream:
        async for _ in stream:
            pass
    assert_counted(recorder, name)


def test_a_stream_that_is_dropped_early_is_abandoned(name: str, recorder: ToolRecorder) -> None:
    """Anthropic's at once; OpenAI's refers to itself, and is left to the garbage collector as it is without us."""
    chat: Any = monitored("chat")(create)
    stream = chat(name, client_of(name, is_async=False))
    next(stream)
    del stream
    if name == "openai":
        gc.collect()
    (call,) = recorder.calls()
    assert (call.outcome, call.items) == ("abandoned", 1)


@pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")  # of LiteLLM's own types, by pydantic
async def test_the_stream_of_litellm_is_counted(recorder: ToolRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usage and the cost that it works out itself, as if its chunks were yielded."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = sdk("litellm")
    asked: dict[str, Any] = {
        "model": "gpt-4o", "messages": [{"role": "user", "content": "add up"}], "stream": True,
        "mock_response": "the total", "stream_options": {"include_usage": True},
    }  # fmt: skip

    @monitored("yields")
    def yields() -> Iterator[Any]:
        yield from litellm.completion(**asked)

    @monitored("returns")
    def returns() -> Any:
        return litellm.completion(**asked)

    @monitored("returns later")
    async def returns_later() -> Any:
        return await litellm.acompletion(**asked)

    count = len(list(yields()))
    stream = returns()
    assert isinstance(stream, litellm.CustomStreamWrapper)
    assert len(list(stream)) == len([chunk async for chunk in await returns_later()]) == count
    told = [(call.outcome, call.tokens, call.cost_usd, call.items) for call in recorder.calls()]
    assert told == [told[0]] * 3
    assert told[0][1] > 0


def endpoint(name: str, client: Any) -> Any:
    return client.chat.completions if name == "openai" else client.messages


def asked(name: str, **options: Any) -> dict[str, Any]:
    options |= {"messages": [{"role": "user", "content": "add up"}]}
    return options | ({"model": "gpt-4o"} if name == "openai" else {"model": "claude", "max_tokens": 99})


async def test_a_raw_response_is_read(name: str, recorder: ToolRecorder) -> None:
    """From the body that it holds; nothing of it is called."""

    @monitored("chat")
    def chat(**options: Any) -> Any:
        return endpoint(name, client_of(name, is_async=False)).with_raw_response.create(**asked(name, **options))

    @monitored("achat")
    async def achat() -> Any:
        return await endpoint(name, client_of(name, is_async=True)).with_raw_response.create(**asked(name))

    assert chat().http_response.status_code == 200
    await achat()
    for call in recorder.calls():
        assert (call.outcome, call.tokens, call.cost_usd) == ("success", 120, pytest.approx(USD[name]))
    assert len(recorder.calls()) == 2
    chat(stream=True)
    assert recorder.calls()[2].tokens == 0
    assert recorder.monitor.summary()["unpriced_calls"] == 1


def test_a_streaming_response_is_unpriced(name: str, recorder: ToolRecorder) -> None:
    """Its body has not come when the call ends."""

    @monitored("chat")
    def chat() -> Any:
        return endpoint(name, client_of(name, is_async=False)).with_streaming_response.create(**asked(name))

    with chat() as response:
        assert [line for line in response.iter_lines() if line]
    (call,) = recorder.calls()
    assert (call.outcome, call.tokens, call.cost_usd) == ("success", 0, None)
    assert recorder.monitor.summary()["unpriced_calls"] == 1
