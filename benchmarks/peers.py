"""What a user would write by hand: the floor, wrapt, and the counters of the usual guide, labels looked up or kept.

The guide's pattern is what the tutorials teach: a gauge of what runs, a counter by status, a histogram of durations
and a counter of costs, each found by `labels()` at each call. Kept children are the same with the look-up done once.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks.harness import nothing

Sync = Callable[[], object]
Async = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Peer:
    """One way to watch a function: how it wraps each kind, and how what it leaves behind is brought to its end."""

    name: str
    wrap: Callable[[Sync], Sync] | None = None
    wrap_async: Callable[[Async], Async] | None = None
    drain: Callable[[], object] = nothing
    at_most: int = 20_000


def wraps(function: Sync) -> Sync:
    """`functools.wraps` around the call, nothing else."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> object:
        return function(*args, **kwargs)

    return wrapper


def wraps_async(function: Async) -> Async:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> object:
        return await function(*args, **kwargs)

    return wrapper


def floor(function: Sync) -> Sync:
    """`functools.wraps` and two `perf_counter_ns()`: what no timing decorator in Python can be cheaper than."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> object:
        began = perf_counter_ns()
        try:
            return function(*args, **kwargs)
        finally:
            _ = perf_counter_ns() - began

    return wrapper


def floor_async(function: Async) -> Async:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> object:
        began = perf_counter_ns()
        try:
            return await function(*args, **kwargs)
        finally:
            _ = perf_counter_ns() - began

    return wrapper


def passing_wrapt(function: Any) -> Any:
    """A FunctionWrapper of wrapt that only passes through."""
    wrapt = importlib.import_module("wrapt")

    def passing(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(function, passing)


class Guide:
    """The guide's four metrics in a registry of their own."""

    def __init__(self) -> None:
        prom = importlib.import_module("prometheus_client")
        registry = prom.CollectorRegistry()
        labels = ["tool_name"]
        self.active = prom.Gauge("active_operations", "Running now", registry=registry)
        self.executions = prom.Counter("executions", "Calls", [*labels, "status"], registry=registry)
        self.duration = prom.Histogram("duration_seconds", "How long", labels, registry=registry)
        self.cost = prom.Counter("cost_usd", "Dollars", labels, registry=registry)

    def wrap(self, function: Sync) -> Sync:
        """As in the guide: `labels()` at each call."""
        active, executions, duration, cost = self.active, self.executions, self.duration, self.cost

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> object:
            active.inc()
            began = perf_counter()
            try:
                result = function(*args, **kwargs)
                executions.labels(tool_name="tool", status="success").inc()
                cost.labels(tool_name="tool").inc(0.01)
                return result
            except Exception:
                executions.labels(tool_name="tool", status="failure").inc()
                raise
            finally:
                duration.labels(tool_name="tool").observe(perf_counter() - began)
                active.dec()

        return wrapper

    def wrap_async(self, function: Async) -> Async:
        """As in the guide, for a coroutine function."""
        active, executions, duration, cost = self.active, self.executions, self.duration, self.cost

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> object:
            active.inc()
            began = perf_counter()
            try:
                result = await function(*args, **kwargs)
                executions.labels(tool_name="tool", status="success").inc()
                cost.labels(tool_name="tool").inc(0.01)
                return result
            except Exception:
                executions.labels(tool_name="tool", status="failure").inc()
                raise
            finally:
                duration.labels(tool_name="tool").observe(perf_counter() - began)
                active.dec()

        return wrapper

    def wrap_cached(self, function: Sync, name: str = "tool") -> Sync:
        """The same with the label children looked up once, at decoration."""
        enter, leave = self.active.inc, self.active.dec
        succeeded = self.executions.labels(tool_name=name, status="success").inc
        failed = self.executions.labels(tool_name=name, status="failure").inc
        observe = self.duration.labels(tool_name=name).observe
        charge = self.cost.labels(tool_name=name).inc

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> object:
            enter()
            began = perf_counter()
            try:
                result = function(*args, **kwargs)
                succeeded()
                charge(0.01)
                return result
            except Exception:
                failed()
                raise
            finally:
                observe(perf_counter() - began)
                leave()

        return wrapper

    def wrap_cached_async(self, function: Async) -> Async:
        """The same for a coroutine function."""
        enter, leave = self.active.inc, self.active.dec
        succeeded = self.executions.labels(tool_name="tool", status="success").inc
        failed = self.executions.labels(tool_name="tool", status="failure").inc
        observe = self.duration.labels(tool_name="tool").observe
        charge = self.cost.labels(tool_name="tool").inc

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> object:
            enter()
            began = perf_counter()
            try:
                result = await function(*args, **kwargs)
                succeeded()
                charge(0.01)
                return result
            except Exception:
                failed()
                raise
            finally:
                observe(perf_counter() - began)
                leave()

        return wrapper


def by_hand() -> list[Peer]:
    """Every peer that needs nothing but what the package itself depends on; the first two are `wraps` and `floor`."""
    guide = Guide()
    return [
        Peer("wraps", wraps, wraps_async, at_most=400_000),
        Peer("floor", floor, floor_async, at_most=400_000),
        Peer("wrapt", passing_wrapt, passing_wrapt),
        Peer("guide", guide.wrap, guide.wrap_async),
        Peer("guide, cached", guide.wrap_cached, guide.wrap_cached_async),
    ]
