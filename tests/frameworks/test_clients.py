"""The clients of OpenAI, Anthropic and LiteLLM, with answers that are written down in place of the network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolweaver_monitor import instrument, uninstrument

pytest.importorskip("litellm", reason="installed by `nox -s frameworks`")
anthropic = pytest.importorskip("anthropic", reason="installed by `nox -s frameworks`")
openai = pytest.importorskip("openai", reason="installed by `nox -s frameworks`")

try:
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]

QUESTION: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "read it"}]}
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
COUNTS = {"input_tokens": 100, "output_tokens": 20}


def answer(request: Any) -> Any:
    asked = json.loads(request.content)
    if asked["messages"][0]["content"] == "fail":
        return httpx.Response(400, json={"error": {"message": "unreadable"}})
    message = {"id": "1", "created": 1, "model": asked["model"]}
    if request.url.path.endswith("/messages"):
        content = [{"type": "text", "text": "done"}]
        ended = {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
        return httpx.Response(200, json={**message, **ended, "usage": COUNTS})
    if asked.get("stream"):
        part = {**message, "object": "chat.completion.chunk"}
        chunks = [{**part, "choices": [{"index": 0, "delta": {"content": "done"}}]}]
        chunks.append({**part, "choices": [], "usage": USAGE})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, text="".join(lines) + "data: [DONE]\n\n"
        )
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "done"}}
    return httpx.Response(200, json={**message, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def client(kind: Any) -> Any:
    made = httpx.AsyncClient if kind.__name__.startswith("Async") else httpx.Client
    return kind(api_key="none", http_client=made(transport=httpx.MockTransport(answer)), max_retries=0)


def test_a_client_of_openai_shows_each_request(trial: Any, calls: Any) -> None:
    """Under the name of the model, a stream with what it used; another client is not seen."""
    made = instrument(client(openai.OpenAI))
    made.chat.completions.create(**QUESTION)
    list(made.chat.completions.create(stream=True, **QUESTION))
    trial.check(models=2, tools=())
    with pytest.raises(openai.BadRequestError):
        made.chat.completions.create(model=trial.model, messages=[{"role": "user", "content": "fail"}])
    client(openai.OpenAI).chat.completions.create(**QUESTION)
    uninstrument(made)
    made.chat.completions.create(**QUESTION)
    assert [(call.tool_name, call.outcome) for call in calls()] == [(trial.model, "failure")]


async def test_an_async_client_of_openai_shows_each_request(trial: Any) -> None:
    """The same."""
    made = instrument(client(openai.AsyncOpenAI))
    await made.chat.completions.create(**QUESTION)
    async for _ in await made.chat.completions.create(stream=True, **QUESTION):
        pass
    uninstrument(made)
    trial.check(models=2, tools=())


@pytest.mark.parametrize("kind", ["Anthropic", "AsyncAnthropic"])
async def test_a_client_of_anthropic_shows_each_request(trial: Any, kind: str) -> None:
    """Under the name of the model."""
    made = instrument(client(getattr(anthropic, kind)))
    result = made.messages.create(max_tokens=9, **QUESTION)
    if kind.startswith("Async"):
        await result
    uninstrument(made)
    trial.check(models=1, tools=())


@pytest.mark.filterwarnings("ignore")  # of LiteLLM and what it imports
async def test_litellm_shows_each_request(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions are the interface: `instrument(litellm)`."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    instrument(litellm)
    litellm.completion(mock_response="done", **QUESTION)
    await litellm.acompletion(mock_response="done", **QUESTION)
    with pytest.raises(Exception, match="unreadable"):
        litellm.completion(mock_response=Exception("unreadable"), **QUESTION)
    uninstrument(litellm)
    litellm.completion(mock_response="done", **QUESTION)
    found = calls()
    assert [(call.tool_name, call.outcome) for call in found] == [
        ("gpt-4o-mini", "success"),
        ("gpt-4o-mini", "success"),
        ("gpt-4o-mini", "failure"),
    ]
    assert all(call.tokens and call.cost_usd for call in found[:2])


@pytest.mark.usefixtures("everywhere")
def test_all_clients_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    client(openai.OpenAI).chat.completions.create(**QUESTION)
    client(anthropic.Anthropic).messages.create(max_tokens=9, **QUESTION)
    trial.check(models=2, tools=())
