"""Where calls end; one file each, none knows another. A sink is imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._base import Sink
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector

if TYPE_CHECKING:
    from toolweaver_monitor.sinks._log import LogSink
    from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter
    from toolweaver_monitor.sinks._wandb.logger import WandBLogger

__all__ = [
    "CostTracker",
    "ErrorTracker",
    "LogSink",
    "MetricsCollector",
    "PrometheusExporter",
    "Sink",
    "SinkUnavailable",
    "WandBLogger",
]

_WHERE = {"LogSink": "_log", "PrometheusExporter": "_prometheus.exporter", "WandBLogger": "_wandb.logger"}


def __getattr__(name: str) -> Any:
    """Import a sink where it is first needed: some bring a server or a client along."""
    from importlib import import_module

    if name in _WHERE:
        return getattr(import_module(f"toolweaver_monitor.sinks.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
