"""Chains of tools."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class CompositionStep:
    name: str
    tool_ref: Any
    retry_count: int = 0


@dataclass
class CompositionChain:
    name: str
    steps: list[CompositionStep] = field(default_factory=list)

    def add_step(self, step: CompositionStep) -> "CompositionChain":
        self.steps.append(step)
        return self


class CompositionExecutor:
    async def execute(self, chain: CompositionChain, initial_input: dict[str, Any]) -> Any:
        output: Any = initial_input
        for step in chain.steps:
            output = await self._execute_step(step, output)
        return output

    async def _execute_step(self, step: CompositionStep, step_input: dict[str, Any]) -> Any:
        return step.tool_ref(**step_input)
