"""Count a method's call by `super()` as part of the call it was made from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.introspect import is_below, mro_of
from toolweaver_monitor._instrument.patching.patch import patches


def super_call_check(owner: type, name: str) -> Callable[[ToolCall, ToolCall, tuple[Any, ...]], bool]:
    """Return a check for the calls of a patched method.

    The check gets a new call, the open call around it and the arguments. It returns True if both are calls of the same
    tool, and an override of the method, between the object's class and `owner`, is patched for that object: only
    `super()`, or the name of the class, leads past such an override.
    """

    def is_super_call(call: ToolCall, parent: ToolCall, args: tuple[Any, ...]) -> bool:
        if parent.outcome != "open" or parent.tool_name != call.tool_name or not args:
            return False
        receiver = args[0]
        kind = receiver if is_below(receiver, owner) else type(receiver)  # a class method receives its class
        if kind is owner or not is_below(kind, owner):
            return False
        overriding = takewhile(lambda each: each is not owner, mro_of(kind))
        above = (patches.get((id(each), name)) for each in overriding)
        return any(patch is not None and patch.applies_to(receiver) for patch in above)

    return is_super_call
