"""Agents in parallel."""

import asyncio
from typing import Any


async def _default_executor(prompt: str, args: dict[str, Any], agent_name: str, model: str) -> Any:
    return {"output": prompt, "cost": 0.0}


async def dispatch_agents(
    template: str,
    arguments: list[dict[str, Any]],
    agent_name: str = "default",
    model: str = "haiku",
    executor: Any = None,
) -> list[Any]:
    run = executor or _default_executor
    return await asyncio.gather(*(run(template.format(**each), each, agent_name, model) for each in arguments))
