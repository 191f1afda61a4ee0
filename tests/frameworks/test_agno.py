"""Tools of Agno, run by its agent with a scripted model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("agno", reason="installed by `nox -s frameworks`")

from agno.agent import Agent
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse


class Scripted(Model):
    """Asks for what is written down."""

    def __init__(self, script: list[Any]) -> None:
        super().__init__(id="gpt-4o-mini")
        self.script = script

    def _answer(self) -> ModelResponse:
        step, usage = self.script.pop(0), MessageMetrics(input_tokens=100, output_tokens=20, total_tokens=120)
        if isinstance(step, str):
            return ModelResponse(role="assistant", content=step, response_usage=usage)
        call = {"id": "1", "type": "function", "function": {"name": step[0], "arguments": json.dumps(step[1])}}
        return ModelResponse(role="assistant", tool_calls=[call], response_usage=usage)

    def invoke(self, *_: Any, **__: Any) -> ModelResponse:
        return self._answer()

    async def ainvoke(self, *_: Any, **__: Any) -> ModelResponse:
        return self._answer()

    def invoke_stream(self, *_: Any, **__: Any) -> Iterator[ModelResponse]:
        yield self._answer()

    async def ainvoke_stream(self, *_: Any, **__: Any) -> AsyncIterator[ModelResponse]:
        yield self._answer()

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]

    _parse_provider_response_delta = _parse_provider_response


def agent(function: Any, script: list[Any]) -> Any:
    return Agent(model=Scripted(script), tools=[function], telemetry=False)


async def test_an_instrumented_agent_shows_tools_and_model(trial: Any) -> None:
    """In sync and async runs and streams. Agno makes its tools anew for each run, so those of all agents are seen."""
    made = instrument(agent(trial.ocr, trial.script))
    made.run("read it")
    trial.check()
    made.model.script = trial.script
    await made.arun("read it")
    trial.check()
    made.model.script = trial.script
    list(made.run("read it", stream=True))
    trial.check()
    uninstrument(made)
    agent(trial.ocr, trial.script).run("read it")
    trial.nothing()


def test_a_monitored_function_is_seen_below_the_framework(trial: Any) -> None:
    """Agno runs it with the arguments that the model made up."""
    agent(monitored("read_receipt")(trial.ocr), trial.script).run("read it")
    trial.check(models=0, name="read_receipt")


def test_a_failure_that_the_result_tells_is_seen_below_the_framework(trial: Any) -> None:
    """With its figures; to the agent it is a result as any other."""
    agent(monitored("read_receipt")(trial.telling(trial.told)), [trial.good, "done"]).run("read it")
    trial.check_told()


@pytest.mark.usefixtures("everywhere")
def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    agent(trial.ocr, trial.script).run("read it")
    trial.check(models=0)
