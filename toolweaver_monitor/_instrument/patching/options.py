"""What `instrument()` was asked for, validated once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from toolweaver_monitor._instrument.tool import ToolSpec, declare_tools
from toolweaver_monitor.errors import ConfigurationError

ToolName = str | Callable[..., str] | None


class InstrumentOptions(NamedTuple):
    """The arguments of `instrument()` other than its target."""

    tool_name: ToolName = None
    methods: tuple[str, ...] | None = None
    decorator: bool = False
    is_quiet: bool = False
    """Whether a module that is never imported is no matter."""
    declarations: Mapping[str, Any] = {}
    """What was declared for the tools, as `ToolSpec` takes it."""


def make_options(tool_name: Any, methods: Any, decorator: Any, **declarations: Any) -> InstrumentOptions:
    """Return the options.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    declared = {name: value for name, value in declarations.items() if value is not None}
    checked = ToolSpec(tool_name if tool_name is not None else "checked", **declared)
    declare_tools(checked.costs_nanousd)
    if methods is None:
        return InstrumentOptions(tool_name, None, bool(decorator), declarations=declared)
    names = () if isinstance(methods, str) or not isinstance(methods, Iterable) else tuple(methods)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"methods={methods!r} is not a list of names", hint="write methods=['execute_tool']")
    if decorator:
        raise ConfigurationError(
            "decorator=True and methods= say two things", hint="name the decorator: 'package.module:decorator'"
        )
    return InstrumentOptions(tool_name, names, declarations=declared)
