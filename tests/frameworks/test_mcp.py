"""Tools of a server of the `mcp` SDK, called by its client through its in-memory transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
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


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """Have the SDK make its spans for a provider of the program, which gets ours, too. Return what has ended."""
    otel = pytest.importorskip("mcp.shared._otel", reason="since mcp 2")
    pytest.importorskip("opentelemetry.sdk", reason="needs pip install 'toolweaver_monitor[otlp]'")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from toolweaver_monitor import setup, shutdown
    from toolweaver_monitor.sinks import OpenTelemetryExporter

    exporter, provider, meters = InMemorySpanExporter(), TracerProvider(), MeterProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "_tracer", provider.get_tracer("mcp-python-sdk"))
    monitor = setup(OpenTelemetryExporter(tracer_provider=provider, meter_provider=meters), budget=1.0)

    def ended() -> list[Any]:
        assert monitor.flush()
        spans = exporter.get_finished_spans()
        return [span for span in spans if span.attributes.get("mcp.method.name", "tools/call") == "tools/call"]

    yield ended
    shutdown(5)
    provider.shutdown()
    meters.shutdown()


def shape(spans: Sequence[Any]) -> set[tuple[str, str]]:
    """Each span's name, and that of its parent; a parent that is no span fails."""
    names = {span.context.span_id: span.name for span in spans}
    assert len(names) == len(spans)
    return {(span.name, names[span.parent.span_id] if span.parent else "") for span in spans}


async def call_find(handler: Callable[..., Any]) -> None:
    server = MCPServer("receipts")
    server.tool(name="find")(handler)
    async with Client(server) as client:
        await client.call_tool("find", {})


async def test_the_call_is_one_span_with_that_of_the_sdk(recorded: Any) -> None:
    """With tags, tokens and cost on it; calls inside, and what propagators and the log see, are of that span."""
    from opentelemetry import trace

    from toolweaver_monitor import track
    from toolweaver_monitor.integrations.logs import add_call_ids

    logged: dict[str, Any] = {}

    @monitored("find", tags={"kind": "paper"})
    def find() -> dict[str, Any]:
        add_call_ids(None, "info", logged)
        trace.get_current_span().set_attribute("mine", True)
        with track("ocr"):
            pass
        return {"tokens_used": 7, "cost": 0.5}

    await call_find(find)
    spans = recorded()
    assert shape(spans) == {("tools/call find", ""), ("execute_tool ocr", "tools/call find")}
    (served,) = [span for span in spans if span.name == "tools/call find"]
    assert logged["call_id"] == f"{served.context.span_id:016x}"
    assert served.attributes["mcp.method.name"] == "tools/call"
    assert served.attributes["mine"] is True
    assert served.attributes["toolweaver.tag.kind"] == "paper"
    assert (served.attributes["toolweaver.usage.unsplit_tokens"], served.attributes["toolweaver.cost.amount"]) == (
        7,
        0.5,
    )


async def test_a_block_in_the_tool_and_only_the_first_of_its_name_is_that_span(recorded: Any) -> None:
    """A tool that is not monitored itself calls others, and one of its own name twice."""
    from toolweaver_monitor import tagged, track

    def find() -> str:
        for name in ("open", "find", "find"):
            with tagged(customer="acme"), track(name):
                pass
        return ""

    await call_find(find)
    spans = recorded()
    assert len(spans) == 3
    inside = ("execute_tool open", "execute_tool find")
    assert shape(spans) == {("tools/call find", ""), *((name, "tools/call find") for name in inside)}


async def test_a_tool_of_another_name_is_a_span_inside(recorded: Any) -> None:
    """It is counted by that name."""
    await call_find(monitored("search")(lambda: ""))
    assert shape(recorded()) == {("tools/call find", ""), ("execute_tool search", "tools/call find")}


async def test_a_call_that_goes_on_after_the_answer_is_a_span_of_its_own(recorded: Any) -> None:
    """The SDK's span has ended by then."""
    tasks = []
    goes_on = asyncio.Event()

    @monitored("find")
    async def work() -> None:
        await goes_on.wait()

    async def find() -> str:
        tasks.append(asyncio.create_task(work()))
        await asyncio.sleep(0)
        return ""

    await call_find(find)
    goes_on.set()
    await asyncio.gather(*tasks)
    assert shape(recorded()) == {("tools/call find", ""), ("execute_tool find", "tools/call find")}


async def test_a_tool_that_is_a_model_call_is_a_span_of_its_own(recorded: Any) -> None:
    """Usage in the names of the conventions stands on `chat` spans only."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    await call_find(monitored("find")(lambda: {"model": "gpt-4o", "provider": "openai", "cost": 0.02, "usage": usage}))
    assert shape(recorded()) == {("tools/call find", ""), ("chat gpt-4o", "tools/call find")}


async def test_a_tool_that_a_budget_refuses_says_so_on_that_span(recorded: Any) -> None:
    """Its `error.type` is that of the SDK, which has made an answer of the refusal."""
    await call_find(monitored("find", cost=2.0)(lambda: ""))
    (served,) = recorded()
    assert served.attributes["toolweaver.outcome"] == "rejected"
    assert served.attributes["error.type"] == "tool_error"


async def test_a_context_handed_to_a_thread_keeps_the_call_around(recorded: Any) -> None:
    """What runs there is inside the call in its tree, and inside the span."""
    import threading

    from opentelemetry import context

    from toolweaver_monitor import get_monitor, track

    @monitored("find")
    def find() -> str:
        def work(handed: Any) -> None:
            token = context.attach(handed)
            with track("ocr"):
                pass
            context.detach(token)

        thread = threading.Thread(target=work, args=(context.get_current(),))
        thread.start()
        thread.join()
        return ""

    await call_find(find)
    assert shape(recorded()) == {("tools/call find", ""), ("execute_tool ocr", "tools/call find")}
    assert "find;ocr 1" in get_monitor().tree().folded("calls").splitlines()


async def test_a_request_that_is_sent_again_inside_the_call_is_a_span_of_its_own(recorded: Any) -> None:
    """The first is one span with the call, which is CLIENT then; each server's is inside its own."""
    from toolweaver_monitor import track

    server = MCPServer("receipts")
    server.tool(name="find")(lambda: "")
    async with Client(server, mode="legacy") as client:
        await client.list_tools()
        with track("find"):
            for _ in range(2):
                await client.call_tool("find", {})
    spans = recorded()
    assert shape(spans) == {
        ("execute_tool find", ""),
        ("tools/call find", "execute_tool find"),
        ("MCP send tools/call find", "execute_tool find"),
        ("tools/call find", "MCP send tools/call find"),
    }
    assert [span.kind.name for span in spans if span.name == "execute_tool find"] == ["CLIENT"]


async def test_a_tool_that_asks_another_server_for_the_same_has_both_spans(recorded: Any) -> None:
    """What it serves and what it sends are two: a gateway's."""
    behind, gateway = MCPServer("behind"), MCPServer("gateway")
    behind.tool(name="find")(lambda: "")

    @gateway.tool()
    @monitored("find")
    async def find() -> str:
        async with Client(behind, mode="legacy") as client:
            await client.call_tool("find", {})
        return ""

    async with Client(gateway) as client:
        await client.call_tool("find", {})
    spans = [span for span in recorded() if span.kind.name != "INTERNAL"]
    chain = [("tools/call find", ""), ("MCP send tools/call find", "tools/call find")]
    assert shape(spans) == {*chain, ("tools/call find", "MCP send tools/call find")}
    assert len(spans) == 3
