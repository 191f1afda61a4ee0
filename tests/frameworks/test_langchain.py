"""Tools of LangChain, invoked as an agent does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, instrument, monitored, track, uninstrument
from toolweaver_monitor.errors import ConfigurationError

pytest.importorskip("langchain_core", reason="installed by `nox -s frameworks`")

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool

ARGUMENTS = {"shop": "acme", "period": {"year": 2026}}


def made(function: Any) -> Any:
    return tool(function, parse_docstring=True)


def shown(made: Any) -> Any:
    return made.args_schema.model_json_schema(), made.name, made.description, made.args, convert_to_openai_tool(made)


def test_the_schema_is_the_one_without_us(pair: Any) -> None:
    """Parameters, name, description, and the form that a model is given."""
    plain = shown(made(pair.plain))
    assert plain[1:3] == ("find", "Find the receipts of a shop.")
    assert shown(made(pair.watched)) == plain


async def test_a_tool_that_an_agent_calls_is_recorded_once(pair: Any, seen: Any) -> None:
    """`ainvoke` with a model's tool call; a sync tool runs in LangChain's own thread."""
    call = {"name": "find", "args": ARGUMENTS, "id": "1", "type": "tool_call"}
    message = await made(pair.watched).ainvoke(call)
    assert (message.tool_call_id, "acme" in message.content) == ("1", True)
    with pytest.raises(ValueError, match="closed"):
        await made(pair.watched).ainvoke({"shop": "closed"})
    assert seen() == [("find_receipts", "success", 0.5), ("find_receipts", "failure", None)]


def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures; to the model it is a result as any other."""
    made(monitored("read_receipt")(trial.telling(trial.told))).invoke({"image": "a.png"})
    trial.check_told()


def test_a_sync_call_is_recorded_once(seen: Any) -> None:
    """`invoke`."""

    @tool
    @monitored("double")
    def double(number: int) -> int:
        """Double it."""
        return 2 * number

    assert double.invoke({"number": 2}) == 4
    assert seen() == [("double", "success", None)]


def test_a_tool_with_a_config_is_still_seen_to_take_one(seen: Any) -> None:
    """LangChain looks at the parameters' types to know, and gives it at the call."""

    @tool
    @monitored("tell")
    def tell(word: str, config: RunnableConfig) -> str:
        """Tell."""
        return f"{word}: {config['tags']}"

    assert list(tell.tool_call_schema.model_json_schema()["properties"]) == ["word"]
    assert tell.invoke({"word": "hi"}, config={"tags": ["now"]}) == "hi: ['now']"
    assert seen() == [("tell", "success", None)]


async def test_a_tool_that_is_a_class_is_watched_in_its_own_methods(seen: Any) -> None:
    """A subclass of `BaseTool` has its schema made of `_run`, which is `@monitored` as any method."""

    def made(watch: Any) -> Any:
        class Double(BaseTool):
            name: str = "double"
            description: str = "Double it."

            @watch
            def _run(self, number: int) -> int:
                return 2 * number

            @watch
            async def _arun(self, number: int) -> int:
                return 2 * number

        return Double()

    plain, watched = made(lambda function: function), made(monitored("double"))
    assert convert_to_openai_tool(watched) == convert_to_openai_tool(plain)
    assert (watched.invoke({"number": 2}), await watched.ainvoke({"number": 3})) == (4, 6)
    assert seen() == [("double", "success", None)] * 2


def test_the_decorator_above_is_refused_with_its_cure(pair: Any) -> None:
    """`@tool` gives an object that is not called but invoked."""
    with pytest.raises(ConfigurationError, match="below"):
        monitored("find_receipts")(made(pair.plain))


async def test_a_tool_that_somebody_else_made_is_instrumented(pair: Any, seen: Any) -> None:
    """By its own name; other tools of its class are not touched."""
    theirs: StructuredTool = made(pair.plain)
    other: StructuredTool = made(pair.plain)
    before = dict(vars(StructuredTool))
    instrument(theirs, methods=["run", "arun"], tool_name=theirs.name)
    await theirs.ainvoke(ARGUMENTS)
    await other.ainvoke(ARGUMENTS)
    assert [each[:2] for each in seen()] == [("find", "success")]
    uninstrument(theirs)
    await theirs.ainvoke(ARGUMENTS)
    assert seen() == []
    assert dict(vars(StructuredTool)) == before


async def test_a_tool_is_known_by_its_class(trial: Any) -> None:
    """With what a message of its result tells; other tools of its class are not touched."""
    made, other = tool(trial.ocr), tool(trial.ocr)
    instrument(made)
    for arguments in ({"image": "a.png"}, {"name": "ocr", "args": {"image": "a.png"}, "id": "1", "type": "tool_call"}):
        made.invoke(arguments)
        await made.ainvoke(arguments)
    other.invoke({"image": "a.png"})
    with pytest.raises(ValueError, match="unreadable"):
        made.invoke({"image": "bad.png"})
    uninstrument(made)
    made.invoke({"image": "a.png"})
    trial.check(models=0, tools=(*[("success", 7, 0.01)] * 4, ("failure", 0, None)))


def test_an_error_that_langchain_handles_is_a_failure(trial: Any) -> None:
    """It becomes a message with the status `error`."""
    from langchain_core.tools import ToolException

    def ocr(image: str) -> str:
        """Read."""
        raise ToolException("unreadable")

    made = instrument(tool(ocr))
    made.handle_tool_error = True
    made.invoke({"name": "ocr", "args": {"image": "a.png"}, "id": "1", "type": "tool_call"})
    uninstrument(made)
    trial.check(models=0, tools=(("failure", 0, None),))


def test_the_attempts_of_a_tool_with_retries_are_numbered(calls: Callable[[], list[ToolCall]]) -> None:
    """`with_retry()`, also inside a call.

    Seen red: without the reader of its loop, each call was attempt 1.
    """
    left = iter((True, True, False))

    def check() -> str:
        """Look."""
        if next(left):
            raise ConnectionError("busy")
        return "there"

    with track("agent"):
        retried = tool(monitored("check")(check)).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
        assert retried.invoke({}) == "there"
    attempts = [(call.outcome, call.attempt) for call in calls() if call.tool_name == "check"]
    assert attempts == [("failure", 1), ("failure", 2), ("success", 3)]


async def test_the_attempts_of_an_async_tool_with_retries_are_numbered(calls: Callable[[], list[ToolCall]]) -> None:
    """LangChain runs it in a task of its own, and a chain's steps in others.

    Seen red: with the frames of the tool's own task only.
    """
    left = iter((True, True, False) * 2)

    async def check() -> str:
        """Look."""
        if next(left):
            raise ConnectionError("busy")
        return "there"

    made = tool(monitored("check")(check))
    async with track("agent"):
        for runnable in (made, RunnableLambda(lambda value: value) | made):
            retried = runnable.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
            assert await retried.ainvoke({}) == "there"
    attempts = [(call.outcome, call.attempt) for call in calls() if call.tool_name == "check"]
    assert attempts == [("failure", 1), ("failure", 2), ("success", 3)] * 2
