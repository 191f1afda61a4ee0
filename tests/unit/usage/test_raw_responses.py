"""Raw HTTP responses of SDKs: the body that they hold is read, and one that has not come is of unknown cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolweaver_monitor._usage import reader_for

ANSWER = {"model": "gpt-4o", "usage": {"prompt_tokens": 100, "completion_tokens": 20}}


class Http:
    """An HTTP response, which reads its body when it is asked for."""

    def __init__(self, body: Any) -> None:
        if body is not None:
            self._content = body

    @property
    def content(self) -> bytes:
        raise AssertionError

    read = json = text = content


def response_of(module: str, name: str, **fields: Any) -> Any:
    kind = type(name, (), {"__module__": module})
    response = kind()
    vars(response).update(fields)
    return response


def read(body: Any, name: str = "LegacyAPIResponse", module: str = "openai._legacy_response") -> Any:
    response = response_of(module, name, http_response=Http(body))
    reader = reader_for(type(response))
    assert reader is not None
    return reader(response)


def test_the_body_is_read() -> None:
    """With the provider that the SDK's parsed answers have. Seen red: 0 tokens, and not unpriced."""
    usage = read(json.dumps(ANSWER).encode())
    assert (usage.input_tokens, usage.output_tokens, usage.model, usage.provider) == (100, 20, "gpt-4o", "openai")
    assert not usage.other_units


def test_an_answer_without_usage_tells_none() -> None:
    """As a list of models."""
    assert read(b'{"object": "list", "data": []}') is None
    assert read(b"[]") is None


@pytest.mark.parametrize("body", [None, b"data: {}\n\n", b"\xff\xfb\x90", b"[" * 100_000, b" " * (4 << 20) + b"{}"])
def test_a_body_that_cannot_be_read_is_of_unknown_cost(body: Any) -> None:
    """It has not come, or is a stream, a sound, nested without end, or large."""
    assert read(body).other_units == 1


@pytest.mark.parametrize("name", ["ResponseContextManager", "AsyncResponseContextManager", "AsyncAPIResponse"])
def test_what_opens_a_streaming_response_is_of_unknown_cost(name: str) -> None:
    assert read(None, name, "anthropic._response").other_units == 1


def test_a_response_that_holds_the_parsed_answer_is_read_from_it() -> None:
    """Cohere's."""
    parsed = response_of("cohere.types", "Chat", meta={"billed_units": {"input_tokens": 100, "output_tokens": 20}})
    response = response_of("cohere.core.http_response", "HttpResponse", _data=parsed)
    usage = reader_for(type(response))(response)  # type: ignore[misc]
    assert (usage.input_tokens, usage.output_tokens, usage.provider) == (100, 20, "cohere")  # type: ignore[union-attr]
