"""Tools of the OpenAI Agents SDK, run by its own runner with a model that is written down here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument
from toolweaver_monitor.errors import ConfigurationError

pytest.importorskip("agents", reason="installed by `nox -s frameworks`")

from agents import Agent, Model, ModelResponse, RunConfig, RunContextWrapper, Runner, Usage, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText


class Scripted(Model):
    """First calls the tool, then answers with what the tool gave."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.call = ResponseFunctionToolCall(
            name=name, arguments=json.dumps(arguments), call_id="1", type="function_call"
        )

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        said = kwargs["input"] if "input" in kwargs else args[1]
        outputs = [item["output"] for item in said if item.get("type") == "function_call_output"]
        if not outputs:
            return ModelResponse(output=[self.call], usage=Usage(), response_id=None)
        text = ResponseOutputText(text=outputs[0], type="output_text", annotations=[])
        message = ResponseOutputMessage(id="2", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


async def run(tool: Any, arguments: dict[str, Any]) -> str:
    agent = Agent("clerk", tools=[tool], model=Scripted(tool.name, arguments))
    result = await Runner.run(agent, "find all", run_config=RunConfig(tracing_disabled=True))
    output: str = result.final_output
    return output


def shown(tool: Any) -> Any:
    return tool.name, tool.description, tool.params_json_schema, tool.strict_json_schema


def test_the_schema_is_the_one_without_us(pair: Any) -> None:
    """Name, description, and the strict schema with the parameters' descriptions."""
    plain = shown(function_tool(pair.plain))
    assert plain[:2] == ("find", "Find the receipts of a shop.")
    assert shown(function_tool(pair.watched)) == plain


async def test_a_tool_that_the_runner_calls_is_recorded_once(pair: Any, seen: Any) -> None:
    """What the tool raises is a failure here, and a sentence to the model as ever."""
    assert "acme" in await run(function_tool(pair.watched), {"shop": "acme", "period": None, "kind": "photo"})
    told = await run(function_tool(pair.watched), {"shop": "closed", "period": None, "kind": "photo"})
    assert "error occurred" in told
    assert seen() == [("find_receipts", "success", 0.5), ("find_receipts", "failure", None)]


async def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures; to the model it is a result as any other."""
    await run(function_tool(monitored("read_receipt")(trial.telling(trial.told))), {"image": "a.png"})
    trial.check_told()


async def test_a_tool_with_a_context_is_still_seen_to_take_one(seen: Any) -> None:
    """The SDK looks at the first parameter's type to know."""

    @function_tool
    @monitored("tell")
    def tell(context: RunContextWrapper[Any], word: str) -> str:
        """Tell."""
        return f"{word}: {type(context).__name__}"

    assert "context" not in tell.params_json_schema["properties"]
    assert (await run(tell, {"word": "hi"})).startswith("hi: ")
    assert seen() == [("tell", "success", None)]


def test_the_decorator_above_is_refused_with_its_cure(pair: Any) -> None:
    """`@function_tool` gives an object that is not called."""
    with pytest.raises(ConfigurationError, match="below"):
        monitored("find_receipts")(function_tool(pair.plain))


class Replaying(Scripted):
    """Asks for one step after the other."""

    def __init__(self, script: list[Any]) -> None:
        self.script, self.model = script, "gpt-4o-mini"

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        step, usage = self.script.pop(0), Usage(requests=1, input_tokens=100, output_tokens=20, total_tokens=120)
        if isinstance(step, str):
            text = ResponseOutputText(text=step, type="output_text", annotations=[])
            output: Any = ResponseOutputMessage(
                id="2", content=[text], role="assistant", status="completed", type="message"
            )
        else:
            output = ResponseFunctionToolCall(
                name=step[0], arguments=json.dumps(step[1]), call_id=str(len(self.script)), type="function_call"
            )
        return ModelResponse(output=[output], usage=usage, response_id=None)


async def test_an_instrumented_agent_shows_tools_and_model(trial: Any) -> None:
    """The failure as well, which the SDK turns into a text for the model."""
    tool = function_tool(trial.ocr)
    agent = instrument(Agent("clerk", tools=[tool], model=Replaying(trial.script)))
    await Runner.run(agent, "read it", run_config=RunConfig(tracing_disabled=True))
    uninstrument(agent)
    trial.check()
    agent.model.script = trial.script  # type: ignore[union-attr]
    await Runner.run(agent, "read it", run_config=RunConfig(tracing_disabled=True))
    trial.nothing()


async def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """Whichever agent runs it."""
    tool = instrument(function_tool(trial.ocr))
    agent = Agent("clerk", tools=[tool], model=Replaying(trial.script))
    await Runner.run(agent, "read it", run_config=RunConfig(tracing_disabled=True))
    uninstrument(tool)
    trial.check(models=0)


@pytest.mark.usefixtures("everywhere")
async def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the decorator that makes the tools, as `toolweaver-monitor run` has it monitored."""
    from agents.tool import function_tool

    agent = Agent("clerk", tools=[function_tool(trial.ocr)], model=Replaying(trial.script))
    await Runner.run(agent, "read it", run_config=RunConfig(tracing_disabled=True))
    trial.check(models=0)
