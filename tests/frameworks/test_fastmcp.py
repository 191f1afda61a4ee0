"""Tools of a FastMCP server, called by its client: through its in-memory transport, and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from helpers import free_port

from toolweaver_monitor import instrument, monitored, uninstrument
from toolweaver_monitor.errors import ConfigurationError

pytest.importorskip("fastmcp", reason="installed by `nox -s frameworks`")

from fastmcp import Client, Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool

ARGUMENTS = {"shop": "acme", "period": {"year": 2026}}


async def listed(function: Any) -> dict[str, Any]:
    server = FastMCP("receipts")
    server.tool(function)
    async with Client(server) as client:
        (tool,) = await client.list_tools()
    shown: dict[str, Any] = tool.model_dump()
    return shown


async def test_the_schema_is_the_one_without_us(pair: Any) -> None:
    """Name, description, input and output schema."""
    plain = await listed(pair.plain)
    assert plain["description"].startswith("Find the receipts")
    assert await listed(pair.watched) == plain


async def test_the_decorator_above_leaves_the_servers_tool_as_it_is(pair: Any, seen: Any, caplog: Any) -> None:
    """`@server.tool` took the function already: what the server calls is not monitored, and a warning says so."""
    server = FastMCP("receipts")
    monitored("find_receipts")(server.tool(pair.plain))
    assert "by which fastmcp has registered find already" in caplog.text
    async with Client(server) as client:
        (tool,) = await client.list_tools()
        await client.call_tool("find", ARGUMENTS)
    assert tool.model_dump() == await listed(pair.plain)
    assert seen() == []


async def test_a_call_through_the_protocol_is_recorded_once(pair: Any, seen: Any) -> None:
    """By its own name, with what the result says of its cost."""
    server = FastMCP("receipts")
    server.tool(pair.watched)
    async with Client(server) as client:
        result = await client.call_tool("find", ARGUMENTS)
        with pytest.raises(ToolError, match="closed"):
            await client.call_tool("find", {"shop": "closed"})
    assert result.data == {"shop": "acme", "kind": "paper", "cost": 0.5}
    assert seen() == [("find_receipts", "success", 0.5), ("find_receipts", "failure", None)]


async def test_a_failure_that_the_result_tells_is_seen_below_the_decorator(trial: Any) -> None:
    """With its figures; to the model it is a result as any other."""
    server = FastMCP("receipts")
    server.tool(monitored("read_receipt")(trial.telling(trial.told)))
    async with Client(server) as client:
        await client.call_tool("ocr", {"image": "a.png"})
    trial.check_told()


async def test_a_tool_with_a_context_is_still_seen_to_take_one(seen: Any) -> None:
    """FastMCP looks at the parameters' types to know, and gives it at the call."""
    server = FastMCP("receipts")

    @server.tool
    @monitored("tell")
    async def tell(word: str, context: Context) -> str:
        return f"{word}: {type(context).__name__}"

    async with Client(server) as client:
        (listed_tool,) = await client.list_tools()
        result = await client.call_tool("tell", {"word": "hi"})
    assert list(listed_tool.input_schema["properties"]) == ["word"]
    assert (result.data, seen()) == ("hi: Context", [("tell", "success", None)])


async def test_an_object_is_a_tool_by_its_call(seen: Any) -> None:
    """FastMCP makes the schema of the object's `__call__`."""

    class Double:
        """Double it."""

        def __call__(self, number: int) -> int:
            """Double the number."""
            return 2 * number

    plain, watched = (Tool.from_function(each, name="double") for each in (Double(), monitored("double")(Double())))
    assert watched.model_dump(exclude={"fn"}) == plain.model_dump(exclude={"fn"})
    server = FastMCP("numbers")
    server.add_tool(watched)
    async with Client(server) as client:
        assert (await client.call_tool("double", {"number": 2})).data == 4
    assert seen() == [("double", "success", None)]


async def test_an_instrumented_server_records_each_call_by_its_tool(pair: Any, seen: Any) -> None:
    """Tools that are not decorated, mounted ones too; what they cost, how they fail, and tools that are not there."""
    server, inner = FastMCP("receipts"), FastMCP("inner")
    inner.tool(pair.plain)
    server.tool(pair.plain)
    server.mount(inner, "in")
    before = list(server.middleware)
    for _ in range(2):
        assert instrument(server) is server
    async with Client(server) as client:
        await client.call_tool("find", ARGUMENTS)
        await client.call_tool("in_find", ARGUMENTS)
        for name, arguments in (("find", {"shop": "closed"}), ("lose", {})):
            with pytest.raises(ToolError):
                await client.call_tool(name, arguments)
        assert seen() == [
            ("find", "success", 0.5),
            ("in_find", "success", 0.5),
            ("find", "failure", None),
            ("lose", "failure", None),
        ]
        instrument(server, tool_name=lambda name, arguments: f"{name}/{arguments['shop']}")
        await client.call_tool("find", ARGUMENTS)
        assert seen() == [("find/acme", "success", 0.5)]
        uninstrument(server)
        await client.call_tool("find", ARGUMENTS)
    assert seen() == []
    assert server.middleware == before


async def test_money_is_counted_once_where_server_and_tool_are_watched(pair: Any, calls: Any) -> None:
    """The server's answer is made of the tool's result: the tool has told its cost already."""
    server = FastMCP("receipts")
    server.tool(pair.watched)
    instrument(server)
    async with Client(server) as client:
        await client.call_tool("find", ARGUMENTS)
    tool, call = calls()
    assert (tool.tool_name, tool.cost_usd, tool.parent_id) == ("find_receipts", 0.5, call.call_id)
    assert (call.tool_name, call.cost_usd) == ("find", None)


