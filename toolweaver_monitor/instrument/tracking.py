"""`track()`: how does a block of code become a call?"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Never

import msgspec

from toolweaver_monitor.bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor.call import INERT, ToolCall, innermost
from toolweaver_monitor.clock import monotonic_s
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.instrument.hot_path import ask_budgets, begin, leave, leave_raising, patch_up
from toolweaver_monitor.instrument.opening import BLOCK
from toolweaver_monitor.instrument.tool import Tool, known, named
from toolweaver_monitor.values import merged_tags

_innermost = innermost.get
_make_innermost = innermost.set
_restore = innermost.reset
_append = inbox.append


class Tracked(msgspec.Struct, eq=False):
    """A block that is one call, for `with` and `async with`. Made anew for each block; kept, it may be used again."""

    tool: Tool
    tags: dict[str, Any]
    call: ToolCall | None = None
    others: tuple[ToolCall, ...] = ()
    """Opened before `call` and still open: one object, kept, in blocks inside each other or in several tasks."""

    def __enter__(self) -> ToolCall:
        """Open the call and give it, for `record()`."""
        if self.call is not None and self.call.token is not None:
            self.others = (*self.others, self.call)
        if bus.plain and not self.tags and _innermost() is None:  # `begin`, written out
            call = self.call = ToolCall(self.tool.name, "open", 0.0, monotonic_s())
            if bus.admit is not None:
                ask_budgets(bus.admit, call, None)
            try:
                _append(call)
                call.token = _make_innermost(call)
            except BaseException as error:  # an interrupt: the block has not begun
                leave_raising(self.tool, call, error)
                raise
            return call
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
        if self.others:
            call = self.ending()
        if call is not None and call.token is not None:
            if error is None and call.details is None:  # `leave`, written out
                call.duration_s = monotonic_s() - call.opened_at
                try:
                    _restore(call.token)
                    call.token = None
                    call.outcome = "success"
                    if len(inbox) > HIGH_WATER:
                        bus.relieve()
                except Exception as own:  # noqa: BLE001 - the block succeeded, and its user must see just that
                    patch_up(call, "success", own)
            elif error is None:
                leave(self.tool, call, None)
            else:
                leave_raising(self.tool, call, error)

    def __call__(self, *_function: Never) -> None:
        """Refuse to be a decorator: which call would its `record()` be for?"""
        raise ConfigurationError(
            f"track() watches a block: `with track({self.tool.name!r}):`; a function is decorated with "
            f"@monitored({self.tool.name!r})"
        )

    def ending(self) -> ToolCall | None:
        """The call whose block ends now, of those that this object has open: the innermost of this context."""
        opened = [call for call in (*self.others, self.call) if call is not None and call.token is not None]
        inner = _innermost()
        ends = inner if inner in opened else opened[-1] if opened else None
        self.others = tuple(call for call in opened if call is not ends)
        return ends

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
        tool_name: the tool's name; anything that is not a name becomes `unnamed` and is counted as invalid.
        **tags: your own labels for this call.

    Returns:
        A context manager that gives the open `ToolCall`.
    """
    try:
        return Tracked(known[tool_name], tags)
    except (KeyError, TypeError):
        return Tracked(named(tool_name), tags)
