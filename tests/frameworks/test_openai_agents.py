"""Tools of the OpenAI Agents SDK, run by its own runner with a model that is written down here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolweaver_monitor import monitored
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
