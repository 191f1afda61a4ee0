"""What ToolWeaver's registry knows of a tool: its price, and whether its function is monitored already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from toolweaver_monitor._core.introspect import own_namespace
from toolweaver_monitor._instrument.decorator import is_monitored

REGISTRY_MODULE = "orchestrator.plugins.registry"

_KEPT_DEFINITIONS = ("_defs", "_tools")
_KEPT_FUNCTIONS = ("_functions", "_workers", "_templates")
"""Where ToolWeaver's three plugins keep what they were given: decorated functions, workers of YAML files, templates."""

_monitored: dict[str, tuple[Any, bool]] = {}
"""By tool: its function, and whether that is monitored."""


def plugins() -> list[Any]:
    """Return the plugins that are registered."""
    module = sys.modules.get(REGISTRY_MODULE)
    if module is None:
        return []
    return list((own_namespace(module.get_registry()) or {}).get("_plugins", {}).values())


def _kept(name: str, namespaces: tuple[str, ...]) -> Iterator[Any]:
    for plugin in plugins():
        own = own_namespace(plugin) or {}
        for each in namespaces:
            kept = own.get(each)
            if type(kept) is dict and name in kept:
                yield kept[name]


def cost_per_call(name: str) -> float | None:
    """Return the dollars that a tool's metadata gives as its `cost_per_call`; None if it gives none."""
    for definition in _kept(name, _KEPT_DEFINITIONS):
        metadata = (own_namespace(definition) or {}).get("metadata")
        cost = metadata.get("cost_per_call") if type(metadata) is dict else None
        if isinstance(cost, int | float) and not isinstance(cost, bool):
            return float(cost)
    return None


def is_monitored_tool(name: str) -> bool:
    """Return whether a tool's function counts its calls itself, by `@monitored` below or above the decorator."""
    for function in _kept(name, _KEPT_FUNCTIONS):
        known = _monitored.get(name)
        if known is None or known[0] is not function:
            inner = (own_namespace(function) or {}).get("_function", function)  # a template's
            known = _monitored[name] = function, is_monitored(inner)
        return known[1]
    return False
