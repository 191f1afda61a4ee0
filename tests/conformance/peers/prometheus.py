"""The adapters of the timers of prometheus_client and prometheus-async, which count and sum but report no outcome."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import prometheus_client

from .base import Peer, Seen


class PrometheusClient(Peer):
    title = "prometheus_client `time()`"
    distribution = "prometheus_client"

    def start(self) -> None:
        self.timers: dict[str, Any] = {}
        self.registry = prometheus_client.CollectorRegistry()

    def timer(self, name: str) -> Any:
        if name not in self.timers:
            self.timers[name] = prometheus_client.Histogram(f"{name}_seconds", name, registry=self.registry)
        return self.timers[name]

    def decorate(self, name: str) -> Callable[[Any], Any]:
        return self.timer(name).time()

    def block(self, name: str) -> Any:
        return self.timer(name).time()

    def seen(self) -> list[Seen]:
        calls = []
        for name in self.timers:
            count = int(self.registry.get_sample_value(f"{name}_seconds_count") or 0)
            total = self.registry.get_sample_value(f"{name}_seconds_sum") or 0.0
            calls += [Seen(name, duration_s=total / count) for _ in range(count)]
        return calls


class PrometheusAsync(PrometheusClient):
    title = "prometheus-async `time()`"
    distribution = "prometheus-async"

    def decorate(self, name: str) -> Callable[[Any], Any]:
        """As its documentation has it: its own for coroutine functions, prometheus_client's for all others."""
        from prometheus_async.aio import time

        timer = self.timer(name)
        return lambda function: (time(timer) if inspect.iscoroutinefunction(function) else timer.time())(function)
