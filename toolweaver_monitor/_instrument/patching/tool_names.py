"""Which tool was an orchestrator asked to run? Read from the arguments of the very call that asks.

Where in the arguments a name can stand is worked out once, from the signature, when the method is patched. No argument
but the tool's name is ever looked at, and a text that may be prose ("Read the total off this receipt") is no name.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

NameFrom = Callable[..., str]


ORCHESTRATOR_METHODS: tuple[str, ...] = tuple(
    f"{prefix}{verb}_{noun}{suffix}"
    for noun in ("tool", "agent_step", "skill", "step", "agent", "action", "function")
    for verb in ("execute", "call", "run", "invoke", "use", "dispatch")
    for prefix, suffix in (("", ""), ("a", ""), ("", "_async"), ("", "_sync"))
)
"""The methods by which orchestrators run a tool."""

USUAL_METHODS = ("execute_tool", "call_tool", "run_tool", "invoke_tool", "execute_agent_step", "execute_skill")
"""Those that are shown to people, and asked for where an object answers only to questions (`__getattr__`)."""

_SAYS_TOOL = ("tool_name", "tool", "skill_name", "skill", "agent_name", "agent", "function_name")
"""Parameters that hold a tool, whatever their function is called."""

_MAY_SAY_TOOL = (*_SAYS_TOOL, "name", "action_name", "action", "step_name", "function", "tool_call", "step", "call")
"""Parameters that do so in a method that is known to run tools; the first that gives a name counts."""

_FIELDS = ("tool_name", "tool", "name", "skill_name", "skill", "agent_name", "agent", "function", "action")
"""Where a tool's name stands in a step or a tool call, whether it is a mapping or an object."""

_NAME = re.compile(r"[^\W\d][\w.:/@-]{0,127}")


class Self(Enum):
    """Where a method's `self` or `cls` is met."""

    NOWHERE = 0
    """A function, a static method, or a method that is bound already."""
    ARGUMENTS = 1
    """In the signature and the arguments: a function in a class."""
    SIGNATURE = 2
    """In the signature only: what a class holds beside functions is bound before its arguments are seen."""


def runs_tools(name: str) -> bool:
    """Whether a function of this name runs tools for others."""
    return name in ORCHESTRATOR_METHODS


def name_from_arguments(function: Any, name: str, self_in: Self = Self.NOWHERE) -> NameFrom | None:
    """A reader of the tool's name in a function's arguments; None where its parameters do not name a tool.

    Args:
        function: what will be called.
        name: what it is called; also the name of a call whose arguments name no tool.
        self_in: where its `self` is met.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())[int(self_in is Self.SIGNATURE) :]
    except Exception:  # noqa: BLE001 - a builtin has none, and an object may have a strange one
        parameters = []
    first = int(self_in is Self.ARGUMENTS)
    runner = runs_tools(name)
    kinds = {parameter.kind for parameter in parameters}
    positions = {
        parameter.name: index if parameter.kind is not parameter.KEYWORD_ONLY else sys.maxsize
        for index, parameter in enumerate(parameters)
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    keywords = runner and (not parameters or inspect.Parameter.VAR_KEYWORD in kinds)
    wanted = _MAY_SAY_TOOL if runner else _SAYS_TOOL
    where = tuple(
        (each, positions.get(each, sys.maxsize), each.endswith(("name", "tool")))
        for each in wanted
        if each in positions or keywords
    )
    hands_on = runner and len(positions) <= first and (not parameters or inspect.Parameter.VAR_POSITIONAL in kinds)
    if not where and not hands_on:
        return None

    def name_from(*args: Any, **kwargs: Any) -> str:
        for parameter, position, sure in where:
            value = args[position] if position < len(args) else kwargs.get(parameter)
            if type(value) is str and sure:
                return value
            if value is not None and (found := extract_tool_name(value, sure=sure)) is not None:
                return found
        if hands_on and first < len(args) and isinstance(args[first], str | Mapping):
            return extract_tool_name(args[first]) or name
        return name

    return name_from


def extract_tool_name(value: Any, *, sure: bool = False, depth: int = 2) -> str | None:
    """The tool's name that a value holds: text, a function, a mapping or an object with a name of its own.

    Args:
        value: what stands where a tool's name may stand.
        sure: whether any text there is a name.
        depth: how many steps inwards a name is looked for.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        return text if sure or _NAME.fullmatch(text) else None
    if inspect.isroutine(value) or isinstance(value, type):
        return extract_tool_name(value.__name__, depth=0)
    if not depth:
        return None
    for name in _FIELDS:
        inner = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if (
            inner is not None
            and (found := extract_tool_name(inner, sure=name.endswith("name"), depth=depth - 1)) is not None
        ):
            return found
    return None


def without_self(namer: Callable[..., str]) -> NameFrom:
    """A user's naming function given what the caller wrote; the object as well if it asks for `self` or `cls` first."""
    try:
        first = next(iter(inspect.signature(namer).parameters), "")
    except (TypeError, ValueError):
        first = ""
    if first in {"self", "cls"}:
        return namer

    def name_from(_self: Any, /, *args: Any, **kwargs: Any) -> str:
        return namer(*args, **kwargs)

    return name_from
