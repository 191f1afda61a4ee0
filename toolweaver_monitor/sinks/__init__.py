"""Where calls end; one file each, none knows another. A sink is imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolweaver_monitor.sinks.costs import CostTracker
from toolweaver_monitor.sinks.errors import ErrorTracker
from toolweaver_monitor.sinks.metrics import MetricsCollector

if TYPE_CHECKING:
    from toolweaver_monitor.sinks.log import LogSink
    from toolweaver_monitor.sinks.prometheus import PrometheusExporter
    from toolweaver_monitor.sinks.wandb import WandBLogger

__all__ = ["CostTracker", "ErrorTracker", "LogSink", "MetricsCollector", "PrometheusExporter", "WandBLogger"]

_WHERE = {"LogSink": "log", "PrometheusExporter": "prometheus", "WandBLogger": "wandb"}


def __getattr__(name: str) -> Any:
    """Import a sink where it is first needed: some bring a server or a client along."""
    from importlib import import_module

    if name in _WHERE:
        return getattr(import_module(f"toolweaver_monitor.sinks.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
