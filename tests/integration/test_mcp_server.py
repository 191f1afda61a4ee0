"""A store as an MCP client sees it: the official client starts `toolweaver-monitor mcp` and calls its tools."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS

from toolweaver_monitor import Budget, setup, track
from toolweaver_monitor._cli import main
from toolweaver_monitor.sinks import SQLiteStore

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, require_package: Callable[[str, str], None]) -> Path:
    """Ten receipts, the last of which fails."""
    require_package("mcp", "pip install 'toolweaver_monitor[mcp]'")
    path = tmp_path_factory.mktemp("mcp") / "runs.db"
    with setup(SQLiteStore(path), budget=[Budget(limit_usd=5.0, per="day")]):
        for number in range(10):
            with track("mcp_receipt", customer="acme"), track("mcp_ocr") as call:
                call.record(cost=0.25, tokens=100, model="gpt-4o")
                if number == 9:
                    call.fail("blurred")
    return path


@asynccontextmanager
async def open_client(path: Path) -> AsyncIterator[Any]:
    """Start the command as a client does, by the entry that `--json` prints."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    arguments = ["-m", "toolweaver_monitor", "mcp", str(path)]
    how = StdioServerParameters(command=sys.executable, args=arguments, env={"PYTHONPATH": OURS})
    async with stdio_client(how) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        yield session


async def ask(session: Any, tool: str, /, **arguments: Any) -> Any:
    answer = await session.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    found = answer.structured_content
    return found["result"] if found.keys() == {"result"} else found


async def test_an_agent_reads_what_it_cost(store: Path) -> None:
    """Seven tools, each of which says that it only reads; the figures are those of the store."""
    async with open_client(store) as session:
        tools = (await session.list_tools()).tools
        assert [tool.name for tool in tools] == [
            "summary", "tools", "errors", "slowest", "trace", "budgets", "query",
        ]  # fmt: skip
        assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
        summary = await ask(session, "summary")
        assert (summary["count"], summary["failures"], summary["total_cost_usd"]) == (20, 1, 2.5)
        rows = await ask(session, "tools", by="tag:customer")
        assert [(row["name"], row["calls"], row["cost_usd"]) for row in rows] == [("acme", 20, 2.5)]
        (error,) = await ask(session, "errors", tool="mcp_ocr", since="1h")
        assert (error["error"], error["path"]) == ("blurred", "mcp_receipt > mcp_ocr")
        calls = await ask(session, "trace", trace=error["trace"])
        assert [call["tool_name"] for call in calls] == ["mcp_receipt", "mcp_ocr"]
        assert calls[1]["parent"] == calls[0]["id"] == error["trace"][:16]
        expensive = await ask(session, "slowest", order="most_expensive", limit=3)
        assert [call["cost_usd"] for call in expensive] == [0.25] * 3
        (budget,) = await ask(session, "budgets")
        assert (budget["budget"], budget["per"], budget["unit"]) == ("usd/day", "day", "usd")
        assert budget["spent"] == pytest.approx(2.5)
        found = await ask(session, "query", sql="SELECT tool_name, count(*) FROM calls GROUP BY 1 ORDER BY 1")
        assert found == {
            "columns": ["tool_name", "count(*)"],
            "rows": [["mcp_ocr", 10], ["mcp_receipt", 10]],
            "has_more": False,
        }


WRONG = (
    ("query", {"sql": "DELETE FROM call_rows"}, "a query may only read"),
    ("query", {"sql": "ATTACH 'x.db' AS x"}, "a query may only read"),
    ("tools", {"by": "tag:custmer"}, "did you mean 'customer'?"),
    ("errors", {"since": "yesterday"}, "write 2h, 30m, 7d"),
    ("trace", {"trace": "1"}, "give the 32 hexadecimal digits"),
    ("trace", {"trace": "0" * 32}, "there is no call of the trace"),
)


async def test_a_wrong_question_is_answered_with_the_cure(store: Path) -> None:
    """The server goes on, and the file stays as it was. Seen red: without `_explain_errors` no cure was said."""
    before = store.read_bytes()  # noqa: ASYNC240 - a small file, in a test
    async with open_client(store) as session:
        for tool, arguments, says in WRONG:
            answer = await session.call_tool(tool, arguments)
            assert answer.is_error
            assert says in answer.content[0].text
        assert (await ask(session, "summary"))["count"] == 20
    assert store.read_bytes() == before  # noqa: ASYNC240


def test_the_entry_for_a_clients_configuration_starts_this_server(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", str(store), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["mcpServers"].values()
    assert [entry["command"], *entry["args"]] == [sys.executable, "-m", "toolweaver_monitor", "mcp", str(store)]
