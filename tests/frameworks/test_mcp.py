"""Tools of a server of the `mcp` SDK, called by its client through its in-memory transport."""

from __future__ import annotations

from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument

pytest.importorskip("mcp", reason="installed by `nox -s frameworks`")

from mcp.types import CallToolResult

try:
    from mcp.client import Client
    from mcp.server.mcpserver import Context, MCPServer
except ImportError:  # mcp 1
    from mcp.server.fastmcp import Context  # type: ignore[no-redef]
    from mcp.server.fastmcp import FastMCP as MCPServer  # type: ignore[no-redef]
    from mcp.shared.memory import create_connected_server_and_client_session

    @asynccontextmanager  # type: ignore[no-redef]
    async def Client(server: Any) -> Any:
        async with create_connected_server_and_client_session(server._mcp_server) as session:
            yield session


ARGUMENTS = {"shop": "acme", "period": {"year": 2026}}


async def listed(function: Any) -> dict[str, Any]:
    server = MCPServer("receipts")
    server.tool()(function)
    async with Client(server) as client:
        (tool,) = (await client.list_tools()).tools
    shown: dict[str, Any] = tool.model_dump()
    return shown


async def test_the_schema_is_the_one_without_us(pair: Any) -> None:
    """Name, description, input and output schema, in both orders of decorators."""
    plain = await listed(pair.plain)
    assert plain["description"].startswith("Find the receipts")
    assert await listed(pair.watched) == plain
    server = MCPServer("receipts")
    above = monitored("find_receipts")(server.tool()(pair.plain))
    assert await listed(above) == plain


async def test_a_call_through_the_protocol_is_recorded_once(pair: Any, seen: Any) -> None:
    """By its own name, with what the result says of its cost."""
    server = MCPServer("receipts")
    server.tool()(pair.watched)
    async with Client(server) as client:
        result = await client.call_tool("find", ARGUMENTS)
    assert "acme" in result.content[0].text
    assert seen() == [("find_receipts", "success", 0.5)]


async def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures, and as the protocol has it."""
    error = CallToolResult.model_validate({"content": [{"type": "text", "text": "unreadable"}], "isError": True})
    for told, figures in (trial.told, (7, 0.01)), (error, (0, None)):
        server = MCPServer("receipts")
        server.tool()(monitored("read_receipt")(trial.telling(told)))
        async with Client(server) as client:
            await client.call_tool("ocr", {"image": "a.png"})
        trial.check_told(*figures)


async def test_the_decorator_above_leaves_the_servers_tool_as_it_is(pair: Any, seen: Any, caplog: Any) -> None:
    """`@server.tool()` took the function already: what the server calls is not monitored, and a warning says so."""
    server = MCPServer("receipts")
    watched = monitored("find_receipts")(server.tool()(pair.plain))
    assert "by which mcp has registered find already" in caplog.text
    async with Client(server) as client:
        await client.call_tool("find", ARGUMENTS)
    assert seen() == []
    done = watched("acme")
    if isawaitable(done):
        await done
    assert seen() == [("find_receipts", "success", 0.5)]


async def test_a_tool_with_a_context_is_still_seen_to_take_one(seen: Any) -> None:
    """The SDK looks at the parameters' types to know, and gives it at the call."""
    server = MCPServer("receipts")

    @server.tool()
    @monitored("tell")
    async def tell(word: str, context: Context) -> str:
        return f"{word}: {type(context).__name__}"

    async with Client(server) as client:
        (listed_tool,) = (await client.list_tools()).tools
        result = await client.call_tool("tell", {"word": "hi"})
    schema = listed_tool.model_dump()
    assert list((schema.get("input_schema") or schema["inputSchema"])["properties"]) == ["word"]
    assert (result.content[0].text, seen()) == ("hi: Context", [("tell", "success", None)])


async def test_an_instrumented_server_records_each_call_by_its_tool(pair: Any, seen: Any) -> None:
    """Tools that are not decorated, through the protocol and directly; failures and unknown tools, too."""
    server = MCPServer("receipts")
    server.tool()(pair.plain)
    for _ in range(2):
        assert instrument(server) is server
    async with Client(server) as client:
        await client.call_tool("find", ARGUMENTS)
        await client.call_tool("find", {"shop": "closed"})
        await client.call_tool("lose", {})
        with pytest.raises(Exception, match="find"):
            await server.call_tool("find", {"shop": "closed"})
        assert [each[:2] for each in seen()] == [
            ("find", "success"),
            ("find", "failure"),
            ("lose", "failure"),
            ("find", "failure"),
        ]
        uninstrument(server)
        await client.call_tool("find", ARGUMENTS)
    assert seen() == []


async def test_money_is_counted_once_where_server_and_tool_are_watched(pair: Any, calls: Any) -> None:
    """The server's answer is made of the tool's result: the tool has told its cost already."""
    server = MCPServer("receipts")
    server.tool(name="find", structured_output=True)(pair.watched)
    instrument(server)
    async with Client(server) as client:
        await client.call_tool("find", ARGUMENTS)
    tool, call = calls()
    assert (tool.tool_name, tool.cost_usd, tool.parent_id) == ("find_receipts", 0.5, call.call_id)
    assert (call.tool_name, call.cost_usd) == ("find", None)
    uninstrument(server)


async def test_an_answer_that_is_an_error_is_a_failure_at_the_client(pair: Any, calls: Any) -> None:
    """A client that is instrumented sees calls to servers of others, too. An error of MCP is an answer with a text."""
    server = MCPServer("receipts")
    server.tool(structured_output=True)(pair.plain)
    async with Client(server) as client:
        instrument(client)
        await client.call_tool("find", ARGUMENTS)
        await client.call_tool("find", {"shop": "closed"})
        uninstrument(client)
        await client.call_tool("find", ARGUMENTS)
    good, bad = calls()
    assert (good.tool_name, good.outcome, good.cost_usd, good.error) == ("find", "success", 0.5, "")
    assert (bad.tool_name, bad.outcome, bad.cost_usd) == ("find", "failure", None)
    assert "Error executing tool find" in bad.error


async def test_a_tool_of_the_server_is_in_the_trace_of_the_client(pair: Any) -> None:
    """The SDK sends `traceparent` in `params._meta`, and the server's task knows of the call in no other way.

    A call of the server's tool is one span: the SDK's own goes to the program's provider, and there is none.
    """
    pytest.importorskip("mcp.shared._otel", reason="since mcp 2")
    from otlp_receiver import Receiver

    from toolweaver_monitor import setup, shutdown, track
    from toolweaver_monitor.sinks import OpenTelemetryExporter

    receiver = Receiver()
    monitor = setup(OpenTelemetryExporter(receiver.url))
    server = MCPServer("receipts")
    server.tool()(pair.watched)
    async with Client(server) as client:
        with track("asks_a_server"):
            await client.call_tool("find", ARGUMENTS)
    assert monitor.flush()
    here, there = receiver.named("execute_tool asks_a_server"), receiver.named("execute_tool find_receipts")
    assert (there.trace_id, there.parent_span_id) == (here.trace_id, here.span_id)
    assert len(receiver.spans) == 2
    shutdown(5)
    receiver.stop()
