"""What opening a call can take beyond the plain steps: a computed name, tags, captured arguments, a price per call."""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._bus.policy import CallPolicy
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import current
from toolweaver_monitor._core.context_tree import ToolKey, tool_key
from toolweaver_monitor._core.sanitize import NO_TAGS, merge_tags
from toolweaver_monitor._instrument.shield import report_extractor_error, report_internal_error
from toolweaver_monitor._instrument.tool import NamePlace, ToolSpec
from toolweaver_monitor._text import safe_repr


class _BlockArguments(tuple[()]):
    __slots__ = ()


BLOCK = _BlockArguments()
"""The positional arguments of a block of code."""


def prepare(
    policy: CallPolicy, tool: ToolSpec, key: ToolKey, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[ToolKey, int | None, bytes | None]:
    """Complete a new call before it starts.

    Returns:
        The key by which the call is counted; its cost in nano-dollars, or None if that is unknown yet; and the digest
        of its arguments, or None if no budget needs it or if they have none.
    """
    digest = None
    if tool.name_from is not None:
        key = find_key(tool, args, kwargs)
        call.tool_name = key.tool_name
    if policy.needs_slow_open:
        try:
            apply_policy(policy, tool, call, args, kwargs)
            if policy.digest is not None and args is not BLOCK:  # what a block does is not in its arguments
                digest = policy.digest(call.tool_name, tool.parameters, args, kwargs)
        except Exception as error:  # noqa: BLE001 - nor for what this library makes of its arguments
            report_internal_error(error)
    if policy.tags:
        key = add_setup_tags(policy, key)
    return key, find_known_cost(policy, tool, call), digest


def add_setup_tags(policy: CallPolicy, key: ToolKey) -> ToolKey:
    """Return a key with the tags of `setup()`. Those of the call, and of the calls around it, win."""
    around = current.get()
    nearer = NO_TAGS if around is None or around._node is None else around._node.tags
    given = {name: value for name, value in policy.tags.items() if nearer.get(name, value) == value}
    base = tool_key(key.tool_name, merge_tags(given, key.base.tags), key.cost_nanousd)
    return base if key.base is key else base.with_tags(key.tags)


def find_key(tool: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolKey:
    """Return the key by which a call is counted that is named by its arguments; that of its tool if this fails."""
    name_from: Any = tool.name_from
    try:
        if type(name_from) is NamePlace:
            place = name_from.position
            name = args[place] if place < len(args) else kwargs.get(name_from.parameter)
            if type(name) is str:
                name_from.count()
                return tool.keys.get(name) or tool.make_key(name)
        name = name_from(*args, **kwargs)
        return (tool.keys.get(name) if type(name) is str else None) or tool.make_key(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the naming function is the user's: no tool may fail for its name
        report_extractor_error("tool_name", name_from, error)
        return tool.key


def find_known_cost(policy: CallPolicy, tool: ToolSpec, call: ToolCall) -> int | None:
    """Return the cost of a call in nano-dollars if it is known before the call runs: declared, or priced per call."""
    if tool.costs_nanousd and (declared := tool.declared_nanousd(call.tool_name)) is not None:
        return declared
    if tool.cost is not None or tool.cost_nanousd is not None or call.tool_name not in policy.priced_tools:
        return tool.cost_nanousd
    if policy.price is None:
        return None
    return policy.price(call)


def apply_policy(
    policy: CallPolicy, tool: ToolSpec, call: ToolCall, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Add what the current setup requires of every call."""
    if policy.on_first_call is not None:
        policy.on_first_call()
    if policy.number_attempt is not None:
        policy.number_attempt(call)
    if call.tool_name in policy.priced_tools:
        call._ensure_details()
    if policy.capture:
        call._ensure_details().arguments = safe_repr.capture_arguments(args, kwargs, tool.parameters)
