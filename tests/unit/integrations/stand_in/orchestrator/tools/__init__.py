"""Tools of the stand-in."""

from orchestrator.tools.tool_executor import call_tool

__all__ = ["call_tool"]
