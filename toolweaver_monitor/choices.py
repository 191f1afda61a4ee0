"""What may `setup()` be given? Sinks, names and budgets are checked here, and each mistake is told with its cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from toolweaver_monitor.budget import Budget, Ledger
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks.base import FunctionSink
from toolweaver_monitor.sinks.costs import CostTracker
from toolweaver_monitor.sinks.errors import ErrorTracker
from toolweaver_monitor.sinks.metrics import MetricsCollector

NAMES = ("prometheus", "wandb", "log")


def as_sink(thing: Any) -> Any:
    """A sink object from what `setup()` was given.

    Raises:
        ConfigurationError: it is none; the message says what to give instead.
    """
    if isinstance(thing, str):
        return _by_name(thing)
    if isinstance(thing, type):
        raise ConfigurationError(f"setup() got the class {thing.__name__}, not a sink; call it: {thing.__name__}()")
    if callable(getattr(thing, "write", None)):
        missing = [method for method in ("flush", "close") if not callable(getattr(thing, method, None))]
        if missing:
            raise ConfigurationError(
                f"{type(thing).__name__} has no {' and no '.join(missing)}; "
                "a sink has write(calls), flush() and close()"
            )
        if not isinstance(getattr(thing, "name", None), str) or not thing.name:
            raise ConfigurationError(f"{type(thing).__name__} has no name; give the sink a text attribute `name`")
        return thing
    if callable(thing):
        return FunctionSink(thing)
    raise ConfigurationError(
        f"{type(thing).__name__} is no sink; a sink has write(calls), flush() and close(), "
        "or is a callable that takes a ToolCall"
    )


def _by_name(name: str) -> Any:
    if name == "prometheus":
        from toolweaver_monitor.sinks.prometheus import PrometheusExporter

        return PrometheusExporter()
    if name == "wandb":
        from toolweaver_monitor.sinks.wandb import WandBLogger

        return WandBLogger()
    if name == "log":
        from toolweaver_monitor.sinks.log import LogSink

        return LogSink()
    if name in ("metrics", "costs", "errors"):
        return {"metrics": MetricsCollector, "costs": CostTracker, "errors": ErrorTracker}[name]()
    raise ConfigurationError(f"there is no sink named {name!r}; there are {', '.join(NAMES)}")


def uniquely_named(sinks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The sinks with their names, two of one name told apart as `name` and `name-2`."""
    names: Counter[str] = Counter()
    for sink in sinks:
        names[sink.name] += 1
        yield sink.name if names[sink.name] == 1 else f"{sink.name}-{names[sink.name]}", sink


def as_ledger(budget: Any) -> Ledger | None:
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
