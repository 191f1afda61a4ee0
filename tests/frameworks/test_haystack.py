"""Tools of Haystack, run by its agent with a scripted generator."""

from __future__ import annotations

from inspect import isawaitable
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("haystack", reason="installed by `nox -s frameworks`")

from haystack.components.agents import Agent
from haystack.components.generators.chat.mock import MockChatGenerator
from haystack.dataclasses import ChatMessage, ToolCall
from haystack.tools import tool

META = {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}


def agent(function: Any, script: list[Any]) -> Any:
    answers = [
        ChatMessage.from_assistant(step, meta=META)
        if isinstance(step, str)
        else ChatMessage.from_assistant(tool_calls=[ToolCall(*step, "1")], meta=META)
        for step in script
    ]
    generator = MockChatGenerator(answers, model="gpt-4o-mini")
    return Agent(chat_generator=generator, tools=[tool(function)], raise_on_tool_invocation_failure=False)


@pytest.mark.parametrize("method", ["run", "run_async"])
async def test_an_instrumented_agent_shows_tools_and_model(trial: Any, method: str) -> None:
    """Of sync and async runs."""
    made = instrument(agent(trial.ocr, trial.script))
    result = getattr(made, method)(messages=[ChatMessage.from_user("read it")])
    if isawaitable(result):
        await result
    uninstrument(made)
    trial.check()


def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """By the method by which an agent runs it, and not after `uninstrument`."""
    made = instrument(tool(trial.ocr))
    made.invoke(image="a.png")
    with pytest.raises(Exception, match="unreadable"):
        made.invoke(image="bad.png")
    uninstrument(made)
    made.invoke(image="a.png")
    trial.check(models=0)


def test_a_monitored_function_is_seen_below_the_decorator(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert tool(watched).parameters == tool(trial.ocr).parameters
    agent(watched, trial.script).run(messages=[ChatMessage.from_user("read it")])
    trial.check(models=0, name="read_receipt")


def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures; to the agent it is a result as any other."""
    made = agent(monitored("read_receipt")(trial.telling(trial.told)), [trial.good, "done"])
    made.run(messages=[ChatMessage.from_user("read it")])
    trial.check_told()


@pytest.mark.usefixtures("everywhere")
def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    agent(trial.ocr, trial.script).run(messages=[ChatMessage.from_user("read it")])
    trial.check(models=0)
