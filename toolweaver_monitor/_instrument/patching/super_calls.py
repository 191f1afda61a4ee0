"""Count a method's call by `super()` as part of the call it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.introspect import is_class, mro_of
from toolweaver_monitor._instrument.patching.patch import patches


def is_same_call(parent: ToolCall, _args: tuple[Any, ...]) -> bool:
    """Return whether a call is part of the one around it, which is of the same tool.

    Given to `ToolSpec` for classes of frameworks, whose methods lead to one another (`run` to `arun`, an agent's method
    to the tool's own) although the tool runs once.
    """
    return parent.outcome == "open"


def super_call_check(owner: type, name: str) -> Callable[[ToolCall, tuple[Any, ...]], bool]:
    """Return a check for the calls of a patched method.

    The check receives the call of the same tool around a new call, and the arguments. It returns True if an override of
    the method, between the object's class and `owner`, is patched for that object: only `super()`, or the name of the
    class, leads past such an override.
    """

    def is_super_call(parent: ToolCall, args: tuple[Any, ...]) -> bool:
        if parent.outcome != "open" or not args:
            return False
        receiver = args[0]
        return has_override(type(receiver), receiver) or (is_class(receiver) and has_override(receiver, receiver))

    def has_override(kind: type, receiver: Any) -> bool:
        overridden = False
        for each in mro_of(kind):
            if each is owner:
                return overridden
            patch = patches.get((id(each), name))
            overridden = overridden or (patch is not None and patch.applies_to(receiver))
        return False

    return is_super_call
