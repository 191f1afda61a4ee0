"""Where plugins are registered."""

from typing import Any


class PluginRegistry:
    def __init__(self) -> None:
        self._plugins: dict[str, Any] = {}

    def register(self, name: str, plugin: Any, replace: bool = False) -> None:
        self._plugins[name] = plugin


_registry = PluginRegistry()


def get_registry() -> PluginRegistry:
    return _registry


def register_plugin(name: str, plugin: Any) -> None:
    _registry.register(name, plugin)


def get_plugin(name: str) -> Any:
    return _registry._plugins[name]
