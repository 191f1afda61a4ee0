"""Functions kept as skills."""

from types import SimpleNamespace
from typing import Any

from orchestrator._internal.execution.skill_library import get_skill


def load_tool_from_skill(skill_name: str) -> Any:
    scope: dict[str, Any] = {}
    exec(get_skill(skill_name), scope)
    return SimpleNamespace(name=skill_name, metadata={}), scope[skill_name]
