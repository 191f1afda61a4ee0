"""Tools of AutoGen, run by its assistant with a scripted client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("autogen_agentchat", reason="installed by `nox -s frameworks`")

from autogen_agentchat.agents import AssistantAgent
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, RequestUsage
from autogen_core.tools import FunctionTool, TextResultContent, ToolResult


class Scripted(ChatCompletionClient):
    """Asks for what is written down."""

    component_type = "model"

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self._create_args = {"model": "gpt-4o-mini"}

    def answer(self) -> CreateResult:
        step, usage = self.script.pop(0), RequestUsage(100, 20)
        if isinstance(step, str):
            return CreateResult(finish_reason="stop", content=step, usage=usage, cached=False)
        call = FunctionCall(id="1", name=step[0], arguments=json.dumps(step[1]))
        return CreateResult(finish_reason="function_calls", content=[call], usage=usage, cached=False)

    async def create(self, messages: Any, **_: Any) -> CreateResult:
        return self.answer()

    async def create_stream(self, messages: Any, **_: Any) -> AsyncIterator[str | CreateResult]:  # type: ignore[override]
        yield "a part"
        yield self.answer()

    async def close(self) -> None: ...

    @property
    def model_info(self) -> Any:
        switches = ("vision", "json_output", "structured_output")
        return {**dict.fromkeys(switches, False), "function_calling": True, "family": "unknown"}

    capabilities = model_info

    def actual_usage(self) -> RequestUsage:
        return RequestUsage(0, 0)

    total_usage = actual_usage

    def count_tokens(self, messages: Any, **_: Any) -> int:
        return 1

    remaining_tokens = count_tokens


def agent(function: Any, script: list[Any], *, streaming: bool = False) -> Any:
    return AssistantAgent(
        "clerk", Scripted(script), tools=[function], max_tool_iterations=5, model_client_stream=streaming
    )


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_instrumented_agent_shows_tools_and_model(trial: Any, streaming: bool) -> None:
    """With and without a stream of the client."""
    made = instrument(agent(trial.ocr, trial.script, streaming=streaming))
    await made.run(task="read it")
    uninstrument(made)
    trial.check()


async def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """By the method by which a workbench runs it, and not after `uninstrument`."""
    made = instrument(FunctionTool(trial.ocr, description="Read a receipt."))
    await made.run_json({"image": "a.png"}, CancellationToken())
    with pytest.raises(ValueError, match="unreadable"):
        await made.run_json({"image": "bad.png"}, CancellationToken())
    uninstrument(made)
    await made.run_json({"image": "a.png"}, CancellationToken())
    trial.check(models=0)


async def test_a_monitored_function_is_seen_below_the_framework(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert FunctionTool(watched, description="").schema == FunctionTool(trial.ocr, description="").schema
    await agent(watched, trial.script).run(task="read it")
    trial.check(models=0, name="read_receipt")


async def test_a_failure_that_the_result_tells_is_seen_below_the_framework(trial: Any) -> None:
    """As a dict with its figures, and as a workbench tells it."""
    error = ToolResult(name="ocr", result=[TextResultContent(content="unreadable")], is_error=True)
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        await agent(monitored("read_receipt")(trial.telling(told)), [trial.good, "done"]).run(task="read it")
        trial.check_told(*figures)


@pytest.mark.usefixtures("everywhere")
async def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    await agent(trial.ocr, trial.script).run(task="read it")
    trial.check(models=0)
