"""Tools of Google's Agent Development Kit, run by its runner with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("google.adk", reason="installed by `nox -s frameworks`")

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools import FunctionTool
from google.genai import types


class Scripted(BaseLlm):
    """Asks for what is written down."""

    script: list[Any] = []  # noqa: RUF012 - pydantic copies it

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        step = self.script.pop(0)
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=100, candidates_token_count=20, total_token_count=120
        )
        part = (
            types.Part(text=step)
            if isinstance(step, str)
            else types.Part(function_call=types.FunctionCall(name=step[0], args=step[1]))
        )
        yield LlmResponse(content=types.Content(role="model", parts=[part]), usage_metadata=usage)


def agent(function: Any, script: list[Any]) -> Any:
    return LlmAgent(name="clerk", model=Scripted(model="gpt-4o-mini", script=script), tools=[function])


async def run(made: Any) -> None:
    runner = InMemoryRunner(agent=made, app_name="clerk")
    session = await runner.session_service.create_session(app_name="clerk", user_id="me")
    message = types.Content(role="user", parts=[types.Part(text="read it")])
    async for _ in runner.run_async(user_id="me", session_id=session.id, new_message=message):
        pass


def says_error(image: str) -> dict[str, str]:
    """Read a receipt, and say that it failed as the kit's documents advise."""
    return {"status": "error", "error_message": "unreadable"}


says_error.__name__ = "ocr"


async def test_an_instrumented_agent_shows_tools_and_model(trial: Any) -> None:
    """The kit makes tools of functions anew for each run, so those of all agents are seen."""
    made = instrument(agent(trial.ocr, [trial.good, "done"]))
    await run(made)
    uninstrument(made)
    trial.check(models=2, tools=(("success", 7, 0.01),))
    await run(agent(trial.ocr, [trial.good, "done"]))
    trial.nothing()


async def test_a_status_of_error_is_a_failure(trial: Any) -> None:
    """With the text that stands beside it."""
    made = instrument(agent(says_error, [trial.good, "done"]))
    await run(made)
    uninstrument(made)
    trial.check(models=2, tools=(("failure", 0, None),))


async def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """What it raises ends the run, and is a failure."""
    made = FunctionTool(trial.ocr)
    instrument(made)
    with pytest.raises(Exception, match="unreadable"):
        await run(agent(made, [trial.good, trial.bad]))
    uninstrument(made)
    trial.check(models=0)


async def test_a_monitored_function_is_seen_below_the_framework(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert FunctionTool(watched)._get_declaration() == FunctionTool(trial.ocr)._get_declaration()
    with pytest.raises(Exception, match="unreadable"):
        await run(agent(watched, [trial.good, trial.bad]))
    trial.check(models=0, name="read_receipt")


async def test_a_failure_that_the_result_tells_is_seen_below_the_framework(trial: Any) -> None:
    """With its figures, and as the kit's documents have it."""
    error = {"status": "error", "error_message": "unreadable"}
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        await run(agent(monitored("read_receipt")(trial.telling(told)), [trial.good, "done"]))
        trial.check_told(*figures)


@pytest.mark.usefixtures("everywhere")
async def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    await run(agent(trial.ocr, [trial.good, "done"]))
    trial.check(models=0, tools=(("success", 7, 0.01),))
