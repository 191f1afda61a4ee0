"""The sinks: one module or package each; none knows another. A sink with dependencies is imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._base import Sink
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector

if TYPE_CHECKING:
    from toolweaver_monitor.sinks._dashboard import Dashboard
    from toolweaver_monitor.sinks._log.sink import LogSink
    from toolweaver_monitor.sinks._otlp.exporter import OpenTelemetryExporter
    from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter
    from toolweaver_monitor.sinks._sqlite import SQLiteStore
    from toolweaver_monitor.sinks._wandb.logger import WandBLogger

__all__ = [
    "CostTracker",
    "Dashboard",
    "ErrorTracker",
    "LogSink",
    "MetricsCollector",
    "OpenTelemetryExporter",
    "PrometheusExporter",
    "SQLiteStore",
    "Sink",
    "SinkUnavailable",
    "WandBLogger",
]

_MODULES = {
    "Dashboard": "_dashboard",
    "LogSink": "_log.sink",
    "OpenTelemetryExporter": "_otlp.exporter",
    "PrometheusExporter": "_prometheus.exporter",
    "SQLiteStore": "_sqlite",
    "WandBLogger": "_wandb.logger",
}


def __getattr__(name: str) -> Any:
    """Import a sink when it is first needed, since some import a server or a client."""
    from importlib import import_module

    from toolweaver_monitor._text.guesses import refuse_guide_name

    if name in _MODULES:
        return getattr(import_module(f"toolweaver_monitor.sinks.{_MODULES[name]}"), name)
    refuse_guide_name(__name__, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
