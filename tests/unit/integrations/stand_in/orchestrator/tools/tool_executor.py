"""The function that generated code calls tools by."""

import asyncio
from typing import Any


async def call_tool(server: str, tool_name: str, parameters: dict[str, Any], timeout: int = 30) -> Any:
    from orchestrator._internal.infra.mcp_client import MCPClientShim

    return await asyncio.wait_for(MCPClientShim().call_tool(tool_name, parameters), timeout)
