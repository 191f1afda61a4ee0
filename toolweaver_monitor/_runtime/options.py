"""The arguments of `setup()`, validated: sinks, names, flags and budgets."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from itertools import chain, count
from typing import Any, NamedTuple

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core import config
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor._text.safe_repr import ErrorTextSource
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import FunctionSink

IN_MEMORY = {"metrics": "MetricsCollector", "costs": "CostTracker", "errors": "ErrorTracker"}
"""Sinks that may be named although every setup has them."""
CLASS_NAMES = {
    "prometheus": "PrometheusExporter",
    "wandb": "WandBLogger",
    "otlp": "OpenTelemetryExporter",
    "sqlite": "SQLiteStore",
    "log": "LogSink",
    **IN_MEMORY,
}
"""The classes of sinks by the names that `setup()` takes."""
NAMES = tuple(name for name in CLASS_NAMES if name not in IN_MEMORY)
METHODS = ("write", "flush", "close")


class Options(NamedTuple):
    """The arguments of `setup()` and the environment, validated."""

    sinks: Sequence[Any]
    ledger: Ledger | None
    book: PriceBook
    tags: Mapping[str, TagValue]
    usage: bool
    capture: bool
    control_flow: tuple[type[BaseException], ...]
    error_text: ErrorTextSource
    scrubbing: bool
    max_operations: int
    max_names: int
    enabled: bool
    shared: bool | None


# --- sinks ----------------------------------------------------------------------------------------------------------


def make_sink(given: Any) -> Any:
    """Return the sink that an argument of `setup()` stands for: the sink itself, a name, or a callable.

    Raises:
        ConfigurationError: the argument stands for no sink; the hint names what to give instead.
    """
    if isinstance(given, str):
        return _make_named(given)
    if isinstance(given, type):
        name = given.__name__
        raise ConfigurationError(f"setup() got the class {name}, not a sink", hint=f"call it: {name}()")
    kind = type(given).__name__
    if isinstance(given, list | tuple):
        raise ConfigurationError(f"setup() got a {kind}", hint="give the sinks one by one: setup(*sinks)")
    if isinstance(given, io.IOBase):  # it has the methods of a sink, and would be closed as one
        raise ConfigurationError(
            f"{kind} is a file, not a sink",
            hint="give 'log' and have logging write to it, or a callable such as lambda call: print(call, file=...)",
        )
    missing = [method for method in METHODS if not callable(getattr(given, method, None))]
    if "write" in missing and callable(given):
        _refuse_async(getattr(given, "__name__", kind), given)
        return FunctionSink(given)
    if len(missing) == len(METHODS):
        hint = "a sink has write(calls), flush() and close(), or is a callable that takes a call"
        raise ConfigurationError(f"{kind} is not a sink", hint=hint)
    if missing:
        hint = "a sink has write(calls), flush() and close()"
        raise ConfigurationError(f"{kind} has no {' and no '.join(missing)}", hint=hint)
    if not isinstance(getattr(given, "name", None), str) or not given.name:
        raise ConfigurationError(f"{kind} has no name", hint="give the sink a text attribute `name`")
    for method in (*METHODS, "start", "status", "merge"):
        _refuse_async(f"{kind}.{method}", getattr(given, method, None))
    for name in ("max_batch", "max_calls"):
        value = getattr(given, name, None)
        if value is not None and (type(value) is not int or value < 1):
            hint = "give a whole number from 1 up, or leave it out"
            raise ConfigurationError(f"{kind}.{name} is {value!r}, not a number of calls", hint=hint)
    return given


def _refuse_async(name: str, function: Any) -> None:
    """Raise if the function is async: nothing would await its coroutine, and its calls would count as delivered."""
    if any(map(iscoroutinefunction, (function, type(function).__call__))):
        raise ConfigurationError(
            f"{name} is async, but a sink runs on a thread of its own, without an event loop",
            hint="make it a plain function, which may wait, or call asyncio.run(...) in it",
        )


def _make_named(name: str) -> Any:
    if name in CLASS_NAMES:
        return _sink_class(name)()
    close = suggest(name, NAMES)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(NAMES)}"
    if "," in name:  # as TOOLWEAVER_MONITOR_SINKS is written
        hint = f"give the sinks one by one: setup({', '.join(repr(each.strip()) for each in name.split(','))})"
    raise ConfigurationError(f"there is no sink named {name!r}", hint=hint)


def _sink_class(name: str) -> type[Any]:
    """Return the class that a sink's name stands for, imported only now: some import a server or a client."""
    from toolweaver_monitor import sinks

    kind: type[Any] = getattr(sinks, CLASS_NAMES[name])
    return kind


def assign_names(sinks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield each sink with a name of its own: two sinks called `name` become `name` and `name-2`."""
    taken: set[str] = set()
    for sink in sinks:
        candidates = chain([sink.name], (f"{sink.name}-{number}" for number in count(2)))
        name = next(name for name in candidates if name not in taken)
        taken.add(name)
        yield name, sink


def make_dashboard(given: Any) -> list[Any]:
    """Return the dashboard that an argument of `setup()` or the environment asks for, in a list; an empty one if none.

    Raises:
        ConfigurationError: it is neither a port nor a `Dashboard`.
    """
    port = config.DASHBOARD.value(None) if given is None else given
    if port is None or port is False:
        return []
    from toolweaver_monitor.sinks._dashboard import Dashboard

    if isinstance(port, Dashboard):
        return [port]
    if port is not True and type(port) is not int:
        raise ConfigurationError(
            f"dashboard={port!r} is neither a port nor a Dashboard", hint="give dashboard=8050, or Dashboard(port=8050)"
        )
    return [Dashboard(None if port is True else port)]


# --- other arguments ------------------------------------------------------------------------------------------------


def validate_flags(**flags: Any) -> None:
    """Check that each flag is True, False or None: `capture="no"` would otherwise count as True.

    Raises:
        ConfigurationError: a flag is something else.
    """
    for name, value in flags.items():
        if value is not None and value not in (True, False):
            raise ConfigurationError(f"{name} must be True or False, not {value!r}")


def validate_error_text(source: object) -> None:
    """Check that the text of errors has a known source.

    Raises:
        ConfigurationError: the source is unknown.
    """
    if type(source) is not str or source not in ("str", "args"):
        raise ConfigurationError(
            f"error_text must be 'str' or 'args', not {source!r}",
            hint="'str' records str(error), 'args' runs no code of the exception",
        )


def make_ledger(budget: Any) -> Ledger | None:
    """Return the ledger of the budgets given to `setup()`; None if there are none.

    Raises:
        ConfigurationError: the argument is no budget, or two budgets clash.
    """
    if budget is None:
        return None
    if isinstance(budget, Budget):
        return Ledger([budget])
    if isinstance(budget, list | tuple):
        if not all(isinstance(one, Budget) for one in budget):
            raise ConfigurationError("budget must be dollars, a Budget, or a list of Budgets", hint="give budget=5.0")
        return Ledger(budget) if budget else None
    return Ledger([Budget(limit_usd=budget)])


def setup_keyword_hint(name: str) -> str | None:
    """Return where a keyword belongs that `setup()` does not take."""
    from inspect import signature

    if name in ("sink", "sinks"):
        return "give sinks without a keyword: setup(sink, ...)"
    if name in NAMES:
        return f"give a sink by its name or as an object: setup({name!r})"
    for kind in map(_sink_class, NAMES):
        if name in signature(kind).parameters:
            return f"give it to the sink: {kind.__name__}({name}=...)"
    return None
