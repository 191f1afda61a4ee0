"""Workflows over an executor of the user's."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class WorkflowStep:
    step_id: str
    tool_name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    retry_count: int = 0


@dataclass
class WorkflowTemplate:
    name: str
    description: str
    steps: list[WorkflowStep]


class WorkflowExecutor:
    def __init__(self, tool_executor: Any = None) -> None:
        self.tool_executor = tool_executor

    async def execute(self, template: WorkflowTemplate) -> None:
        for step in template.steps:
            await self._execute_step(step, None)

    async def _execute_step(self, step: WorkflowStep, context: Any) -> None:
        for _ in range(step.retry_count + 1):
            try:
                await self._call_tool(step.tool_name, step.parameters, None)
            except ValueError:
                continue
            return

    async def _call_tool(self, tool_name: str, parameters: dict[str, Any], timeout: int | None) -> Any:
        return await self.tool_executor.execute(tool_name, parameters)
