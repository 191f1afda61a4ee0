"""Tools told by a file; the stand-in takes the worker itself."""

import inspect
from types import SimpleNamespace
from typing import Any

from orchestrator.plugins.registry import get_registry, register_plugin


class _FromFile:
    def __init__(self) -> None:
        self._workers: dict[str, Any] = {}
        self._tools: dict[str, Any] = {}

    async def execute(self, tool_name: str, params: dict[str, Any]) -> Any:
        result = self._workers[tool_name](**params)
        return await result if inspect.isawaitable(result) else result


def add_worker(name: str, worker: Any) -> None:
    plugins = get_registry()._plugins
    if "yaml_tools" not in plugins:
        register_plugin("yaml_tools", _FromFile())
    plugins["yaml_tools"]._workers[name] = worker
    plugins["yaml_tools"]._tools[name] = SimpleNamespace(name=name, metadata={})
