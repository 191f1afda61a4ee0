"""Read the name of the requested tool from the arguments of an orchestrator's method.

Where a name can stand among the arguments is worked out once, from the signature, when the method is patched. No
argument except the tool's name is looked at, and text that may be prose ("Read the total off this receipt") is no name.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from toolweaver_monitor._instrument.tool import NamePlace

NameReader = Callable[..., str]

ORCHESTRATOR_METHODS: tuple[str, ...] = tuple(
    f"{prefix}{verb}_{noun}{suffix}"
    for noun in ("tool", "agent_step", "skill", "step", "agent", "action", "function")
    for verb in ("execute", "call", "run", "invoke", "use", "dispatch")
    for prefix, suffix in (("", ""), ("a", ""), ("", "_async"), ("", "_sync"), ("", "_stream"), ("", "_call"))
)
"""The methods by which orchestrators run a tool."""

USUAL_METHODS = ("execute_tool", "call_tool", "run_tool", "invoke_tool", "execute_agent_step", "execute_skill")
"""The methods that error messages list."""

_TOOL_PARAMETERS = ("tool_name", "tool", "skill_name", "skill", "agent_name", "agent", "function_name")
"""Parameters that hold a tool in any function."""

_RUNNER_PARAMETERS = (
    *_TOOL_PARAMETERS,
    "name",
    "action_name",
    "action",
    "step_name",
    "function",
    "tool_call",
    "tool_use",
    "tool_def",
    "agent_id",
    "skill_id",
    "step",
    "call",
    "request",
    "event",
    "ev",
    "payload",
)
"""Parameters that hold a tool in a method that runs tools; the first that yields a name is used."""

_FIELDS = (
    "tool_name", "tool", "name", "skill_name", "skill", "agent_name", "agent", "function", "action",
    "agent_id", "skill_id",
)  # fmt: skip
"""Keys or attributes that hold a tool's name in a step or a tool call."""

_NAME = re.compile(r"[^\W\d][\w.:/@-]{0,127}")


class SelfPosition(Enum):
    """Where a method's `self` or `cls` appears."""

    NOWHERE = 0
    """In neither: a function, a static method, or a bound method."""
    ARGUMENTS = 1
    """In the signature and in the arguments: a function in a class."""
    SIGNATURE = 2
    """In the signature only: a class binds other descriptors before their arguments are read."""


def runs_tools(name: str) -> bool:
    """Return whether a function of this name runs tools for others."""
    return name in ORCHESTRATOR_METHODS


