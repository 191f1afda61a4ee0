"""Tools of a PydanticAI agent, called by its own test models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, instrument, monitored, uninstrument
from toolweaver_monitor.testing import ToolRecorder

pytest.importorskip("pydantic_ai", reason="installed by `nox -s frameworks`")

from pydantic_ai import Agent, ModelRetry, RunContext, Tool
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import FunctionToolset
from pydantic_ai.usage import RequestUsage


def test_the_schema_is_the_one_without_us(pair: Any, caplog: Any) -> None:
    """The whole tool definition. Above the agent's decorator a warning says that the agent runs the bare function."""
    plain = Tool(pair.plain).tool_def
    assert plain.description is not None
    assert plain.description.startswith("Find the receipts")
    assert Tool(pair.watched).tool_def == plain
    agent = Agent(TestModel())
    assert Tool(monitored("find_receipts")(agent.tool_plain(pair.plain))).tool_def == plain
    assert "by which pydantic_ai has registered find already" in caplog.text


async def test_a_tool_that_the_model_calls_is_recorded_once(pair: Any, seen: Any) -> None:
    """With the arguments that the model made up."""
    agent = Agent(TestModel(), tools=[pair.watched])
    result = await agent.run("find all")
    assert '"cost":0.5' in result.output
    assert seen() == [("find_receipts", "success", 0.5)]


async def test_a_failure_that_the_result_tells_is_seen_below_the_framework(trial: Any) -> None:
    """With its figures; to the model it is a result as any other."""
    await Agent(TestModel(), tools=[monitored("read_receipt")(trial.telling(trial.told))]).run("read it")
    trial.check_told()


async def test_an_instrumented_toolset_records_each_call_by_its_tool(pair: Any, seen: Any) -> None:
    """Tools that are not decorated; other toolsets are not touched."""
    toolset, other = FunctionToolset([pair.plain]), FunctionToolset([pair.plain])
    before = dict(vars(FunctionToolset))
    instrument(toolset)
    for each in (toolset, other):
        await Agent(TestModel(), toolsets=[each]).run("find all")
    assert seen() == [("find", "success", 0.5)]
    uninstrument(toolset)
    await Agent(TestModel(), toolsets=[toolset]).run("find all")
    assert seen() == []
    assert dict(vars(FunctionToolset)) == before


async def test_what_the_model_calls_again_after_a_model_retry_is_an_attempt(
    pair: Any, calls: Callable[[], list[ToolCall]]
) -> None:
    """Each tool by itself, also two that one answer of the model asks for; a call that follows a success is none.

    Seen red: without the reader of PydanticAI's run, each call was attempt 1; with operations kept by run only, one
    of the two tools was.
    """
    left = dict.fromkeys(("one", "two"), 2)

    def check(name: str) -> None:
        left[name] -= 1
        if left[name] >= 0:
            raise ModelRetry("another shop, please")

    def sync_find(name: str) -> str:
        check(name)
        return name

    async def async_find(name: str) -> str:
        return sync_find(name)

    function = async_find if asyncio.iscoroutinefunction(pair.plain) else sync_find
    tools = [Tool(monitored(name)(function), name=name, max_retries=3) for name in left]

    def answer(messages: Any, info: Any) -> ModelResponse:
        if sum(isinstance(message, ModelResponse) for message in messages) < 4:
            return ModelResponse(parts=[ToolCallPart(name, {"name": name}) for name in left])
        return ModelResponse(parts=[TextPart("done")])

    await Agent(FunctionModel(answer), tools=tools).run("find it")
    seen = calls()
    for name in left:
        assert [(call.outcome, call.attempt) for call in seen if call.tool_name == name] == [
            ("failure", 1), ("failure", 2), ("success", 3), ("success", 1),
        ]  # fmt: skip


