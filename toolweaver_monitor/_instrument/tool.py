"""What is known of a tool once it is decorated, so that no call has to find it out again?"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NANO, NO_TAGS, Diagnostics, TagValue, merge_tags, round_nanodollars
from toolweaver_monitor._text import names
from toolweaver_monitor._text.names import declared_names
from toolweaver_monitor._text.redact import UNSCRUBBABLE
from toolweaver_monitor._usage import Usage
from toolweaver_monitor.errors import ConfigurationError

MAX_KEPT = 4_096
MAX_KEPT_CHARS = 256
"""Longer names than this are made up by somebody, and are not worth remembering."""


class Tool:
    """A tool's name and what was declared for it.

    Args:
        name: a name, or a callable that gets a call's own arguments and returns it.
        fallback: the name where a callable gives none.
        cost: dollars a call, or a callable given the result.
        usage: a callable that gets the result and returns a `Usage`; False: results are not looked at.
        tags: the labels of every call of this tool.
        is_super_call: given the call of this tool around a new one, and its arguments, returns whether both are one.

    Raises:
        ConfigurationError: what was given cannot be used; the message ends with the cure.
    """

    __slots__ = (
        "charges",
        "cost",
        "cost_nanousd",
        "defers",
        "is_super_call",
        "name",
        "name_from",
        "parameters",
        "special",
        "stops_with",
        "tags",
        "usage",
    )

    def __init__(
        self,
        name: str | Callable[..., str],
        *,
        fallback: str = "unnamed",
        cost: float | Callable[[Any], float | None] | None = None,
        usage: Callable[[Any], Usage | None] | bool | None = None,
        tags: Mapping[str, TagValue] | None = None,
        is_super_call: Callable[[ToolCall, tuple[Any, ...]], bool] | None = None,
    ) -> None:
        self.name_from = name if callable(name) else None
        self.name = validate_name(fallback if callable(name) else name)
        self.defers = False
        self.parameters: tuple[str, ...] = ()
        """The names of the positional parameters, as far as they are known; for captured arguments."""
        self.stops_with: type[BaseException] | None = None
        """What an iterator's own step raises at its end, which is no failure."""
        self.cost = cost if callable(cost) else None
        self.cost_nanousd = None if cost is None or callable(cost) else validate_cost(cost)
        self.charges = cost is not None
        self.usage = validate_usage(usage)
        self.tags = validate_tags(tags)
        self.is_super_call = is_super_call
        self.special = any(x is not None for x in (self.name_from, cost, self.usage)) or bool(self.tags)

    def __getstate__(self) -> dict[str, Any]:
        """To be sent along with its function, where that is sent by value."""
        return {name: getattr(self, name) for name in self.__slots__} | {"tags": dict(self.tags)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Declared here as it was there."""
        for name, value in state.items():
            setattr(self, name, value)
        declared(self)

    def prepare(self, call: ToolCall, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Give the call its name and tags where they are not simply the tool's name and none."""
        if self.tags:
            call._ensure_details().tags = self.tags
        if self.name_from is not None:
            name = self.name_from(*args, **kwargs)
            if isinstance(name, str) and name.strip():
                call.tool_name = named(name).name
            else:
                Diagnostics.invalid_values += 1
                call.tool_name = self.name


def validate_name(name: object) -> str:
    """A tool's name, made safe.

    Raises:
        ConfigurationError: it is no text, or empty.
    """
    if not isinstance(name, str):
        raise ConfigurationError(
            f"a tool's name must be text, not {type(name).__name__}; write @monitored('ocr'), "
            "or tool_name=lambda ...: ... for a name taken from the arguments; if a decorator below made this of the "
            "function, put @monitored below that one"
        )
    if not name.strip():
        raise ConfigurationError("a tool's name is empty; give it one, such as @monitored('ocr')")
    return names.safe_name(name)


def validate_cost(cost: object) -> int:
    """A declared cost in nano-dollars.

    Raises:
        ConfigurationError: it is not an amount of money.
    """
    if isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost <= 1_000_000:
        return round_nanodollars(cost)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= 1e6:
        raise ConfigurationError(
            f"cost={reprlib.repr(cost)} is not an amount of dollars; give one from 0 to 1,000,000, such as cost=0.10, "
            "or a callable that works it out from the result"
        )
    return round(cost * NANO)


def validate_usage(usage: object) -> Any:
    """None (look at results), False (do not), or the callable.

    Raises:
        ConfigurationError: it is neither.
    """
    if usage is None or usage is True:
        return None
    if usage is False or callable(usage):
        return usage
    raise ConfigurationError(
        f"usage={usage!r} is not a way to read a result; give a callable that returns Usage, or False"
    )


def validate_tags(tags: object) -> Mapping[str, TagValue]:
    """Tags made of text and numbers only.

    Raises:
        ConfigurationError: it is no mapping with text keys.
    """
    if tags is None:
        return NO_TAGS
    if not isinstance(tags, Mapping) or not all(isinstance(key, str) for key in tags):
        raise ConfigurationError("tags must be a mapping with text keys, such as tags={'customer': 'acme'}")
    return merge_tags(NO_TAGS, tags) if tags else NO_TAGS


def declared(tool: Tool) -> Tool:
    """The same tool, its name reserved: it was written in the code, so no flood of other names can crowd it out."""
    if tool.name_from is None:
        declared_names.add(tool.name)
    return tool


known: dict[str, Tool] = {}
"""The plain tools met so far, by name."""


def named(name: str) -> Tool:
    """The plain tool of that name; the same object each time, as long as there are not too many names.

    Names come from running code here, so what is no name is counted as invalid and becomes `unnamed`.
    """
    try:
        tool = known.get(name)
    except TypeError:  # not even hashable
        tool, name = None, ""
    if tool is None:
        if not isinstance(name, str) or not name.strip():
            Diagnostics.invalid_values += 1
            name = "unnamed"
        tool = Tool(name)
        if len(known) >= MAX_KEPT:
            known.clear()
        if len(name) <= MAX_KEPT_CHARS and tool.name != UNSCRUBBABLE:  # that may be for want of stack, this once
            known[name] = tool
    return tool
