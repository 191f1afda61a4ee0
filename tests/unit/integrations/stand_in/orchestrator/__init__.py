"""A stand-in for ToolWeaver: its public names and the paths of its modules, with as little behind them as will run.

Written for these tests. `TOOLWEAVER_CHECKOUT` has them run on the real one instead.
"""

from orchestrator._internal.infra.a2a_client import (
    A2AClient,
    AgentCapability,
    AgentDelegationRequest,
    AgentDelegationResponse,
)
from orchestrator._internal.infra.mcp_client import MCPClientShim
from orchestrator._internal.planning.planner import LargePlanner
from orchestrator._internal.runtime.orchestrator import execute_plan
from orchestrator.plugins import get_plugin, register_plugin
from orchestrator.tools.decorators import a2a_agent, mcp_tool, tool
from orchestrator.tools.skill_bridge import load_tool_from_skill
from orchestrator.tools.templates import FunctionToolTemplate, register_template

__all__ = [
    "A2AClient",
    "AgentCapability",
    "AgentDelegationRequest",
    "AgentDelegationResponse",
    "FunctionToolTemplate",
    "LargePlanner",
    "MCPClientShim",
    "a2a_agent",
    "execute_plan",
    "get_plugin",
    "load_tool_from_skill",
    "mcp_tool",
    "register_plugin",
    "register_template",
    "tool",
]
