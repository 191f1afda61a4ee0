"""What can opening a call take besides the plain steps? A dynamic name, tags, captured arguments, a per-call price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NO_TAGS, Diagnostics, TagValue, merged_tags
from toolweaver_monitor._instrument import closing
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor._text import safe_repr


class _Block(tuple[()]):
    """No arguments, and the keyword arguments are tags."""

    __slots__ = ()


BLOCK = _Block()
"""The arguments of a call that is a block of code: `track("ocr", customer="acme")`."""


class Settings:
    """What `setup()` asks of every call that opens; in force while `bus.special` says so."""

    tags: Mapping[str, TagValue] = NO_TAGS
    tags_asked = False
    """Whether a budget asks for a call's tags before it runs."""
    in_child: Callable[[], None] | None = None
    """Run once, at the first call in a forked child."""

    @classmethod
    def needed(cls) -> bool:
        """Whether any of these asks for the special way."""
        asked = (cls.tags, cls.tags_asked, cls.in_child, closing.Settings.capture, closing.Settings.priced_tools)
        return any(asked)


def prepare(tool: Tool, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Complete a new call before it starts; gives its cost in nano-dollars where that is known already."""
    try:
        tool.prepare(call, args, kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the naming function is the user's, and no tool may fail for its name
        Diagnostics.extractor_errors += 1
    if bus.special:
        try:
            common(tool, call, args, kwargs)
        except Exception as error:  # noqa: BLE001 - nor for what we make of its arguments
            closing.mishap(error)
    return known_cost(tool, call)


def known_cost(tool: Tool, call: ToolCall) -> int | None:
    """What the call will cost in nano-dollars, where that is known before it runs: declared, or priced by the call."""
    price = closing.Settings.price
    if tool.charges or price is None or call.tool_name not in closing.Settings.priced_tools:
        return tool.cost_nanousd
    return price(call)


def common(tool: Tool, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """What this setup asks of every call."""
    if Settings.in_child is not None:
        Settings.in_child()
    if Settings.tags:
        call._ensure_details().tags = merged_tags(Settings.tags, call.tags)
    if args is BLOCK and kwargs:  # a budget may be one of a tag
        call._ensure_details().tags = merged_tags(call.tags, kwargs)
    if call.tool_name in closing.Settings.priced_tools:
        call._ensure_details()
    if closing.Settings.capture:
        call._ensure_details().arguments = safe_repr.captured_arguments(args, kwargs, tool.parameters)