def _parameters_of(function: Any, self_position: SelfPosition) -> list[inspect.Parameter]:
    """Return the parameters in the order of the arguments that a wrapper gets; none if they are not known."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except Exception:  # noqa: BLE001 - builtins may have no signature, and an object may have a broken one
        return []
    return parameters[1:] if self_position is SelfPosition.SIGNATURE else parameters


def name_from_arguments(
    function: Any,
    name: str,
    self_position: SelfPosition = SelfPosition.NOWHERE,
    *,
    runner: bool,
    only_text: bool = False,
    count: Callable[[], object] = int,
) -> NameReader | None:
    """Return a reader of the tool's name in a function's arguments, or None if its parameters do not name a tool.

    Args:
        function: the function to be called.
        name: the name of a call whose arguments name no tool.
        self_position: where its `self` appears.
        runner: whether it runs tools for others, so that more parameters may hold a tool.
        only_text: whether nothing but text is a name, so that no object is looked at.
        count: called once a call.
    """
    parameters = _parameters_of(function, self_position)
    first = int(self_position is SelfPosition.ARGUMENTS)
    kinds = {parameter.kind for parameter in parameters}
    positions = {
        parameter.name: index if parameter.kind is not parameter.KEYWORD_ONLY else sys.maxsize
        for index, parameter in enumerate(parameters)
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    takes_any_keyword = runner and (not parameters or inspect.Parameter.VAR_KEYWORD in kinds)
    candidates = tuple(
        (parameter, positions.get(parameter, sys.maxsize), parameter.endswith(("name", "tool")))
        for parameter in (_RUNNER_PARAMETERS if runner else _TOOL_PARAMETERS)
        if parameter in positions or takes_any_keyword
    )
    forwards = runner and len(positions) <= first and (not parameters or inspect.Parameter.VAR_POSITIONAL in kinds)
    if not candidates and not forwards:
        return None

    def read_name(*args: Any, **kwargs: Any) -> str:
        count()
        for parameter, position, is_name in candidates:
            value = args[position] if position < len(args) else kwargs.get(parameter)
            if type(value) is str and is_name:
                return value
            if (
                value is not None
                and not only_text
                and (tool_name := extract_tool_name(value, is_name=is_name)) is not None
            ):
                return tool_name
        if forwards and first < len(args) and isinstance(args[first], str | Mapping):
            return extract_tool_name(args[first]) or name
        return name

    if candidates and candidates[0][2]:  # a text in the first place is the name
        return NamePlace(candidates[0][1], candidates[0][0], count, read_name)
    return read_name


def name_along(
    paths: str, function: Any, name: str, self_position: SelfPosition, count: Callable[[], object] = int
) -> NameReader:
    """Return a reader that follows paths from the arguments, such as `tool.metadata.name` or `self.name`.

    Args:
        paths: separated by `|`; the first that leads to a text counts.
        function: the function to be called.
        name: the name of a call for which no path does.
        self_position: where its `self` appears.
        count: called once a call.
    """
    names = [parameter.name for parameter in _parameters_of(function, self_position)]
    ways = []
    for path in paths.split("|"):
        root, *fields = path.split(".")
        position = 0 if root == "self" else names.index(root) if root in names else sys.maxsize
        ways.append((root, position, tuple(fields)))

    def read_name(*args: Any, **kwargs: Any) -> str:
        count()
        for root, position, fields in ways:
            value = args[position] if position < len(args) else kwargs.get(root)
            for field in fields:
                value = value.get(field) if type(value) is dict else getattr(value, field, None)
            if isinstance(value, str) and value:
                return value
        return name

    return read_name


def extract_tool_name(value: Any, *, is_name: bool = False, depth: int = 2) -> str | None:
    """Return the tool's name in a value: text, a function, or a mapping or object with a name; None if there is none.

    Args:
        value: an argument that may hold a tool.
        is_name: whether any text is a name, even one with spaces.
        depth: how many levels to search inside the value.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        return text if is_name or _NAME.fullmatch(text) else None
    if inspect.isroutine(value) or isinstance(value, type):
        return extract_tool_name(value.__name__, depth=0)
    if not depth:
        return None
    for field in _FIELDS:
        inner = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
        if inner is not None:
            tool_name = extract_tool_name(inner, is_name=field.endswith("name"), depth=depth - 1)
            if tool_name is not None:
                return tool_name
    return None


def asks_for_self(read_name: Callable[..., str]) -> bool:
    """Return whether the first parameter of a user's naming function is `self` or `cls`."""
    try:
        return next(iter(inspect.signature(read_name).parameters), "") in {"self", "cls"}
    except (TypeError, ValueError):
        return False


def name_by_user(read_name: Callable[..., str], self_position: SelfPosition, count: Callable[[], object]) -> NameReader:
    """Return a user's naming function as one that counts, and that gets the object only if it asks for `self`."""
    wanted = read_name if self_position is not SelfPosition.ARGUMENTS else _skip_self(read_name)

    def read_and_count(*args: Any, **kwargs: Any) -> str:
        count()
        return wanted(*args, **kwargs)

    read_and_count.__dict__["__wrapped__"] = read_name  # which an error is reported of
    return read_and_count


def _skip_self(read_name: Callable[..., str]) -> NameReader:
    """Drop the object from the arguments of a user's naming function, unless that asks for it."""
    if asks_for_self(read_name):
        return read_name

    def read_without_self(_self: Any, /, *args: Any, **kwargs: Any) -> str:
        return read_name(*args, **kwargs)

    return read_without_self
