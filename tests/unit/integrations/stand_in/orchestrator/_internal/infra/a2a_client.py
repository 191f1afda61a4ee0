"""The client of agents."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class AgentCapability:
    name: str
    description: str = ""
    agent_id: str | None = None
    endpoint: str | None = None
    cost_estimate: float | None = None


@dataclass
class AgentDelegationRequest:
    agent_id: str
    task: str
    idempotency_key: str | None = None


@dataclass
class AgentDelegationResponse:
    agent_id: str
    success: bool
    result: Any
    execution_time: float
    cost: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class A2AClient:
    def __init__(self, *, max_retries: int = 2, observer: Any = None) -> None:
        self.agent_map: dict[str, AgentCapability] = {}
        self._answers: dict[str, AgentDelegationResponse] = {}
        self._max_retries, self._observer = max_retries, observer

    def register_agent(self, capability: AgentCapability) -> None:
        self.agent_map[str(capability.agent_id)] = capability

    async def delegate_to_agent(self, request: AgentDelegationRequest) -> AgentDelegationResponse:
        if request.idempotency_key in self._answers:
            self._emit("a2a.cache_hit", {"agent_id": request.agent_id})
            return self._answers[str(request.idempotency_key)]
        agent = self.agent_map[request.agent_id]
        error = ""
        for attempt in range(self._max_retries + 1):
            try:
                result = await self._delegate_http(agent, request)
            except ValueError as failed:
                error = str(failed)
                continue
            told = {"attempt": attempt + 1}
            response = AgentDelegationResponse(request.agent_id, True, result, 0.0, agent.cost_estimate, told)
            if request.idempotency_key:
                self._answers[request.idempotency_key] = response
            self._emit("a2a.complete", {"agent_id": request.agent_id, "attempt": attempt + 1})
            return response
        told = {"error": error, "attempts": self._max_retries + 1}
        return AgentDelegationResponse(request.agent_id, False, {}, 0.0, agent.cost_estimate, told)

    async def delegate_stream(self, request: AgentDelegationRequest, *, chunk_timeout: float | None = None) -> Any:
        async for chunk in self._delegate_stream(self.agent_map[request.agent_id], request, chunk_timeout):
            yield chunk

    async def _delegate_http(self, agent: Any, request: Any) -> Any:
        return {"result": request.task}

    async def _delegate_stream(self, agent: Any, request: Any, chunk_timeout: Any) -> Any:
        for word in ("one", "two", "three"):
            yield word

    def _emit(self, event: str, data: dict[str, Any]) -> None:
        if self._observer:
            self._observer(event, data)
