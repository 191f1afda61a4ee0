"""`track()`: how does a block of code become a call?"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import msgspec

from toolweaver_monitor.bus.bus import bus
from toolweaver_monitor.call import INERT, ToolCall, merged_tags
from toolweaver_monitor.instrument.hot_path import begin, leave, leave_raising
from toolweaver_monitor.instrument.opening import BLOCK
from toolweaver_monitor.instrument.tool import Tool, known, named


class Tracked(msgspec.Struct, eq=False):
    """A block that is one call, for `with` and `async with`. Made anew for each block."""

    tool: Tool
    tags: dict[str, Any]
    call: ToolCall | None = None

    def __enter__(self) -> ToolCall:
        """Open the call and give it, for `record()`."""
        if not bus.on:
            return INERT
        call = self.call = begin(self.tool, BLOCK, self.tags)
        if self.tags:
            details = call.say()
            details.tags = merged_tags(details.tags, self.tags)
        return call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the call; what the block raised goes on."""
        call = self.call
        if call is not None:
            self.call = None
            if error is None:
                leave(self.tool, call, None)
            else:
                leave_raising(self.tool, call, error)

    async def __aenter__(self) -> ToolCall:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As `__exit__`."""
        self.__exit__(kind, error, traceback)


def track(tool_name: str, /, **tags: Any) -> Tracked:
    """Watch a block of code as one call of a tool.

    `with track("parse", customer="acme") as call:` or `async with ...`; `call.record(tokens=120, cost=0.002)` says what
    it used, `call.fail("no total")` that it failed without an exception.

    Args:
        tool_name: the tool's name; what is no name becomes `unnamed` and is counted as invalid.
        **tags: labels of your own for this call.

    Returns:
        A context manager that gives the open `ToolCall`.
    """
    try:
        return Tracked(known[tool_name], tags)
    except (KeyError, TypeError):
        return Tracked(named(tool_name), tags)
