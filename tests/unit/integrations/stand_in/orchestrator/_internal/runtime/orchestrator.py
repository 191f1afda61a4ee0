"""Plans, and the facade over all clients."""

from typing import Any

from orchestrator._internal.dispatch.hybrid_dispatcher import dispatch_step
from orchestrator._internal.execution.skill_library import get_skill
from orchestrator._internal.infra.a2a_client import A2AClient, AgentDelegationRequest
from orchestrator._internal.infra.mcp_client import MCPClientShim


async def retry(coro_func: Any, retries: int = 1, backoff_s: float = 0) -> Any:
    for attempt in range(1, retries + 1):
        try:
            return await coro_func()
        except Exception:
            if attempt == retries:
                raise
    return None


async def run_step(step: Any, outputs: Any, mcp_client: Any, monitor: Any = None, a2a_client: Any = None) -> Any:
    async def call() -> Any:
        if step.get("type") != "agent":
            return await dispatch_step(step, outputs, mcp_client, monitor, a2a_client)
        request = AgentDelegationRequest(step["agent_id"], "task")
        if step.get("stream"):
            return [chunk async for chunk in a2a_client.delegate_stream(request)]
        return (await a2a_client.delegate_to_agent(request)).result

    return await retry(call, **(step.get("retry_policy") or {}))


async def execute_plan(plan: dict[str, Any], *, a2a_client: Any = None) -> Any:
    client = MCPClientShim()
    return {step["id"]: await run_step(step, {}, client, None, a2a_client) for step in plan["steps"]}


class Orchestrator:
    def __init__(self, *, monitoring: Any = None) -> None:
        self.mcp, self.a2a, self._monitor = MCPClientShim(), A2AClient(), monitoring

    async def execute_tool(self, name: str, params: dict[str, Any]) -> Any:
        result = await self.mcp.call_tool(name, params)
        if self._monitor:
            self._monitor.log_tool_call(name, success=True, latency=0.0)
        return result

    async def execute_agent_step(self, *, agent_name: str, request: dict[str, Any]) -> Any:
        response = await self.a2a.delegate_to_agent(AgentDelegationRequest(agent_name, request.get("task", "")))
        if not response.success:
            raise RuntimeError(response.metadata.get("error"))
        return response.result

    async def execute_skill(self, skill_name: str, *, inputs: dict[str, Any] | None = None) -> Any:
        scope: dict[str, Any] = dict(inputs or {})
        exec(get_skill(skill_name), scope)
        return {name: value for name, value in scope.items() if not name.startswith("_")}
