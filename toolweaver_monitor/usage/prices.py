"""What does a call cost? The user's own table, then genai-prices, else unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolweaver_monitor.call import ToolCall


class PriceBook:
    """Prices of models."""

    def __init__(self, prices: Mapping[str, Any] | str | Path | None = None, *, genai: bool = True) -> None:
        self.ready = not genai

    def warm(self) -> None:
        """Start to load genai-prices."""

    def cost_nanousd(self, call: ToolCall) -> int | None:
        """Nano-dollars of a call, or None where no price is known."""
        return None

    def status(self) -> dict[str, Any]:
        """For `health()`."""
        return {"ready": self.ready}