async def test_a_run_of_two_models_has_no_price() -> None:
    """Its usage is that of all requests. A run of one model has one, also after a run of the other.

    Seen red: without the look at the models before, all tokens had the price of the last one.
    """

    def answer(messages: Any, info: Any) -> ModelResponse:
        part = TextPart("done") if len(messages) > 1 else ToolCallPart("look", {})
        return ModelResponse(parts=[part], usage=RequestUsage(input_tokens=100, output_tokens=20))

    def answer_once(messages: Any, info: Any) -> ModelResponse:
        if len(messages) > 1:
            raise ModelHTTPError(503, "small")
        return answer(messages, info)

    small, large = FunctionModel(answer_once, model_name="small"), FunctionModel(answer, model_name="large")
    agent = Agent(FallbackModel(small, large), tools=[Tool(lambda: "nothing", name="look")])
    prices = {"small": {"input": 1, "output": 1}, "large": {"input": 100, "output": 100}}
    with ToolRecorder(prices=prices) as recorder:
        run = monitored("run")(agent.run)
        both = await run("find it")
        await run("again", model=FunctionModel(answer, model_name="small"), message_history=both.all_messages())
        found = [(call.tokens, call.model, call.cost_usd) for call in recorder.calls("run")]
    assert found == [(240, "large", None), (120, "small", 0.00012)]


async def test_a_tool_with_a_context_is_still_seen_to_take_one(seen: Any) -> None:
    """PydanticAI looks at the first parameter's type to know; the agent's own decorator stands above."""

    def answer(messages: Any, info: Any) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("tell", {"word": "hi"})])
        return ModelResponse(parts=[TextPart(messages[-1].parts[0].content)])

    agent = Agent(FunctionModel(answer), deps_type=str)

    @agent.tool
    @monitored("tell")
    async def tell(ctx: RunContext[str], word: str) -> str:
        """Tell."""
        return f"{word} from {ctx.deps}"

    result = await agent.run("go", deps="me")
    assert result.output == "hi from me"
    assert seen() == [("tell", "success", None)]


async def test_an_instrumented_agent_shows_tools_and_model(trial: Any, calls: Any) -> None:
    """What a tool raises ends the run; the model's tokens are those that the framework counts."""

    def answer(messages: Any, info: Any) -> ModelResponse:
        step = trial.script[sum(isinstance(each, ModelResponse) for each in messages)]
        return ModelResponse(parts=[ToolCallPart(*step)])

    agent = instrument(Agent(FunctionModel(answer), tools=[trial.ocr]))
    with pytest.raises(ValueError, match="unreadable"):
        await agent.run("read it")
    uninstrument(agent)
    found = calls()
    assert [(call.tool_name, call.outcome, call.cost_usd) for call in found if call.tool_name == "ocr"] == [
        ("ocr", "success", 0.01),
        ("ocr", "failure", None),
    ]
    models = [call for call in found if call.tool_name != "ocr"]
    assert len(models) == 2
    assert all(call.tokens and call.model == call.tool_name for call in models)


async def test_a_model_that_streams_is_a_call_until_the_end_of_the_stream(calls: Any) -> None:
    """With the tokens that the framework has counted by then. Seen red: read at the beginning, they were unknown."""
    agent = instrument(Agent(TestModel()))
    async with agent.run_stream("read it") as result:
        await result.get_output()
        expected = result.usage
    uninstrument(agent)
    (call,) = calls()
    assert (call.tool_name, call.model, call.outcome) == ("test", "test", "success")
    assert (call.input_tokens, call.output_tokens) == (expected.input_tokens, expected.output_tokens)
    assert expected.output_tokens


async def test_a_stream_that_breaks_off_is_a_failure_with_the_tokens_so_far(calls: Any) -> None:
    async def answer(messages: Any, info: Any) -> Any:
        yield "one two three "
        raise ValueError("the line is cut")

    agent = instrument(Agent(FunctionModel(stream_function=answer)))

    async def read() -> None:
        async with agent.run_stream("read it") as result:
            async for _ in result.stream_text():
                pass

    with pytest.raises(ValueError, match="cut"):
        await read()
    uninstrument(agent)
    (call,) = calls()
    assert (call.outcome, call.error_type) == ("failure", "ValueError")
    assert call.output_tokens


@pytest.mark.usefixtures("everywhere")
async def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    await Agent(TestModel(), tools=[trial.ocr]).run("read it")
    trial.check(models=0, tools=(("success", 7, 0.01),))
