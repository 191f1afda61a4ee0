"""Tokens and dollars of documented payloads, read as their providers mean them.

Each case runs as plain dicts, which needs no SDK, and as objects of the SDK's own classes if that SDK is installed:
`pip install -e '.[sdks]'`, or `nox -s sdks`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import payloads_anthropic
import payloads_compatible
import payloads_frameworks
import payloads_google
import payloads_openai
import payloads_others
import pytest
from payload_kit import Case, micro_dollars
from price_pages import PRICES

from toolweaver_monitor import ToolCall, monitored
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.testing import ToolRecorder

CASES: list[Case] = [
    *payloads_openai.CASES,
    *payloads_compatible.CASES,
    *payloads_anthropic.CASES,
    *payloads_google.CASES,
    *payloads_others.CASES,
    *payloads_frameworks.CASES,
]
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it asks the network


@pytest.fixture(autouse=True)
def only_the_price_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """genai-prices stays out: dollars come from the prices copied by hand."""
    monkeypatch.setattr(PriceBook, "start_loading", lambda _: None)


def returned(result: Any, tool: str) -> ToolCall:
    """Return the call of a monitored tool that returns this, or yields it if it is a list."""
    with ToolRecorder(prices=PRICES) as recorder:
        if isinstance(result, list):

            @monitored(tool)
            def stream() -> Iterator[Any]:
                yield from result

            assert list(stream()) == result
        else:

            @monitored(tool)
            def answer() -> Any:
                return result

            assert answer() is result
        return recorder.calls(tool)[0]


def check(case: Case, call: ToolCall, provider: str | None) -> None:
    assert (call.input_tokens, call.output_tokens, call._unsplit_tokens) == (case.given, case.made, case.unsplit)
    assert (call.cached_tokens, call.cache_write_tokens) == (case.cached, case.written)
    assert call._cache_write_1h_tokens == case.written_1h
    assert call._audio_tokens == (case.heard, case.heard_cached, case.spoken)
    assert call.tokens == case.given + case.made + case.unsplit
    assert (call.model, call.provider, call.cached) == (case.model, provider, case.cache_hit)
    if case.costs is None:
        assert (call._cost_nanousd, call.cost_source) == (None, None)
    else:
        # Exactly these nano-dollars: a thousand a micro-dollar, rounded once, half to even.
        assert call._cost_nanousd == round(micro_dollars(case.costs) * 1_000)
        assert call.cost_source == case.cost_source


def test_sixty_payloads_are_documented_and_each_row_says_where_it_comes_from() -> None:
    """At least sixty rows have the figures of a published example or recording, and name the document and the place."""
    documented = [case for case in CASES if case.documented]
    assert len(documented) >= 60
    for case in documented:
        document, at, place = case.source.replace("#", ", ", 1).partition(", ")
        assert document.startswith("https://"), case.name
        assert (at and place) or "/fixtures/" in document, f"{case.name}: where in {document}?"
    assert all(case.source.startswith(("https://", "docs/")) for case in CASES)
    assert len({case.name for case in CASES}) == len(CASES)


def test_expected_dollars_are_worked_out_by_hand() -> None:
    """The sum is written in the row, and its terms are tokens that stand in the payload times prices of the page."""
    assert micro_dollars("86 x 2.50 + 1920 x 1.25 + 300 x 10.00") == Fraction(5615)
    for case in CASES:
        for term in (case.costs or "").split("+"):
            tokens, times, _ = term.partition("x")
            assert not times or int(tokens) <= case.given + case.made + case.unsplit, case.name


@pytest.mark.parametrize("case", [case for case in CASES if case.plain], ids=lambda case: case.name)
def test_a_documented_payload_is_read_from_plain_dicts(case: Case) -> None:
    """The JSON that a provider sends, passed on by a tool unchanged."""
    check(case, returned(case.payload, case.tool), case.provider)


@pytest.mark.parametrize("case", [case for case in CASES if case.sdk], ids=lambda case: case.name)
def test_a_documented_payload_is_read_from_the_objects_of_the_sdk(case: Case) -> None:
    """The object that the provider's own SDK makes of it."""
    check(case, returned(built(case), case.tool), case.provider or case.sdk_provider)


def built(case: Case) -> Any:
    """Return the payload as the SDK's own classes hold it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some SDKs finish their classes on first use, with warnings
        if not isinstance(case.payload, list):
            return made(case, case.sdk, case.payload)
        kinds = case.sdk if isinstance(case.sdk, tuple) else (case.sdk,) * len(case.payload)
        return [made(case, kind, event) for kind, event in zip(kinds, case.payload, strict=True)]


def made(case: Case, kind: Any, payload: dict[str, Any]) -> Any:
    if case.made_by == "converse":
        return conversed(payload)
    if case.made_by == "agent":
        return run_by_agent(**payload)
    thing = sdk(*kind.split(":"))
    if case.made_by == "generations":
        return generated(thing, **payload)
    if case.made_by == "call":
        return thing(**payload)
    if case.made_by == "construct":  # as the SDKs make their objects: what the API leaves out or adds is no error
        return sdk("anthropic._models" if kind.startswith("anthropic") else "openai._models", "construct_type")(
            value=payload, type_=thing
        )
    if case.made_by == "hidden":
        hidden = payload.pop("_hidden_params")
        answer = thing(**payload)
        payload["_hidden_params"] = answer._hidden_params = hidden
        return answer
    return thing.model_validate(payload)


def generated(kind: Any, generations: list[Any], llm_output: Any) -> Any:
    """Return a result of LangChain's, whose messages are objects, too."""
    generation, message = sdk("langchain_core.outputs", "ChatGeneration"), sdk("langchain_core.messages", "AIMessage")

    def made_of(part: Any) -> Any:
        return [made_of(each) for each in part] if isinstance(part, list) else generation(message=message(**part))

    return kind(generations=made_of(generations), llm_output=llm_output)


def sdk(module: str, name: str | None = None) -> Any:
    """Return a class of an SDK, or a module of it; skip the test if it is not installed."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if os.environ.get("TOOLWEAVER_SDKS_EXPECTED"):
            raise
        pytest.skip(f"{missing.name} is not installed: pip install -e '.[sdks]', or nox -s sdks")
    return found if name is None else getattr(found, name)


def conversed(payload: dict[str, Any]) -> Any:
    """Return what boto3 makes of it, checked against Amazon's own model of the service; nothing is sent."""
    client = sdk("boto3").client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    with sdk("botocore.stub").Stubber(client) as stub:
        stub.add_response("converse", payload)
        return client.converse(
            modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "List ..."}]}]
        )


def run_by_agent(usage: dict[str, int], model_name: str, provider_name: str) -> Any:
    """Return the result of an agent whose model answers at once and reports this usage."""
    messages, models = sdk("pydantic_ai.messages"), sdk("pydantic_ai.models.function")

    def answer(*_: Any) -> Any:
        request_usage = sdk("pydantic_ai.usage").RequestUsage(**usage)
        return messages.ModelResponse(
            parts=[messages.TextPart("Hi")], usage=request_usage, model_name=model_name, provider_name=provider_name
        )

    return asyncio.run(sdk("pydantic_ai").Agent(models.FunctionModel(answer, model_name=model_name)).run("Hello"))
