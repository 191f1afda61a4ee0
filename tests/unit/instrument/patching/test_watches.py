"""Reports of what is monitored, and of what keeps calls from being seen."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import instrument, setup, uninstrument

Write = Callable[[str, str], None]


class Base:
    """What others derive from."""

    def execute_tool(self, tool_name: str) -> str:
        return tool_name


class Own(Base):
    """Has a method of its own."""

    def execute_tool(self, tool_name: str) -> str:
        return tool_name


def test_health_lists_targets_methods_and_calls(caplog: Any) -> None:
    """How many calls each target has been seen to make; and one line in the log for each."""
    caplog.set_level(logging.INFO, logger="toolweaver_monitor")
    monitor = setup()
    one, other = instrument(Base()), instrument(Base())
    for runner in (one, one, other):
        runner.execute_tool("ocr")
    assert monitor.health()["instrumented"] == [
        {"target": "Base object", "methods": ["execute_tool"], "calls": 3, "tools": []}
    ]
    lines = [record.getMessage() for record in caplog.records if "monitoring" in record.getMessage()]
    assert lines == ["toolweaver_monitor: monitoring Base object: execute_tool"] * 2
    uninstrument(one)
    uninstrument(other)
    assert monitor.health()["instrumented"] == []


def test_a_name_that_was_imported_before_is_a_problem_with_its_cure(write: Write, names: Any) -> None:
    """The cure that the message names works, and the problem is gone. Seen red: with the holders never looked for."""
    write("runtime.py", "def execute_plan(tool_name): return tool_name\n")
    write("app.py", "from runtime import execute_plan\n")
    app = importlib.import_module("app")
    monitor = setup()
    instrument("runtime:execute_plan")
    (problem,) = monitor.health()["problems"]
    assert problem.startswith("app:execute_plan: imported before")
    assert "instrument('app:execute_plan')" in problem
    instrument("app:execute_plan")
    assert monitor.health()["problems"] == []
    app.execute_plan("ocr")
    assert monitor.summary()["count"] == 1
    uninstrument("app:execute_plan")
    uninstrument("runtime:execute_plan")
    assert names() == []


def test_a_base_class_whose_method_is_overridden_is_a_problem_with_its_cure() -> None:
    """Until its method is seen, or its subclasses are instrumented, too."""
    monitor = setup()
    instrument(Base)
    Own().execute_tool("ocr")
    (problem,) = monitor.health()["problems"]
    assert (
        problem == "instrument(Base) does not see execute_tool() of Own, which overrides it; instrument these classes"
    )
    instrument(Own)
    assert monitor.health()["problems"] == []
    uninstrument(Own)
    Base().execute_tool("ocr")
    assert monitor.health()["problems"] == []
    uninstrument(Base)


def test_a_late_target_that_finds_nothing_is_a_problem(write: Write, caplog: Any) -> None:
    """The import goes on; for a misspelt class the log suggests the right one."""
    caplog.set_level(logging.CRITICAL, logger="toolweaver_monitor")
    write("late.py", "class Executor:\n    def execute_tool(self, tool_name): return tool_name\n")
    monitor = setup()
    instrument("late:Executer")
    assert monitor.health()["problems"] == []
    importlib.import_module("late")
    (problem,) = monitor.health()["problems"]
    assert problem.startswith("instrument('late:Executer') did nothing when it was imported: ")
    assert "did you mean Executor?" in problem
    instrument("late:Executor")
    uninstrument("late:Executer")
    assert monitor.health()["problems"] == []
    uninstrument("late:Executor")


def test_a_module_reads_the_parameter_tool_name_of_any_function(write: Write, names: Any) -> None:
    """Text only: no object that a function is given is looked at."""
    write("tools.py", "def fetch(tool_name): return 1\ndef other(agent): return 1\n")
    tools = importlib.import_module("tools")
    instrument(tools)
    tools.fetch("ocr")
    tools.other(type("Agent", (), {"name": "planner"})())
    uninstrument(tools)
    assert names() == ["ocr", "other"]


@pytest.mark.parametrize(
    ("source", "arguments", "name"),
    [
        ("async_names(ctx, ev)", (0, {"tool_name": "ocr"}), "ocr"),
        ("_execute_tool(tool_def)", ({"name": "ocr"},), "ocr"),
        ("delegate(request)", ({"agent_id": "analyst"},), "analyst"),
        ("_step(step)", ({"type": "agent", "agent_id": "analyst"},), "analyst"),
        ("execute_tool_call(name, arguments=None)", ("ocr",), "ocr"),
        ("_call(payload)", ({"name": "ocr"},), "ocr"),
    ],
)
def test_a_listed_method_is_one_that_runs_tools(names: Any, source: str, arguments: Any, name: str) -> None:
    """Its name may be any, and the tool's stands in more places. Seen red: with `runner` false for listed methods."""
    space: dict[str, Any] = {}
    method = source.partition("(")[0]
    exec(f"def {source.replace('(', '(self, ')}: return 1", space)
    runner: Any = type("Runner", (), {method: space[method]})
    thing = instrument(runner(), methods=[method])
    getattr(thing, method)(*arguments)
    uninstrument(thing)
    assert names() == [name]
