"""Agents in parallel."""

import asyncio
from typing import Any


class _Cache:
    def __init__(self) -> None:
        self._answers: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self._answers.get(key)

    def store(self, key: str, answer: Any) -> None:
        self._answers[key] = answer


_cache = _Cache()


def get_global_cache() -> _Cache:
    return _cache


async def _default_executor(prompt: str, args: dict[str, Any], agent_name: str, model: str) -> Any:
    return {"output": prompt, "cost": 0.0}


async def dispatch_agents(
    template: str,
    arguments: list[dict[str, Any]],
    agent_name: str = "default",
    model: str = "haiku",
    executor: Any = None,
) -> list[Any]:
    run, cache = executor or _default_executor, get_global_cache()

    async def one(given: dict[str, Any]) -> Any:
        key = f"{agent_name} {template} {given}"
        answer = cache.get(key)
        if answer is None:
            answer = await run(template.format(**given), given, agent_name, model)
            cache.store(key, answer)
        return answer

    return await asyncio.gather(*(one(each) for each in arguments))