def test_the_class_of_servers_is_refused() -> None:
    """There is no one place that sees a call of every server once."""
    with pytest.raises(ConfigurationError, match=r"instrument\(server\)"):
        instrument(FastMCP)


async def test_an_instrumented_client_and_tool_show_each_call(trial: Any) -> None:
    """A client of a server that is not yours; and a single tool of a server."""
    server = FastMCP("receipts")
    server.tool(trial.ocr)
    async with Client(server) as client:
        instrument(client)
        await client.call_tool("ocr", {"image": "a.png"})
        with pytest.raises(ToolError, match="unreadable"):
            await client.call_tool("ocr", {"image": "bad.png"})
        uninstrument(client)
        trial.check(models=0)
        tool = await server.get_tool("ocr")
        instrument(tool)
        await tool.run({"image": "a.png"})
        uninstrument(tool)
        trial.check(models=0, tools=(("success", 7, 0.01),))


@pytest.mark.usefixtures("everywhere")
async def test_all_servers_are_seen_without_a_line_of_code(trial: Any) -> None:
    """By the classes of the framework, as `toolweaver-monitor run` has them monitored."""
    server = FastMCP("receipts")
    server.tool(trial.ocr)
    async with Client(server) as client:
        await client.call_tool("ocr", {"image": "a.png"})
    trial.check(models=0, tools=(("success", 7, 0.01),))


SERVER = """
import os
from fastmcp import FastMCP
from toolweaver_monitor import monitored, setup
from toolweaver_monitor._core import config
from toolweaver_monitor._http import default_port

# Other numbers than 8000 and 9464, which a test that runs beside this one may use.
config.PROMETHEUS_PORT = config.PROMETHEUS_PORT._replace(default=int(os.environ["PORT"]))
default_port.PORT_BESIDE_SERVER = int(os.environ["BESIDE"])
setup("prometheus")
mcp = FastMCP("receipts")

@mcp.tool
@monitored("find_receipts")
def find(shop: str) -> str:
    return shop

if __name__ == "__main__":
    mcp.run(transport="http", port=int(os.environ["PORT"]), show_banner=False)
"""


@pytest.mark.parametrize(
    "command",
    [
        ["python", "server.py"],
        ["fastmcp", "run", "server.py", "--transport", "http", "--port", "PORT", "--no-banner"],
    ],
    ids=["run()", "fastmcp run"],
)
def test_over_http_the_server_answers_on_its_port_and_metrics_beside_it(command: list[str], tmp_path: Path) -> None:
    """The server is on what would be the exporter's usual port.

    Seen red: with `find_server` finding none, the exporter took the port and FastMCP could not bind it.
    """
    port, beside = free_port(), free_port()
    (tmp_path / "server.py").write_text(SERVER)
    env = os.environ | {"PORT": str(port), "BESIDE": str(beside), "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "log").open("wb") as log:
        program, *rest = (part.replace("PORT", str(port)) for part in command)
        path = str(Path(sys.executable).parent / program)
        process = subprocess.Popen([path, *rest], cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)

        async def find() -> str:
            async with Client(f"http://127.0.0.1:{port}/mcp") as client:
                return str((await client.call_tool("find", {"shop": "acme"})).data)

        assert asyncio.run(find()) == "acme"
        with urllib.request.urlopen(f"http://127.0.0.1:{beside}/metrics", timeout=5) as answer:
            assert 'tool_name="find_receipts",status="success"} 1' in answer.read().decode()
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


TRACED = """
import asyncio, json, sys
from typing import Any
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from toolweaver_monitor import instrument, monitored, setup, track
from toolweaver_monitor.sinks import OpenTelemetryExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
monitor = setup(OpenTelemetryExporter(meter_provider=MeterProvider()))

def find(shop: str) -> dict[str, Any]:
    if shop == "closed":
        raise ValueError("this shop is closed")
    with track("ocr"):
        return {"shop": shop, "cost": 0.5}

server = FastMCP("receipts")
if sys.argv[1] == "instrument":
    instrument(server)
else:
    find = monitored(find)
server.tool(find)

async def main():
    async with Client(server) as client:
        instrument(client)
        await client.call_tool("find", {"shop": "acme"})
        try:
            await client.call_tool("find", {"shop": "closed"})
        except ToolError:
            pass

asyncio.run(main())
monitor.flush()
is_call = lambda span: span.attributes.get("mcp.method.name", "tools/call") == "tools/call"
shown = [span for span in exporter.get_finished_spans() if is_call(span)]
names = {span.context.span_id: f"{span.name} {span.kind.name}" for span in shown}
for span in sorted(shown, key=lambda span: span.start_time):
    parent = names[span.parent.span_id] if span.parent else None
    told = span.attributes
    print(json.dumps([names[span.context.span_id], parent, told.get("error.type"), told["toolweaver.outcome"]]))
"""


@pytest.mark.parametrize("form", ["instrument", "monitored"])
def test_a_call_is_one_span_on_each_side_with_those_of_fastmcp(form: str) -> None:
    """FastMCP makes a span at the client around that of the MCP SDK, and one at the server that is named late."""
    pytest.importorskip("opentelemetry.sdk", reason="needs pip install 'toolweaver_monitor[otlp]'")
    command = [sys.executable, "-c", TRACED, form]
    env = os.environ | {"TOOLWEAVER_MONITOR_SINKS": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    sent, served = "execute_tool find CLIENT", "tools/call find SERVER"
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [sent, None, None, "success"],
        [served, sent, None, "success"],
        ["execute_tool ocr INTERNAL", served, None, "success"],
        [sent, None, "tool_error", "failure"],
        [served, sent, "tool_error", "failure"],
    ]
