"""Try each sink for real, as `setup()` would start it in this environment."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from typing import Any

from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli.doctor import running_program
from toolweaver_monitor._cli.doctor.findings import Finding, from_error
from toolweaver_monitor._runtime.health import MAX_PRICE_AGE_DAYS
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable, ToolweaverMonitorError
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, SQLiteStore

PRICES_S = 10.0
COLLECTOR_S = 2.0


def prometheus(port: int | None, token: str | None) -> tuple[Finding, str | None]:
    """Serve `/metrics` and scrape it; if the port is taken, find out by which program.

    Returns:
        The finding, and the address of the user's own program if that has the port.
    """
    try:
        exporter = PrometheusExporter(port=port)
        exporter.start()
    except ConfigurationError as error:
        return from_error("prometheus", error), None
    except SinkUnavailable as error:
        return _port_taken(exporter.url, token, error)
    try:
        answer = http_get.get(exporter.url)
    finally:
        exporter.close()
    fault = running_program.find_fault(answer, exporter.url)
    if fault is not None:
        return fault._replace(name="prometheus"), None
    return Finding("ok", "prometheus", f"{exporter.url} can be served and scraped"), None


def _port_taken(url: str, token: str | None, error: SinkUnavailable) -> tuple[Finding, str | None]:
    answer = http_get.get(url, token)
    fault = running_program.find_fault(answer, url)
    if fault is None:
        return Finding("ok", "prometheus", f"{url} is served by a program of yours"), url
    if answer.status in (401, 403):  # as an exporter with a token, or with other allowed hosts, answers
        return fault._replace(name="prometheus"), None
    found = from_error("prometheus", error)
    if answer.fault == http_get.REFUSED:  # as in the minute after a program that was scraped has ended
        cure = "wait a minute: connections of a program that has ended may hold it; an exporter in a setup waits, too"
        return found._replace(says=f"{found.says}: {answer.fault}", cure=cure), None
    reason = answer.fault or f"it answers {answer.status}, without toolweaver_ metrics"
    return found._replace(says=f"{found.says}: {reason}"), None


def log() -> Finding:
    """Find out where the log lines go, and what the program must do for them to be seen."""
    try:
        sink = LogSink()
    except ConfigurationError as error:
        return from_error("log", error)
    level = logging.getLevelName(sink._level)
    return Finding(
        "ok",
        "log",
        f"lines go to the logger {sink._logger.name!r} at {level}, errors at WARNING; your program must let them "
        f"through: logging.basicConfig(level=logging.{level})",
    )


def sqlite() -> Finding:
    """Find out whether the store can be written, without creating it."""
    try:
        store = SQLiteStore()
        store.start()
    except (ConfigurationError, SinkUnavailable) as error:
        return from_error("sqlite", error)
    folder = next(folder for folder in store.path.parents if folder.exists())
    where = store.path if store.path.exists() else folder
    if not os.access(where, os.W_OK):
        says = f"{store.path} cannot be written"
        return Finding("wrong", "sqlite", says, "set TOOLWEAVER_MONITOR_STORE to a file in a folder of yours")
    state = "is a store" if store.path.exists() else "will be created"
    return Finding("ok", "sqlite", f"{store.path} {state}")


def otlp() -> Finding:
    """Ask the collector for an answer."""
    from toolweaver_monitor.sinks import OpenTelemetryExporter

    exporter = OpenTelemetryExporter(timeout_s=COLLECTOR_S)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the finding says it in one line
    try:
        exporter.probe()
        return Finding("ok", "otlp", f"{exporter.status()['target']} takes spans")
    except ToolweaverMonitorError as error:
        return from_error("otlp", error)
    finally:
        exporter.close()


def installed(package: str) -> bool:
    """Return True if a package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a folder ./wandb of offline runs looks like a package


def prices() -> tuple[Finding, dict[str, Any]]:
    """Return the finding about prices, their sources and age, and their status as in `health()`."""
    book = PriceBook()
    book.start_loading()
    end = time.monotonic() + PRICES_S
    while not book.ready and time.monotonic() < end:
        time.sleep(0.01)
    status = book.status()
    return _judge_prices(status), status


def _judge_prices(status: dict[str, Any]) -> Finding:
    age_days, cure = status["age_days"], status.get("cure", "")
    if status["genai_prices"] == "missing":
        says = "genai-prices is not installed: cost is what your code reports, declares, or has in setup(prices={...})"
        return Finding("note", "prices", says, cure)
    if not status["sources"]:
        return Finding("wrong", "prices", f"they cannot be loaded ({status.get('fault') or 'no answer'})", cure)
    says = "; ".join(status["sources"])
    if age_days is None:
        return Finding("ok", "prices", says)
    says += f"; the newest is {age_days:.0f} days old"
    if age_days > MAX_PRICE_AGE_DAYS:
        return Finding("note", "prices", says, "pip install -U genai-prices")
    return Finding("ok", "prices", says)
