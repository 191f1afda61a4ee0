"""Tools made of templates."""

from types import SimpleNamespace
from typing import Any

from orchestrator.plugins.registry import get_registry, register_plugin


class FunctionToolTemplate:
    def __init__(self, *, name: str, description: str = "", function: Any = None) -> None:
        self.name, self.description, self._function = name, description, function

    def execute(self, params: dict[str, Any]) -> Any:
        return self._function(**params)


class _Templates:
    def __init__(self) -> None:
        self._templates: dict[str, Any] = {}
        self._defs: dict[str, Any] = {}

    async def execute(self, tool_name: str, params: dict[str, Any]) -> Any:
        return self._templates[tool_name].execute(params)


def register_template(template: FunctionToolTemplate) -> None:
    plugins = get_registry()._plugins
    if "templates" not in plugins:
        register_plugin("templates", _Templates())
    plugins["templates"]._templates[template.name] = template
    plugins["templates"]._defs[template.name] = SimpleNamespace(name=template.name, metadata={})
