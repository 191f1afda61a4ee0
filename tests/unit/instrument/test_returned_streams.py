"""Streams that a function returns and does not yield from: their cost is not counted, and the log says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from toolweaver_monitor import monitored
from toolweaver_monitor._instrument import results
from toolweaver_monitor.testing import ToolRecorder


def step(self: Any) -> Any:
    raise StopIteration


def class_of(name: str, module: str, *methods: str) -> Any:
    return type(name, (), {"__module__": module, "__iter__": lambda self: self, **dict.fromkeys(methods, step)})


def warnings_of(kind: Any, caplog: pytest.LogCaptureFixture, **declared: Any) -> int:
    results._warned.clear()
    caplog.clear()

    @monitored("chat", **declared)
    def chat() -> Any:
        return stream

    @monitored("achat", **declared)
    async def achat() -> Any:
        return stream

    stream = kind()
    with caplog.at_level(logging.WARNING, "toolweaver_monitor"), ToolRecorder():
        assert [chat(), chat()] == [stream, stream]
        assert asyncio.run(achat()) is stream
    return sum("returned a stream" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("name", "module", "method", "expected"),
    [
        ("Stream", "openai", "__next__", 2),  # once for each of the two tools
        ("AsyncStream", "openai", "__anext__", 2),
        ("MessageStreamManager", "anthropic.lib.streaming._messages", "__enter__", 2),
        ("CustomStreamWrapper", "litellm.main", "__next__", 2),
        ("StreamStartEvent", "cohere.types", "model_dump", 0),  # a pydantic model can be iterated over
        ("OpenAI", "openai", "__enter__", 0),
        ("Stream", "mine", "__next__", 0),
    ],
)
def test_a_returned_stream_of_an_sdk_is_told_once(
    name: str, module: str, method: str, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown is said. Seen red: such a call was a success that had cost nothing, and nothing was said."""
    assert warnings_of(class_of(name, module, method), caplog) == expected


def test_a_tool_whose_results_are_not_read_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(class_of("Stream", "openai", "__next__"), caplog, usage=False) == 0


def test_the_same_stream_in_a_generator_counts(caplog: pytest.LogCaptureFixture) -> None:
    """What the warning asks for."""
    stream_class = class_of("Stream", "openai")
    stream_class.__iter__ = lambda _: iter([{"tokens_used": 120}])
    results._warned.clear()

    @monitored("chat")
    def chat() -> Iterator[Any]:
        yield from stream_class()

    with caplog.at_level(logging.WARNING, "toolweaver_monitor"), ToolRecorder() as recorder:
        list(chat())
        assert [call.tokens for call in recorder.calls()] == [120]
    assert not results._warned
