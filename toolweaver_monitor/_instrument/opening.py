"""What can opening a call take besides the plain steps? A dynamic name, tags, captured arguments, a per-call price."""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._bus.policy import CallPolicy
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics, merge_tags
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.tool import Tool
from toolweaver_monitor._text import safe_repr


class _Block(tuple[()]):
    """No arguments, and the keyword arguments are tags."""

    __slots__ = ()


BLOCK = _Block()
"""The arguments of a call that is a block of code: `track("ocr", customer="acme")`."""


def prepare(
    policy: CallPolicy, tool: Tool, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int | None:
    """Complete a new call before it starts; gives its cost in nano-dollars where that is known already."""
    try:
        tool.prepare(call, args, kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the naming function is the user's, and no tool may fail for its name
        Diagnostics.extractor_errors += 1
    if policy.needs_slow_open:
        try:
            common(policy, tool, call, args, kwargs)
        except Exception as error:  # noqa: BLE001 - nor for what we make of its arguments
            report_internal_error(error)
    return known_cost(policy, tool, call)


def known_cost(policy: CallPolicy, tool: Tool, call: ToolCall) -> int | None:
    """What the call will cost in nano-dollars, where that is known before it runs: declared, or priced by the call."""
    if tool.charges or policy.price is None or call.tool_name not in policy.priced_tools:
        return tool.cost_nanousd
    return policy.price(call)


def common(policy: CallPolicy, tool: Tool, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """What this setup asks of every call."""
    if policy.on_first_call is not None:
        policy.on_first_call()
    if policy.tags:
        call._ensure_details().tags = merge_tags(policy.tags, call.tags)
    if args is BLOCK and kwargs:  # a budget may be one of a tag
        call._ensure_details().tags = merge_tags(call.tags, kwargs)
    if call.tool_name in policy.priced_tools:
        call._ensure_details()
    if policy.capture:
        call._ensure_details().arguments = safe_repr.capture_arguments(args, kwargs, tool.parameters)
