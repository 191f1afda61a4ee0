"""Decorators that register tools."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from orchestrator.plugins.registry import get_registry, register_plugin


class _Decorated:
    def __init__(self) -> None:
        self._functions: dict[str, Any] = {}
        self._defs: dict[str, Any] = {}

    async def execute(self, tool_name: str, params: dict[str, Any]) -> Any:
        return await self._functions[tool_name](params)


def _register_bound_function(*, fn: Callable[..., Any], tool_def: Any, expects_kwargs: bool) -> Any:
    plugins = get_registry()._plugins
    if "decorators" not in plugins:
        register_plugin("decorators", _Decorated())

    async def bound(params: dict[str, Any]) -> Any:
        try:
            result = fn(**params) if expects_kwargs else fn(params)
        except TypeError as error:
            raise TypeError(f"Failed to execute tool '{tool_def.name}': {error}") from error
        return await result if inspect.isawaitable(result) else result

    bound.__wrapped__ = fn  # type: ignore[attr-defined]
    bound.__tool_definition__ = tool_def  # type: ignore[attr-defined]
    plugins["decorators"]._functions[tool_def.name] = bound
    plugins["decorators"]._defs[tool_def.name] = tool_def
    return bound


def _decorator(expects_kwargs: bool, name: str | None, metadata: dict[str, Any] | None) -> Any:
    def decorate(fn: Any) -> Any:
        definition = SimpleNamespace(name=name or fn.__name__, type="mcp", metadata=metadata or {})
        return _register_bound_function(fn=fn, tool_def=definition, expects_kwargs=expects_kwargs)

    return decorate


def mcp_tool(*, name: str | None = None, metadata: dict[str, Any] | None = None) -> Any:
    return _decorator(True, name, metadata)


def a2a_agent(*, name: str | None = None, metadata: dict[str, Any] | None = None) -> Any:
    return _decorator(True, name, metadata)


def tool(*, name: str | None = None, metadata: dict[str, Any] | None = None) -> Any:
    return _decorator(False, name, metadata)
