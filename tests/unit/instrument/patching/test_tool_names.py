"""A call is named after the tool that was asked for, wherever in the arguments that stands."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import pytest

from toolweaver_monitor import instrument, uninstrument
from toolweaver_monitor._core.sanitize import Diagnostics


class Names(enum.StrEnum):
    """Tools by name."""

    OCR = "ocr"


def ocr() -> None:
    """A tool that is a function."""


class Runs:
    """One method of each shape."""

    def execute_tool(self, request_id: int, tool_name: str = "default", *, arguments: Any = None) -> None: ...

    def call_tool(self, name: str, arguments: Any = None) -> None: ...

    def run_tool(self, *args: Any, **kwargs: Any) -> None: ...

    def invoke_tool(self, tool: Any, name: str | None = None) -> None: ...

    def execute_agent_step(self, agent_name: str, step: Any = None) -> None: ...

    def run_step(self, step: Any) -> None: ...

    def run_agent(self, prompt: str, **options: Any) -> None: ...

    def run_function(self, call: Any) -> None: ...

    def greet(self, name: str) -> None: ...

    def query(self, text: str, tool: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "name"),
    [
        ("execute_tool", (1, "ocr"), {}, "ocr"),
        ("execute_tool", (1,), {"tool_name": "ocr"}, "ocr"),
        ("execute_tool", (1,), {}, "execute_tool"),
        ("execute_tool", (1, Names.OCR), {}, "ocr"),
        ("call_tool", ("OCR of receipts",), {}, "OCR of receipts"),
        ("run_tool", ("ocr", {"a": 1}), {}, "ocr"),
        ("run_tool", (), {"tool": "ocr"}, "ocr"),
        ("run_tool", ("Read the total off this receipt",), {}, "run_tool"),
        ("run_tool", (), {}, "run_tool"),
        ("invoke_tool", (ocr,), {}, "ocr"),
        ("invoke_tool", (SimpleNamespace(name="ocr"),), {}, "ocr"),
        ("invoke_tool", (object(),), {"name": "second"}, "second"),
        ("execute_agent_step", ("planner", {"tool": "ocr"}), {}, "planner"),
        ("run_step", ({"tool": "ocr", "args": {}},), {}, "ocr"),
        ("run_step", ({"function": {"name": "ocr", "arguments": "{}"}, "type": "function"},), {}, "ocr"),
        ("run_step", (SimpleNamespace(function=SimpleNamespace(name="ocr")),), {}, "ocr"),
        ("run_step", ("ocr",), {}, "ocr"),
        ("run_step", ("First, read the total",), {}, "run_step"),
        ("run_step", ({"text": "none of these"},), {}, "run_step"),
        ("run_step", (7,), {}, "run_step"),
        ("run_agent", ("hello",), {}, "run_agent"),
        ("run_agent", ("hello",), {"agent": "planner"}, "planner"),
        ("run_function", ({"name": "ocr"},), {}, "ocr"),
        ("greet", ("Ada",), {}, "Ada"),
        ("query", ("secret", "ocr"), {}, "ocr"),
        ("query", ("secret",), {}, "query"),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["class", "object"])
def test_the_name_is_found_in_the_arguments(
    names: Any, method: str, args: Any, kwargs: Any, name: str, whole: bool
) -> None:
    """By position and keyword, as text, function, mapping or object. Prose, and what merely has a name, is none."""
    runs = Runs()
    target = instrument(Runs if whole else runs, methods=[method])
    getattr(runs, method)(*args, **kwargs)
    assert names() == [name]
    uninstrument(target)


@pytest.mark.parametrize("whole", [True, False], ids=["class", "object"])
def test_names_of_the_users_own(names: Any, whole: bool) -> None:
    """A text, or a callable over what the caller wrote; one that asks for `self` gets the object, too."""
    runs = Runs()
    target = Runs if whole else runs
    for tool_name in (
        "always",
        lambda request_id, tool_name="none", **_: f"{tool_name}-{request_id}",
        lambda self, request_id, tool_name: f"{type(self).__name__}.{tool_name}",
    ):
        instrument(target, methods=["execute_tool"], tool_name=tool_name)
        runs.execute_tool(1, "ocr")
    assert names() == ["always", "ocr-1", "Runs.ocr"]
    uninstrument(target)


def test_a_naming_function_that_fails_does_no_harm(names: Any) -> None:
    """The call is named after its method, and the failure is counted."""
    before = Diagnostics.extractor_errors
    runs = instrument(Runs(), methods=["call_tool"], tool_name=lambda: "takes nothing")
    runs.call_tool("ocr")
    assert names() == ["call_tool"]
    assert Diagnostics.extractor_errors == before + 1
    uninstrument(runs)


def test_arguments_that_raise_when_they_are_looked_at_do_no_harm(names: Any) -> None:
    """An object whose every attribute raises is no name."""

    class Raises:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    runs = instrument(Runs(), methods=["invoke_tool"])
    runs.invoke_tool(Raises())
    assert names() == ["invoke_tool"]
    uninstrument(runs)
