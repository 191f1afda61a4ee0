"""What may `setup()` be given? Sinks, names and budgets are checked here, and each mistake is told with its cure."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from itertools import chain, count
from typing import Any, NamedTuple, ParamSpec, TypeVar

from toolweaver_monitor._budget import Budget, Ledger
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor._text.safe_repr import ErrorTextSource
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import FunctionSink
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector

NAMES = ("prometheus", "wandb", "log")
IN_MEMORY: Mapping[str, type[Any]] = {"metrics": MetricsCollector, "costs": CostTracker, "errors": ErrorTracker}
"""Sinks that may be named, and are there in any case."""
METHODS = ("write", "flush", "close")

P = ParamSpec("P")
T = TypeVar("T")


class Options(NamedTuple):
    """What a `setup()` is to put together: its arguments and the environment, each checked."""

    sinks: Sequence[Any]
    ledger: Ledger | None
    book: PriceBook
    tags: Mapping[str, TagValue]
    usage: bool
    capture: bool
    error_text: ErrorTextSource
    scrubbing: bool
    max_operations: int
    max_names: int
    watching: bool


def make_sink(thing: Any) -> Any:
    """A sink object from what `setup()` was given.

    Raises:
        ConfigurationError: it is none; the message says what to give instead.
    """
    if isinstance(thing, str):
        return _by_name(thing)
    if isinstance(thing, type):
        raise ConfigurationError(f"setup() got the class {thing.__name__}, not a sink; call it: {thing.__name__}()")
    if isinstance(thing, list | tuple):
        raise ConfigurationError(f"setup() got a {type(thing).__name__}; give the sinks one by one: setup(*sinks)")
    kind = type(thing).__name__
    missing = [method for method in METHODS if not callable(getattr(thing, method, None))]
    if isinstance(thing, io.IOBase):  # it would be closed with the sinks
        raise ConfigurationError(
            f"{kind} is a file, no sink; give 'log' and have logging write to it, or a callable such as "
            "lambda call: print(call, file=...)"
        )
    if "write" in missing and callable(thing):
        _refuse_async(getattr(thing, "__name__", kind), thing)
        return FunctionSink(thing)
    if len(missing) == len(METHODS):
        raise ConfigurationError(
            f"{kind} is not a sink; a sink has write(calls), flush() and close(), or is a callable that takes a call"
        )
    if missing:
        raise ConfigurationError(
            f"{kind} has no {' and no '.join(missing)}; a sink has write(calls), flush() and close()"
        )
    if not isinstance(getattr(thing, "name", None), str) or not thing.name:
        raise ConfigurationError(f"{kind} has no name; give the sink a text attribute `name`")
    for method in (*METHODS, "start", "status", "merge"):
        _refuse_async(f"{kind}.{method}", getattr(thing, method, None))
    for name in ("max_batch", "max_calls"):
        value = getattr(thing, name, None)
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigurationError(
                f"{kind}.{name} is {value!r}, not a number of calls; give a whole number from 1 up, or leave it out"
            )
    return thing


def _refuse_async(name: str, function: Any) -> None:
    """What it gave back would never be awaited, and the calls would be taken for delivered."""
    if any(map(iscoroutinefunction, (function, type(function).__call__))):
        raise ConfigurationError(
            f"{name} is async, and a sink has a thread of its own, with no event loop; make it a plain function "
            "that may wait, or that calls asyncio.run(...)"
        )


def validate_flags(**flags: Any) -> None:
    """Make sure that each is True or False, or not given.

    Raises:
        ConfigurationError: one is something else: `capture="no"` would be taken for a yes.
    """
    for name, value in flags.items():
        if value is not None and value not in (True, False):
            raise ConfigurationError(f"{name}={value!r} is neither True nor False; give one of them")


def validate_error_text(source: object) -> None:
    """Make sure that the text of errors has a known source.

    Raises:
        ConfigurationError: it has not.
    """
    if type(source) is not str or source not in ("str", "args"):
        raise ConfigurationError(
            f"error_text must be 'str' or 'args', not {source!r}",
            hint="'str' records str(error), 'args' runs no code of the exception",
        )


def suggest_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Have a keyword that the function does not know told with the one that was meant, or where else it belongs.

    Raises:
        TypeError: when it is called with such a keyword, as from any other function.
    """
    known = tuple(getattr(function, "__kwdefaults__", None) or ())

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                cure = _meant(name, known)
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}; {cure}")
        return function(*args, **kwargs)

    return checked


def _meant(name: str, known: Sequence[str]) -> str:
    from inspect import signature

    if name in ("sink", "sinks"):
        return "give sinks without a keyword: setup(sink, ...)"
    for kind in map(_kind, NAMES):
        if name in signature(kind).parameters:
            return f"give it to the sink: {kind.__name__}({name}=...)"
    meant = suggest(name, known)
    return f"did you mean {meant[0]}=?" if meant else f"there are {', '.join(known)}"


def _by_name(name: str) -> Any:
    if name in (*NAMES, *IN_MEMORY):
        return _kind(name)()
    meant = suggest(name, NAMES)
    hint = f"; did you mean {meant[0]!r}?" if meant else f"; there are {', '.join(NAMES)}"
    raise ConfigurationError(f"there is no sink named {name!r}{hint}")


def _kind(name: str) -> type[Any]:
    """The class that a sink's name stands for; each is imported where it is wanted."""
    if name == "prometheus":
        from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter

        return PrometheusExporter
    if name == "wandb":
        from toolweaver_monitor.sinks._wandb.logger import WandBLogger

        return WandBLogger
    if name == "log":
        from toolweaver_monitor.sinks._log import LogSink

        return LogSink
    return IN_MEMORY[name]


def assign_names(sinks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The sinks with their names, two of one name told apart as `name` and `name-2`."""
    taken: set[str] = set()
    for sink in sinks:
        candidates = chain([sink.name], (f"{sink.name}-{number}" for number in count(2)))
        name = next(name for name in candidates if name not in taken)
        taken.add(name)
        yield name, sink


def make_ledger(budget: Any) -> Ledger | None:
    """The budgets that `setup()` was given.

    Raises:
        ConfigurationError: they are none, or clash.
    """
    if budget is None:
        return None
    if isinstance(budget, Budget):
        return Ledger([budget])
    if isinstance(budget, list | tuple):
        if not all(isinstance(one, Budget) for one in budget):
            raise ConfigurationError("budget= wants dollars, a Budget, or a list of Budgets")
        return Ledger(budget) if budget else None
    return Ledger([Budget(limit_usd=budget)])
