"""Tools of Strands Agents, run by its agent with a scripted model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("strands", reason="installed by `nox -s frameworks`")

from strands import Agent, tool
from strands.models import Model

from toolweaver_monitor.errors import ConfigurationError


class Scripted(Model):
    """Asks for what is written down."""

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.config = {"model_id": "gpt-4o-mini"}

    def update_config(self, **_: Any) -> None: ...

    def get_config(self) -> Any:
        return self.config

    async def structured_output(self, *_: Any, **__: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        yield {}

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        step = self.script.pop(0)
        yield {"messageStart": {"role": "assistant"}}
        if isinstance(step, str):
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": step}}}
        else:
            use = {"toolUseId": str(len(self.script)), "name": step[0]}
            yield {"contentBlockStart": {"start": {"toolUse": use}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(step[1])}}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if isinstance(step, str) else "tool_use"}}
        usage = {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}


def agent(function: Any, script: list[Any]) -> Any:
    return Agent(model=Scripted(script), tools=[function], callback_handler=None)


async def ocr_async(image: str) -> Any:
    """Read a receipt.

    Args:
        image: where it is.
    """
    if image == "bad.png":
        raise ValueError("unreadable")
    return {"text": "total 12", "tokens_used": 7, "cost": 0.01}


ocr_async.__name__ = "ocr"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_instrumented_agent_shows_tools_and_model(trial: Any, kind: str) -> None:
    """With tools of both kinds."""
    made = instrument(agent(tool(trial.ocr if kind == "sync" else ocr_async), trial.script))
    made("read it")
    uninstrument(made)
    trial.check()


def test_a_single_tool_is_instrumented(trial: Any) -> None:
    """Called directly, and not after `uninstrument`."""
    made = instrument(tool(trial.ocr))
    made(image="a.png")
    with pytest.raises(ValueError, match="unreadable"):
        made(image="bad.png")
    uninstrument(made)
    made(image="a.png")
    trial.check(models=0)


def test_a_monitored_function_is_seen_below_the_decorator(trial: Any) -> None:
    """The schema is that of the function."""
    watched = monitored("read_receipt")(trial.ocr)
    assert tool(watched).tool_spec == tool(trial.ocr).tool_spec
    agent(tool(watched), trial.script)("read it")
    trial.check(models=0, name="read_receipt")


def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures, and as Strands has its tools tell it."""
    error = {"status": "error", "content": [{"text": "unreadable"}]}
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        agent(tool(monitored("read_receipt")(trial.telling(told))), [trial.good, "done"])("read it")
        trial.check_told(*figures)


def test_the_decorator_above_is_refused_with_its_cure(trial: Any) -> None:
    """The agent runs the tool by another way than by calling it, so `@monitored` would see nothing there."""
    with pytest.raises(ConfigurationError, match="below"):
        monitored("read_receipt")(tool(trial.ocr))


@pytest.mark.usefixtures("everywhere")
def test_all_agents_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the decorator that makes the tools, as `toolweaver-monitor run` has it monitored."""
    from strands.tools.decorator import tool

    agent(tool(trial.ocr), trial.script)("read it")
    trial.check(models=0)
