"""Failures that a result tells: of MCP and of frameworks, whose tools do not raise, and in one's own way."""

from __future__ import annotations

import asyncio
import dataclasses
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, Usage, current_call, instrument, monitored, setup, track, uninstrument
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.errors import ConfigurationError
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
    """The flag is exactly `true`."""
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


Told = dataclasses.make_dataclass("Told", [("success", bool), ("error", Any), ("metadata", Any, None)])


class Response:
    """A class that declares nothing, and sets its fields."""

    def __init__(self, success: bool, error: str) -> None:
        self.success = success
        self.error = error


class Slotted:
    __slots__ = ("error", "status")

    def __init__(self, status: str, error: str) -> None:
        self.status, self.error = status, error


ToolMessage = dataclasses.make_dataclass("ToolMessage", ["content", "status", "tool_call_id"])
ToolOutput = dataclasses.make_dataclass("ToolOutput", ["blocks", "tool_name", "raw_output", "is_error"])
ToolResult = dataclasses.make_dataclass("ToolResult", ["name", "result", "is_error"])
BLURRED: dict[str, Callable[[], Any]] = {
    "success and error": lambda: {"success": False, "error": "blurred"},
    "success and error with figures": lambda: {"success": False, "error": "blurred", "cost": 0.25, "tokens_used": 5},
    "success and error of an exception": lambda: {"success": False, "error": ValueError("blurred")},
    "success and error with a message": lambda: {"success": False, "error": {"code": 3, "message": "blurred"}},
    "object": lambda: Told(False, "blurred"),
    "plain object": lambda: Response(False, "blurred"),
    "object with slots": lambda: Slotted("error", "blurred"),
    "namespace": lambda: types.SimpleNamespace(success=False, is_error=True, error="blurred"),
    "nothing but an error": lambda: {"error": "blurred"},
    "is_error and a text": lambda: {"content": "blurred", "is_error": True},
    # The classes have the fields of the frameworks' own; tests/frameworks has those.
    "ToolWeaver's agent": lambda: Told(False, None, {"error": "blurred", "attempts": 3}),
    "LangChain's message": lambda: ToolMessage("blurred", "error", "1"),
    "LlamaIndex": lambda: ToolOutput([TextContent("blurred")], "ocr", None, True),
    "AutoGen": lambda: ToolResult("ocr", [types.SimpleNamespace(content="blurred")], True),
    "Agno": lambda: Slotted("failure", "blurred"),
    "Strands": lambda: {"toolUseId": "1", "status": "error", "content": [{"text": "blurred"}]},
    "ADK": lambda: {"status": "error", "error_message": "blurred"},
}
NOT_TOLD: dict[str, Callable[[], Any]] = {
    "success": lambda: {"success": True, "error": None, "status": "ok"},
    "success with a warning": lambda: {"success": True, "error": "none", "cost": 0.25, "tokens_used": 5},
    "no success without an error": lambda: {"success": False, "error": None},
    "false in a way": lambda: {"success": 0, "error": "blurred"},
    "an error beside a result": lambda: {"text": "Total 3", "error": "none"},
    "no error": lambda: {"error": ""},
    "the status of a job": lambda: {"job": 3, "status": "failure", "error": "disk full"},
    "the status of a page": lambda: {"status": "error", "content": "Not found"},
    "no status of a text": lambda: {"status": 500, "error": "disk full"},
    "an object": lambda: Told(True, "none"),
}


@pytest.mark.parametrize("way", ["function", "nested", "coroutine", "coroutine that is returned"])
@pytest.mark.parametrize("kind", BLURRED)
def test_a_failure_that_a_result_tells_is_a_failure(kind: str, way: str) -> None:
    """The tool has returned, and says that it did not work. What it used counts all the same.

    Seen red: all of these were successes.
    """
    call = call_of(BLURRED[kind], way, cost=None)
    assert (call.outcome, call.error_type, call.error) == ("failure", "tool_error", "blurred")
    if "figures" in kind:
        assert (call.tokens, call.cost_usd) == (5, 0.25)


@pytest.mark.parametrize("kind", NOT_TOLD)
def test_what_does_not_say_so_in_a_known_way_is_a_success(kind: str) -> None:
    """The status of something else, an error beside a result, flags that are no truth values."""
    call = call_of(NOT_TOLD[kind], "function")
    assert (call.outcome, call.error_type) == ("success", None)
    if "warning" in kind:
        assert (call.tokens, call.cost_usd) == (5, 0.25)


