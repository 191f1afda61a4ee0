"""This library, set up for a measurement: metrics, costs, errors and Prometheus on, unless stated otherwise."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, sleep
from typing import Any

import toolweaver_monitor
from toolweaver_monitor import Monitor, flush, get_monitor, monitored, setup, shutdown
from toolweaver_monitor.sinks import LogSink, PrometheusExporter

BURST = 20_000
"""Calls between two drains: what the targets call a burst."""

DRAIN_S = 30.0


class NoOpSink:
    """A sink as an I/O sink is run, on a thread of its own, that does nothing."""

    def __init__(self, name: str = "noop") -> None:
        self.name = name

    def write(self, calls: Sequence[Any]) -> None:
        """Take the calls and do nothing."""

    def flush(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to close."""


def log_to_nowhere() -> LogSink:
    """A LogSink whose lines end in a null handler."""
    log = logging.getLogger("toolweaver_monitor.calls")
    for logger in (log, logging.getLogger("toolweaver_monitor")):
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.INFO)
    return LogSink()


@dataclass
class Mode:
    """One way to set our library up, put in force when a contender's turn begins.

    Args:
        extra: makes the sinks beyond the four that live in the process.
        options: what else `setup()` gets.
        off: no setup at all.
        served: have Prometheus on, one exporter going on from mode to mode.
    """

    extra: Callable[[], Sequence[Any]] = tuple
    options: dict[str, Any] = field(default_factory=dict)
    off: bool = False
    served: bool = True

    def enter(self) -> None:
        """Put this mode in force, if it is not."""
        if _Now.mode is self:
            return
        if self.off:
            shutdown()
        else:
            _wait_for_prices(setup(*_Now.exporter * self.served, *self.extra(), **self.options))
        _Now.mode = self


def _wait_for_prices(found: Monitor) -> None:
    """Wait until the price list is there, which a thread loads meanwhile: it is no part of the calls."""
    deadline = perf_counter() + DRAIN_S
    prices = found._components.prices
    while not prices.ready and perf_counter() < deadline:
        sleep(0.001)


class _Now:
    mode: Mode | None = None
    exporter: tuple[PrometheusExporter, ...] = (PrometheusExporter(port=0),)


USUAL = Mode()
"""The four in-process sinks."""

BEFORE_SETUP = Mode(off=True)
"""Before `setup()`, or after `shutdown()`."""

DISABLED = Mode(options={"enabled": False}, served=False)


def drain() -> None:
    """Have everything that was called delivered to every sink, but for what an I/O sink's queue had no room for."""
    began = perf_counter()
    if not flush(timeout=DRAIN_S) and perf_counter() - began >= DRAIN_S:
        raise RuntimeError(f"the monitor could not be drained in {DRAIN_S:.0f} s")


def stop() -> None:
    """Take the monitor down."""
    shutdown()
    _Now.mode = None


def monitor() -> Monitor:
    """The monitor of the mode in force."""
    found = get_monitor()
    if found is None:
        raise RuntimeError("nothing is set up; enter a mode first")
    return found


def scrape_url() -> str:
    """Where the exporter of the mode in force answers."""
    exporter = next(sink for sink in monitor().sinks if isinstance(sink, PrometheusExporter))
    return f"http://127.0.0.1:{exporter.port}/metrics"


def fetch(url: str, accept: str = "*/*") -> bytes:
    """One scrape."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=60) as answer:
        return bytes(answer.read())


__all__ = [
    "BEFORE_SETUP",
    "BURST",
    "DISABLED",
    "USUAL",
    "Mode",
    "NoOpSink",
    "drain",
    "fetch",
    "log_to_nowhere",
    "monitor",
    "monitored",
    "scrape_url",
    "stop",
    "toolweaver_monitor",
]
