"""Monitor an orchestrator from outside, without a change to its code."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from toolweaver_monitor._core.introspect import is_a
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._instrument.decorator import Cost, Failed, UsageReader
from toolweaver_monitor._instrument.patching.apply import apply_to, withdraw_from
from toolweaver_monitor._instrument.patching.by_name import instrument_name, lock, uninstrument_name
from toolweaver_monitor._instrument.patching.options import InstrumentOptions, ToolName, make_options
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor.errors import ConfigurationError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

INTEGRATIONS = {"toolweaver": "toolweaver_monitor.integrations.toolweaver"}
"""What runs tools in more places than one class, by the name that `instrument()` takes; imported when asked for."""


def _require_target(function: F) -> F:
    """Raise a helpful error if `instrument()` is called without a target, as a decorator with arguments would be."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not args and "target" not in kwargs:
            raise ConfigurationError(
                "instrument() got no target",
                hint="as a decorator it takes no arguments: write @instrument, or below the class "
                "instrument(TheClass, methods=[...], tool_name=...)",
            )
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]  # the same signature


@_require_target
@suggest_keywords()
def instrument(
    target: T,
    *,
    tool_name: ToolName = None,
    methods: Iterable[str] | None = None,
    cost: Cost = None,
    costs: Mapping[str, float] | None = None,
    usage: UsageReader = None,
    tags: Mapping[str, TagValue] | None = None,
    failed: Failed = None,
    decorator: bool = False,
) -> T:
    """Monitor the tools that an orchestrator runs, without changing its code.

    Each call is named after the tool that the orchestrator runs: `orchestrator.execute_tool("ocr", ...)` is a call of
    `ocr`. Agents, tools and models of well-known frameworks are known by their classes. Instrumenting twice is the same
    as once; new options replace the old ones. Methods that `@monitored` monitors already are left as they are.

    Args:
        target: an orchestrator; an agent, tool, model or client of a known framework; or a class of such, for all
            objects of it and of the subclasses that inherit its methods; a module, for every public function and method
            defined in it (a package: also those of its own submodules that it exposes); `"package.module"`,
            `"package.module:function"`, `"package.module:Class"` or `"package.module:Class.method"`, patched at once or
            when it is imported; a `ThreadPoolExecutor` or that class: its tasks then run in the context they were
            submitted in, and no calls of its own are recorded; or `"toolweaver"`, for every way in which ToolWeaver
            runs a tool.
        tool_name: the name of every call; or a callable that receives the call's own arguments (and the object, if
            its first parameter is `self`) and returns the name. Default: the tool named in the arguments, else the
            method's own name.
        methods: names of the methods to monitor, also those that stand in the object itself or are provided by its
            `__getattr__`. Default: the methods of its class by which orchestrators run tools, such as `execute_tool`,
            `call_tool`, `execute_agent_step` and `execute_skill`; for a class of a known framework its own.
        cost: dollars per call, as for `monitored`.
        costs: dollars per call by the name of the tool, `{"ocr": 0.10}`; `cost` is for tools that it does not name.
        usage: a callable that gets the result and returns a `Usage`, or False, as for `monitored`.
        failed: a callable that gets the result and returns the text of the failure that it tells, or None, as for
            `monitored`.
        tags: your own labels for every call.
        decorator: the target is the name of a decorator, `"package.module:tool"`, that registers tools. What it is
            given from then on is monitored, under the name that the decorator is given, else that of the function.

    Returns:
        The target itself, so that this also works as a class decorator, without arguments.

    Raises:
        ConfigurationError: there is no such method, or nothing to monitor, or the target cannot be changed; the
            message suggests what may have been meant.
    """
    options = make_options(tool_name, methods, decorator, cost=cost, costs=costs, usage=usage, tags=tags, failed=failed)
    if is_a(target, str) and (integration := _integration(str(target))) is not None:
        if options != InstrumentOptions():
            raise ConfigurationError(f"instrument({str(target)!r}) takes no other argument", hint="leave them out")
        integration.instrument()
    elif is_a(target, str):
        instrument_name(str(target), options)
    elif decorator:
        raise ConfigurationError(
            "decorator=True needs the decorator's name",
            hint="write instrument('package.module:decorator', decorator=True)",
        )
    else:
        with lock:
            apply_to(target, options)
    return target


def uninstrument(target: T) -> T:
    """Undo `instrument(target)`: every attribute is the same object as before.

    Does nothing if the target was never instrumented. Requests through another target stay in force: uninstrumenting
    an object does not undo the instrumentation of its class.

    Args:
        target: the target that `instrument()` was given.

    Returns:
        The target itself.
    """
    if is_a(target, str) and (integration := _integration(str(target))) is not None:
        integration.uninstrument()
        return target
    with lock:
        if is_a(target, str):
            uninstrument_name(str(target))
        else:
            withdraw_from(target, None)
    return target


def _integration(name: str) -> Any:
    """Return the integration of that name, or None: any other name is a module's."""
    path = INTEGRATIONS.get(name) or (name if name in INTEGRATIONS.values() else None)
    return None if path is None else importlib.import_module(path)
