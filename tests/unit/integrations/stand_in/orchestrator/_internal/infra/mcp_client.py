"""The client of deterministic tools."""

from collections.abc import AsyncGenerator
from typing import Any

from orchestrator.plugins.registry import get_registry


async def code_exec_worker(payload: dict[str, Any]) -> Any:
    return {"output": payload.get("code")}


async def receipt_ocr_worker(payload: dict[str, Any]) -> Any:
    return {"text": payload.get("image_uri")}


_answers: dict[str, Any] = {}


class MCPClientShim:
    def __init__(self, *, max_retries: int = 0, observer: Any = None) -> None:
        self.tool_map: dict[str, Any] = {"receipt_ocr": receipt_ocr_worker, "code_exec": code_exec_worker}
        for plugin in get_registry()._plugins.values():
            for name in (*vars(plugin).get("_defs", {}), *vars(plugin).get("_tools", {})):
                self.tool_map[name] = self._handler(plugin, name)
        self._max_retries, self._observer = max_retries, observer

    @staticmethod
    def _handler(plugin: Any, name: str) -> Any:
        async def handle(payload: dict[str, Any]) -> Any:
            return await plugin.execute(name, payload)

        return handle

    async def call_tool(self, tool_name: str, payload: Any, idempotency_key: str | None = None) -> Any:
        if idempotency_key in _answers:
            self._emit("mcp.cache_hit", {"tool": tool_name, "idempotency_key": idempotency_key})
            return _answers[idempotency_key]
        for attempt in range(self._max_retries + 1):
            try:
                result = await self.tool_map[tool_name](payload)
            except Exception:
                if attempt == self._max_retries:
                    raise
                continue
            if idempotency_key:
                _answers[idempotency_key] = result
            self._emit("mcp.complete", {"tool": tool_name, "attempt": attempt + 1, "success": True})
            return result
        return None

    async def call_tool_stream(self, tool_name: str, payload: Any) -> AsyncGenerator[str, None]:
        async for chunk in self.tool_map[tool_name](payload):
            self._emit("mcp.stream.chunk", {"tool": tool_name, "attempt": 1})
            yield chunk

    def _emit(self, event: str, data: dict[str, Any]) -> None:
        if self._observer:
            self._observer(event, data)
