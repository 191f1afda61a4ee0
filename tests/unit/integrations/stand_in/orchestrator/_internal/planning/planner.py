"""The planner, which asks a model."""

import json
from typing import Any


class LargePlanner:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def generate_plan(self, user_request: str) -> Any:
        response = await self.client.chat.completions.create(model="gpt-4o", messages=[user_request])
        return json.loads(response["choices"][0])

    async def refine_plan(self, original_plan: Any, feedback: str) -> Any:
        return await self.generate_plan(feedback)
