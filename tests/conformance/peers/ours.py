"""The adapter of toolweaver_monitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import toolweaver_monitor
from toolweaver_monitor import ToolCall, current_call, flush, monitored, setup, shutdown, track

from .base import Peer, Seen


class Ours(Peer):
    title = "toolweaver_monitor"
    distribution = "toolweaver_monitor"

    def start(self) -> None:
        self.calls: list[ToolCall] = []
        setup(self.calls.append)

    def stop(self) -> None:
        shutdown()

    def decorate(self, name: str) -> Callable[[Any], Any]:
        return monitored(name)

    def decorate_bare(self, function: Any) -> Any:
        return monitored(function)

    def decorate_by(self, name_from: Callable[..., str]) -> Callable[[Any], Any]:
        return monitored(tool_name=name_from)

    def block(self, name: str) -> Any:
        return track(name)

    def say(self, **what: Any) -> None:
        current_call().record(**what)

    def carrying(self, executor: Any) -> Any:
        return toolweaver_monitor.instrument(executor)

    def seen(self) -> list[Seen]:
        flush()
        return [
            Seen(
                call.tool_name,
                call.outcome,
                call.duration_s,
                call.first_item_s,
                call.items,
                call.call_id,
                call.parent_id,
                call.trace_id,
                call.tags,
            )
            for call in self.calls
        ]
