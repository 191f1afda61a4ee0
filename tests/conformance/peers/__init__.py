"""The decorators under test: one small adapter per library. `chosen()` returns the selected one."""

from __future__ import annotations

import importlib
import os
from functools import cache

from .base import Missing, Peer, Seen

__all__ = ["ENVIRONMENT", "KNOWN", "Missing", "Peer", "Seen", "chosen"]

ENVIRONMENT = "CONFORMANCE_DECORATOR"
"""Handed on to child processes, which import the same decorated functions."""

KNOWN = {
    "toolweaver_monitor": "peers.ours:Ours",
    "functools": "peers.plain:Plain",
    "prometheus_client": "peers.prometheus:PrometheusClient",
    "prometheus_async": "peers.prometheus:PrometheusAsync",
    "opentelemetry": "peers.spans:OpenTelemetry",
    "logfire": "peers.spans:Logfire",
    "sentry_sdk": "peers.sentry:Sentry",
}


@cache
def chosen() -> Peer:
    """The adapter named by the environment: a name of `KNOWN`, or `module:Class` of your own."""
    name = os.environ.get(ENVIRONMENT, "toolweaver_monitor")
    module, _, attribute = KNOWN.get(name, name).partition(":")
    peer: Peer = getattr(importlib.import_module(module), attribute)()
    return peer
