"""What a user learns of a `tool_name`, `usage`, `cost` or `failed` callable that raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wrapt

from toolweaver_monitor import Budget, instrument, monitored, setup, uninstrument
from toolweaver_monitor._instrument import shield
from toolweaver_monitor.testing import ToolRecorder


@wrapt.decorator  # type: ignore[untyped-decorator, unused-ignore]
def span(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def name_after_object(self: Any, *args: Any, **kwargs: Any) -> str:
    name: str = self.name
    return name


class Tool:
    name = "ocr"

    @monitored(tool_name=name_after_object)
    @span
    def call(self, page: int) -> int:
        return page

    @monitored(tool_name=name_after_object)
    @span
    async def acall(self, page: int) -> int:
        return page

    @monitored(tool_name=lambda page: f"page {page}")
    @span
    def by_page(self, page: int) -> int:
        return page

    @span
    def bare(self, page: int) -> int:
        return page


def test_a_naming_function_that_asks_for_self_gets_it_on_a_method_of_another_decorator() -> None:
    """Also if the method is called through the class. One that does not ask gets the arguments alone.

    Seen red: without `_wrap_with_self` the call was named `call`, and the naming function had raised.
    """
    other = Tool()
    other.name = "search"
    with ToolRecorder() as recorder:
        assert (Tool().call(1), other.call(page=2), Tool.call(other, 3), Tool().by_page(4)) == (1, 2, 3, 4)
        with pytest.raises(StopIteration) as end:
            other.acall(5).send(None)
        assert end.value.value == 5
        assert [call.tool_name for call in recorder.calls()] == ["ocr", "search", "search", "page 4", "search"]


def test_instrument_gives_self_to_a_naming_function_as_well() -> None:
    """LlamaIndex decorates the methods of all its tools so."""
    instrument(Tool, methods=["bare"], tool_name=name_after_object)
    try:
        with ToolRecorder() as recorder:
            Tool().bare(1)
            assert [call.tool_name for call in recorder.calls()] == ["ocr"]
    finally:
        uninstrument(Tool)


def broken(*_: Any) -> Any:
    raise KeyError("usage")


@pytest.mark.parametrize("role", ["usage", "cost", "failed", "tool_name"])
def test_the_log_names_the_extractor_that_failed_once_and_how(role: str, caplog: pytest.LogCaptureFixture) -> None:
    """One WARNING for each extractor, however often it fails; the tool goes on.

    Seen red: it was one more of the number of extractors in `health()`.
    """
    shield._reported.clear()
    arguments: dict[str, Any] = {role: broken}
    tool = monitored(**arguments)(lambda: {"text": "a"})
    with ToolRecorder(), caplog.at_level(logging.WARNING, "toolweaver_monitor"):
        for _ in range(3):
            tool()
    (message,) = [record.getMessage() for record in caplog.records]
    line = broken.__code__.co_firstlineno
    assert message == (
        f"toolweaver_monitor: {role}=broken, {__file__}:{line} raised KeyError: 'usage'; the call goes on without it"
    )


def test_the_log_names_the_naming_function_of_instrument(caplog: pytest.LogCaptureFixture) -> None:
    """That of the user, and not what stands around it. A secret in the error is masked."""
    shield._reported.clear()

    def read_name(x: int) -> str:
        raise ValueError("no name for password=hunter2\nline two")

    instrument(Tool, methods=["bare"], tool_name=read_name)
    try:
        with ToolRecorder(), caplog.at_level(logging.WARNING, "toolweaver_monitor"):
            Tool().bare(1)
    finally:
        uninstrument(Tool)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "tool_name=test_the_log_names_the_naming_function_of_instrument.<locals>.read_name, " in message
    assert "ValueError: no name for" in message
    assert "hunter2" not in message
    assert "\n" not in message


def fail_to_read(_result: object) -> Any:
    raise KeyError("usage")


@pytest.mark.parametrize("answer", [fail_to_read, lambda _: {"tokens": 5}, lambda _: "5", lambda _: float("nan")])
@pytest.mark.parametrize("role", ["usage", "cost"])
@pytest.mark.parametrize("kind", ["function", "generator"])
def test_a_call_whose_extractor_fails_is_unpriced(
    kind: str, role: str, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises, or returns no `Usage`, or no amount. What the call cost is unknown, not nothing: a budget of dollars
    says that it cannot hold, and the log names the extractor.

    Seen red: with an answer of `UNREAD` left as it is, for either role; generators and wrong answers cost $0.
    """
    shield._reported.clear()
    monitor = setup(budget=Budget(limit_usd=1))
    extractor: dict[str, Any] = {role: answer}

    def items() -> Iterator[str]:
        yield from ("a", "b")

    with caplog.at_level(logging.WARNING, "toolweaver_monitor"):
        if kind == "generator":
            assert list(monitored("chat", **extractor)(items)()) == ["a", "b"]
        else:
            assert monitored("chat", **extractor)(lambda: "text")() == "text"
    assert monitor.summary()["unpriced_calls"] == 1
    assert "the cost of 1 call is unknown" in monitor.health()["problems"][0]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"toolweaver_monitor: {role}={answer.__qualname__}, {__file__}")
    if answer is not fail_to_read:
        wanted = "Usage" if role == "usage" else "amount of dollars"
        assert f" returned {type(answer(None)).__name__}, which is no {wanted}; " in message


def test_what_else_tells_the_cost_counts_if_an_extractor_fails() -> None:
    """A declared cost in place of `usage=`, the price of the tokens in place of `cost=`.

    Seen red: the second was unpriced.
    """
    monitor = setup(prices={"m": {"input": 2.0, "output": 2.0}})
    monitored("declared", usage=fail_to_read, cost=0.25)(lambda: "text")()
    monitored("priced", cost=fail_to_read)(lambda: {"model": "m", "tokens_used": 500_000})()
    assert monitor.costs.costs == {"declared": 0.25, "priced": 1.0}
    assert monitor.summary()["unpriced_calls"] == 0
