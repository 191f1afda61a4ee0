"""Steps of a plan, each handed to what runs its kind."""

from typing import Any

from orchestrator._internal.infra.a2a_client import AgentDelegationRequest

_function_map: dict[str, Any] = {}


def register_function(name: str) -> Any:
    def decorate(function: Any) -> Any:
        _function_map[name] = function
        return function

    return decorate


async def function_call_worker(payload: dict[str, Any]) -> Any:
    return {"result": _function_map[payload["name"]](**payload["args"])}


async def dispatch_step(
    step: Any, step_outputs: Any, mcp_client: Any, monitor: Any = None, a2a_client: Any = None
) -> Any:
    name, given = step["tool"], step.get("input", {})
    if name in mcp_client.tool_map:
        return await mcp_client.call_tool(name, given)
    if name.startswith("agent_"):
        response = await a2a_client.delegate_to_agent(AgentDelegationRequest(name[len("agent_") :], "task"))
        return response.result
    return await function_call_worker(given)
