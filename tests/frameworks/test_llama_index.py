"""Tools of LlamaIndex, run by its agent with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("llama_index.core", reason="installed by `nox -s frameworks`")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool, ToolOutput, ToolSelection

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the framework's own

USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


class Scripted(MockFunctionCallingLLM):
    """Asks for what is written down."""

    model: str = "gpt-4o-mini"
    script: list[Any] = []  # noqa: RUF012 - pydantic copies it

    def answer(self) -> ChatResponse:
        step = self.script.pop(0)
        asked = {} if isinstance(step, str) else {"asked": step}
        message = ChatMessage(role="assistant", content="done" if step == "done" else "", additional_kwargs=asked)
        return ChatResponse(message=message, raw={"model": self.model, "usage": USAGE})

    async def achat(self, messages: Any, **_: Any) -> ChatResponse:
        return self.answer()

    async def astream_chat(self, messages: Any, **_: Any) -> AsyncIterator[ChatResponse]:
        async def stream() -> AsyncIterator[ChatResponse]:
            yield self.answer()

        return stream()

    async def astream_chat_with_tools(self, tools: Any, **_: Any) -> AsyncIterator[ChatResponse]:
        return await self.astream_chat([])

    def get_tool_calls_from_response(self, response: Any, **_: Any) -> list[ToolSelection]:
        asked = response.message.additional_kwargs.get("asked")
        return [ToolSelection(tool_id="1", tool_name=asked[0], tool_kwargs=asked[1])] if asked else []


def agent(function: Any, script: list[Any], *, streaming: bool = False) -> Any:
    tools = [FunctionTool.from_defaults(function)]
    return FunctionAgent(tools=tools, llm=Scripted(script=script), streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_instrumented_agent_shows_tools_and_model(trial: Any, streaming: bool) -> None:
    """With and without a stream of the model."""
    made = instrument(agent(trial.ocr, trial.script, streaming=streaming))
    await made.run("read it")
    uninstrument(made)
    trial.check()


async def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """By both of its methods, which a decorator of LlamaIndex covers, and not after `uninstrument`."""
    made = instrument(FunctionTool.from_defaults(trial.ocr))
    made.call(image="a.png")
    await made.acall(image="a.png")
    with pytest.raises(ValueError, match="unreadable"):
        await made.acall(image="bad.png")
    uninstrument(made)
    made.call(image="a.png")
    trial.check(models=0, tools=(("success", 7, 0.01), ("success", 7, 0.01), ("failure", 0, None)))


async def test_a_monitored_function_is_seen_below_the_framework(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    plain = FunctionTool.from_defaults(trial.ocr).metadata.get_parameters_dict()
    assert FunctionTool.from_defaults(watched).metadata.get_parameters_dict() == plain
    await agent(watched, trial.script).run("read it")
    trial.check(models=0, name="read_receipt")


async def test_a_failure_that_the_result_tells_is_seen_below_the_framework(trial: Any) -> None:
    """As a dict with its figures, and as an output that is an error."""
    error = ToolOutput(content="unreadable", tool_name="ocr", raw_input={}, raw_output=None, is_error=True)
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        await agent(monitored("read_receipt")(trial.telling(told)), [trial.good, "done"]).run("read it")
        trial.check_told(*figures)


@pytest.mark.usefixtures("everywhere")
async def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    await agent(trial.ocr, trial.script).run("read it")
    trial.check(models=0)
