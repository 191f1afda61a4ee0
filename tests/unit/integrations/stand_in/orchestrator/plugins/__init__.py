"""Plugins of the stand-in."""

from orchestrator.plugins.registry import get_plugin, get_registry, register_plugin

__all__ = ["get_plugin", "get_registry", "register_plugin"]
