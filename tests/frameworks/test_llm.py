"""Tools of the package `llm`, which no table knows, monitored with `methods=[...]`."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

llm = pytest.importorskip("llm", reason="installed by `nox -s frameworks`")


class Scripted(llm.Model):  # type: ignore[misc]  # not installed where types are checked
    """Asks for what is written down."""

    model_id = "gpt-4o-mini"
    supports_tools = True

    def __init__(self, script: list[Any]) -> None:
        self.script = script

    def execute(self, prompt: Any, stream: Any, response: Any, conversation: Any) -> Any:
        step = self.script.pop(0)
        if isinstance(step, str):
            yield step
        else:
            response.add_tool_call(llm.ToolCall(name=step[0], arguments=step[1]))


def test_a_framework_that_is_not_known_is_monitored_by_a_listed_method(trial: Any) -> None:
    """A function that is stored in an object is one, too; the chain turns what it raises into a text for the model."""
    tool = llm.Tool.function(trial.ocr)
    instrument(tool, methods=["implementation"], tool_name=tool.name)
    assert Scripted(trial.script).chain("read it", tools=[tool]).text() == "done"
    uninstrument(tool)
    Scripted(trial.script).chain("read it", tools=[tool]).text()
    trial.check(models=0)


def test_a_monitored_function_is_seen_below_the_framework(trial: Any) -> None:
    """What it raises is a failure, and so is what its result tells."""
    tool = llm.Tool.function(monitored("read_receipt")(trial.ocr), name="ocr")
    assert tool.input_schema == llm.Tool.function(trial.ocr).input_schema
    assert Scripted(trial.script).chain("read it", tools=[tool]).text() == "done"
    trial.check(models=0, name="read_receipt")
    tool = llm.Tool.function(monitored("read_receipt")(trial.telling(trial.told)), name="ocr")
    assert Scripted([trial.good, "done"]).chain("read it", tools=[tool]).text() == "done"
    trial.check_told()
