"""Failures that a result reports: those of MCP, whose tools do not raise."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, Usage, current_call, monitored, setup, track
from toolweaver_monitor.testing import ToolRecorder

TEXT = [{"type": "text", "text": "no such page"}]


@dataclasses.dataclass
class TextContent:
    text: str
    type: str = "text"


@dataclasses.dataclass
class CallToolResult:
    """As that of `fastmcp`'s client: a dataclass. Those of `mcp` are models of pydantic, and are read alike."""

    content: list[Any]
    is_error: bool = False
    structured_content: dict[str, Any] | None = None


class ReadByReader(CallToolResult):
    """As that of `mcp`, whose results are read for usage as well."""

    __module__ = "mcp.types"


class Fields(dict[str, Any]):
    """A dict of another class."""


# https://modelcontextprotocol.io/specification/2025-06-18/server/tools, "Error Handling"
FAILED: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"content": TEXT, "isError": True},
    "dict of mcp 2": lambda: {"content": TEXT, "is_error": True, "structuredContent": None},
    "dict of a subclass": lambda: Fields(content=TEXT, isError=True),
    "dict with usage": lambda: {"content": TEXT, "isError": True, "tokens_used": 5, "cost": 0.25},
    "large dict": lambda: {"content": TEXT, "isError": True, **{str(i): i for i in range(100)}},
    "object": lambda: CallToolResult([TextContent("no such page")], True),
    "object of mcp": lambda: ReadByReader([TextContent("no such page")], True),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "no error": lambda: {"content": TEXT, "isError": False},
    "object without error": lambda: CallToolResult([TextContent("page 1")]),
    "no content": lambda: {"isError": True},
    "text as content": lambda: {"content": "page 1", "isError": True},
    "true in a way": lambda: {"content": TEXT, "isError": 1},
    "error text": lambda: {"content": TEXT, "error": "none"},
}


def call_of(make: Callable[[], Any], way: str, **declarations: Any) -> ToolCall:
    """Return the call of a tool that returns what `make` does."""
    name = "tool"

    @monitored(name, **declarations)
    def function() -> Any:
        return make()

    @monitored(name, **declarations)
    async def coroutine() -> Any:
        return make()

    @monitored(name, **declarations)
    def returns_coroutine() -> Any:
        async def later() -> Any:
            return make()

        return later()

    with ToolRecorder(budget=None) as recorder:
        if way == "nested":
            with track("around"):
                function()
        elif way == "function":
            function()
        else:
            asyncio.run(coroutine() if way == "coroutine" else returns_coroutine())
        (call,) = recorder.calls("tool")
    return call


@pytest.mark.parametrize("way", ["function", "nested", "coroutine", "coroutine that is returned"])
@pytest.mark.parametrize("kind", FAILED)
def test_a_result_of_mcp_that_says_it_is_an_error_is_a_failure(kind: str, way: str) -> None:
    """Monitoring the tool instead of the server or the client counts the same, and so does what it used."""
    call = call_of(FAILED[kind], way, cost=None)
    assert (call.outcome, call.error) == ("failure", "no such page")
    if kind == "dict with usage":
        assert (call.tokens, call.cost_usd) == (5, 0.25)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_only_looks_like_it_is_a_success(kind: str) -> None:
    """The flag is exactly `true`, and beside it is the list of a tool's content."""
    call = call_of(OTHERS[kind], "function")
    assert (call.outcome, call.error) == ("success", "")


@pytest.mark.parametrize("kind", FAILED)
def test_an_error_that_is_handed_on_is_a_failure_of_each_call(kind: str) -> None:
    """As an exception that passes through. Its tokens still count once.

    Seen red: with nothing looked for in what a call inside has read.
    """
    inner = monitored("inner")(FAILED[kind])
    outer = monitored("outer")(inner)
    with ToolRecorder() as recorder:
        outer()
        calls = recorder.calls()
    assert [call.outcome for call in calls] == ["failure", "failure"]
    assert sum(call.tokens for call in calls) == (5 if kind == "dict with usage" else 0)


def test_a_declared_cost_is_not_charged_and_readers_of_one_s_own_hold() -> None:
    """A `usage=` need not look for the failure; a reason of the program's own goes before the result's.

    `usage=False` leaves results unread.
    """

    def explain(result: Any) -> Usage:
        current_call().fail("mine")
        return Usage()

    fail = FAILED["dict"]
    assert call_of(fail, "function", cost=0.10).cost_usd is None
    assert call_of(fail, "function", usage=lambda _: Usage(tokens=3)).outcome == "failure"
    assert call_of(fail, "function", usage=explain).error == "mine"
    assert call_of(lambda: current_call().fail("own") or fail(), "function").error == "own"
    assert call_of(fail, "function", usage=False).outcome == "success"


def test_no_code_of_a_result_runs_to_look_for_its_failure() -> None:
    """A key that raises when it is compared is one more invalid value, and the tool goes on."""

    class Key:
        def __hash__(self) -> int:
            return hash("isError")

        def __eq__(self, other: object) -> bool:
            raise SystemExit(1)

    monitor = setup()
    before = monitor.health()["invalid"]["internal_errors"]  # of the process
    strange = monitored("tool")(lambda: {Key(): 1, "is_error": True})
    below = monitored("tool")(lambda: Fields({Key(): 1, "is_error": True}))
    strange()
    below()
    assert [each["outcome"] for each in monitor.metrics.operations] == ["success", "success"]
    assert monitor.health()["invalid"]["internal_errors"] == before
