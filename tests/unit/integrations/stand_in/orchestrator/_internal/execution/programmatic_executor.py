"""Generated code that calls tools by their names."""

from typing import Any


class ProgrammaticToolExecutor:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions

    async def execute(self, tool_name: str, **parameters: Any) -> Any:
        return await self._execute_tool(self.definitions[tool_name], parameters)

    async def _execute_tool(self, tool_def: Any, parameters: dict[str, Any]) -> Any:
        if tool_def.type == "mcp":
            from orchestrator._internal.infra.mcp_client import MCPClientShim

            return await MCPClientShim().tool_map[tool_def.name](parameters)
        from orchestrator._internal.dispatch.hybrid_dispatcher import function_call_worker

        return await function_call_worker({"name": tool_def.name, "args": parameters})