def test_no_property_of_a_result_runs_to_look_for_its_failure() -> None:
    """Stored fields only, also of a class that declares the names.

    Seen red: with `getattr` in place of the fields.
    """

    class Sly:
        success: bool
        error: str

        def __getattr__(self, name: str) -> Any:
            raise SystemExit(name)

        @property
        def is_error(self) -> bool:
            raise SystemExit("is_error")

    assert call_of(Sly, "function").outcome == "success"


def test_a_tool_says_itself_which_results_are_failures() -> None:
    """`failed=` returns the text of a failure, or None; what it says holds against what is found otherwise.

    Seen red: without `ask_failed` in `finish_slow`, and in `finish_awaitable`; without clearing what was found.
    """

    def failed(result: Any) -> str | None:
        return "no total" if result["total"] is None else None

    for way in ("function", "nested", "coroutine", "coroutine that is returned"):
        bad = call_of(lambda: {"total": None, "cost": 0.25}, way, failed=failed)
        assert (bad.outcome, bad.error_type, bad.error, bad.cost_usd) == ("failure", "tool_error", "no total", 0.25)
        good = call_of(lambda: {"total": 3, "success": False, "error": "x"}, way, failed=failed)
        assert (good.outcome, good.error_type, good.error) == ("success", None, "")
        assert call_of(lambda: {"total": 3}, way, failed=failed, cost=0.5).cost_usd == 0.5
        assert call_of(lambda: {"total": None}, way, failed=failed, cost=0.5, usage=False).cost_usd is None
        assert call_of(lambda: current_call().fail("own") or {"total": 3}, way, failed=failed).error == "own"
    told = {False: "success", "": "success", True: "failure"}
    assert {each: call_of(object, "function", failed=lambda _, each=each: each).outcome for each in told} == told
    assert call_of(lambda: {"success": False, "error": "x"}, "function", failed=lambda _: "").outcome == "success"


def test_a_failed_callable_that_raises_changes_nothing_but_a_count() -> None:
    """The tool has already returned."""
    before = Diagnostics.extractor_errors
    assert call_of(lambda: {"success": False, "error": "x"}, "function", failed=lambda result: 1 / 0).error == "x"
    assert call_of(lambda: None, "function", failed=lambda result: 1 / 0).outcome == "success"
    assert Diagnostics.extractor_errors == before + 2
    with pytest.raises(ConfigurationError, match="failed='text' is not a way"):
        monitored("tool", failed="text")  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_the_items_of_a_generator_tell_its_failure(kind: str) -> None:
    """`failed=` gets each of them; the first text counts."""

    def failed(item: dict[str, Any]) -> str | None:
        return item.get("problem")

    items = [{"text": "a", "cost": 0.25}, {"problem": "cut off"}, {"problem": "later"}]

    @monitored("pages", failed=failed)
    def pages() -> Iterator[Any]:
        yield from items

    @monitored("pages", failed=failed)
    async def async_pages() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async def consume() -> None:
        async for _ in async_pages():
            pass

    with ToolRecorder() as recorder:
        list(pages()) if kind == "generator" else asyncio.run(consume())
        (call,) = recorder.calls()
    assert isinstance(call, ToolCall)
    assert (call.outcome, call.error, call.items, call.cost_usd) == ("failure", "cut off", 3, 0.25)


def test_a_told_failure_that_comes_again_is_no_hit_of_a_cache() -> None:
    """Tools return the same object for the same error, often a constant.

    Seen red: with every known result counted as served from a cache.
    """
    unreadable = {"success": False, "error": "unreadable"}
    with setup() as monitor:
        tool = monitored("tool")(lambda: unreadable)
        for _ in range(3):
            tool()
        assert monitor.errors.error_rate("tool") == 1.0
        assert monitor.costs.by("tool")["tool"]["cache_hits"] == 0


def test_instrument_takes_failed_as_well() -> None:
    """For all tools of an orchestrator; of known classes it holds against what is known of these.

    Seen red: with `failed` left out of what `instrument()` declares.
    """

    class Workbench:
        def call_tool(self, name: str) -> dict[str, Any]:
            return {"total": None} if name == "ocr" else {"success": False, "error": "x", "total": 3}

    bench = Workbench()
    instrument(bench, failed=lambda result: "no total" if result["total"] is None else None)
    try:
        with ToolRecorder() as recorder:
            bench.call_tool("ocr")
            bench.call_tool("search")
            calls = recorder.calls()
    finally:
        uninstrument(bench)
    assert [(call.tool_name, call.outcome, call.error) for call in calls] == [
        ("ocr", "failure", "no total"),
        ("search", "success", ""),
    ]
    with pytest.raises(ConfigurationError, match="failed='text' is not a way"):
        instrument(Workbench(), failed="text")  # type: ignore[arg-type]
