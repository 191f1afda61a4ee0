"""Tools of smolagents, run by its agents with a scripted model."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("smolagents", reason="installed by `nox -s frameworks`")

from smolagents import CodeAgent, Model, ToolCallingAgent, tool
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole
from smolagents.monitoring import TokenUsage


class Scripted(Model):
    """Asks for what is written down."""

    def __init__(self, script: list[Any]) -> None:
        super().__init__(model_id="gpt-4o-mini")
        self.script = script

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        step, usage = self.script.pop(0), TokenUsage(100, 20)
        if isinstance(step, str):
            return ChatMessage(MessageRole.ASSISTANT, step, token_usage=usage)
        call = ChatMessageToolCallFunction(name=step[0], arguments=step[1])
        return ChatMessage(
            MessageRole.ASSISTANT, "", [ChatMessageToolCall(call, id="1", type="function")], token_usage=usage
        )


def agent(function: Any, script: list[Any]) -> Any:
    return ToolCallingAgent([tool(function)], Scripted(script), verbosity_level=0, max_steps=3)


END = ("final_answer", {"answer": "done"})


def test_an_instrumented_agent_shows_tools_and_model(trial: Any, calls: Any) -> None:
    """Also the tool that does not exist, and the one by which the agent ends."""
    made = instrument(agent(trial.ocr, [trial.good, trial.bad, END]))
    made.run("read it")
    uninstrument(made)
    found = calls()
    assert [call.tool_name for call in found if call.tool_name != trial.model] == ["ocr", "ocr", "final_answer"]
    outcomes = [(call.outcome, call.tokens, call.cost_usd) for call in found if call.tool_name == "ocr"]
    assert outcomes == [("success", 7, 0.01), ("failure", 0, None)]
    assert [(call.tokens, call.model) for call in found if call.tool_name == trial.model] == [(120, trial.model)] * 3
    made = instrument(agent(trial.ocr, [("lose", {}), END]))
    made.run("read it")
    uninstrument(made)
    assert [(call.tool_name, call.outcome) for call in calls() if call.tool_name == "lose"] == [("lose", "failure")]


def test_the_tools_of_an_agent_that_writes_code_are_seen(trial: Any, calls: Any) -> None:
    """It calls them as functions."""
    script = ["<code>ocr('a.png')</code>", "<code>ocr('bad.png')</code>", "<code>final_answer('done')</code>"]
    made = instrument(CodeAgent([tool(trial.ocr)], Scripted(script), verbosity_level=0))
    made.run("read it")
    uninstrument(made)
    found = [(call.tool_name, call.outcome, call.cost_usd) for call in calls() if call.tool_name != trial.model]
    assert found == [("ocr", "success", 0.01), ("ocr", "failure", None), ("final_answer", "success", None)]


def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """By the method by which it is called, and not after `uninstrument`."""
    made = instrument(tool(trial.ocr))
    made(image="a.png")
    with pytest.raises(ValueError, match="unreadable"):
        made(image="bad.png")
    uninstrument(made)
    made(image="a.png")
    trial.check(models=0)


def test_a_monitored_function_is_seen_below_the_decorator(trial: Any) -> None:
    """The signature and the docstring from which the schema is made are those of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert tool(watched).inputs == tool(trial.ocr).inputs
    agent(watched, [trial.good, trial.bad, END]).run("read it")
    trial.check(models=0, name="read_receipt")


def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures; to the agent it is a result as any other."""
    agent(monitored("read_receipt")(trial.telling(trial.told)), [trial.good, END]).run("read it")
    trial.check_told()


@pytest.mark.usefixtures("everywhere")
def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    agent(trial.ocr, [trial.good, trial.bad, "stop"]).run("read it")
    trial.check(models=0)
