"""What is reachable? Each sink is tried for real, as `setup()` would start it from this environment."""

from __future__ import annotations

import importlib.util
import logging
import time
from typing import Any

from toolweaver_monitor._cli.doctor import http_get, running_program
from toolweaver_monitor._cli.doctor.findings import Finding, note, ok, refused, wrong
from toolweaver_monitor._runtime.health import MAX_PRICE_AGE_DAYS
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks import LogSink, PrometheusExporter

PRICES_S = 10.0


def prometheus(port: int | None, token: str | None) -> tuple[Finding, str | None]:
    """Serve `/metrics` and scrape it; where the port is taken, find out by whom.

    Returns:
        What was found, and the address of the program of the user's that has the port, if one has.
    """
    try:
        exporter = PrometheusExporter(port=port)
    except ConfigurationError as error:
        return refused("prometheus", error), None
    try:
        exporter.start()
    except SinkUnavailable as error:
        return _taken(exporter.url, token, error)
    try:
        answer = http_get.get(exporter.url)
    finally:
        exporter.close()
    fault = running_program.not_ours(answer, exporter.url)
    if fault is not None:
        return fault._replace(name="prometheus"), None
    return ok("prometheus", f"{exporter.url} can be served and scraped"), None


def _taken(url: str, token: str | None, error: SinkUnavailable) -> tuple[Finding, str | None]:
    answer = http_get.get(url, token)
    fault = running_program.not_ours(answer, url)
    if fault is None:
        return ok("prometheus", f"{url} is served by a program of yours"), url
    if answer.status in (401, 403):  # as one of ours would
        return fault._replace(name="prometheus"), None
    found = refused("prometheus", error)
    what = answer.fault or f"it answers {answer.status}, and not with our metrics"
    return found._replace(says=f"{found.says}: {what}"), None


def log() -> Finding:
    """Where the lines go, and what the program must do for them to be seen."""
    try:
        sink = LogSink()
    except ConfigurationError as error:
        return refused("log", error)
    level = logging.getLevelName(sink._level)
    return ok(
        "log",
        f"lines go to the logger {sink._logger.name!r} at {level}, errors at WARNING; your program must let them "
        f"through: logging.basicConfig(level=logging.{level})",
    )


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a folder ./wandb of offline runs looks like a package


def prices() -> tuple[Finding, dict[str, Any]]:
    """Where prices come from, and how old they are; and that as `health()` tells it."""
    book = PriceBook()
    book.start_loading()
    end = time.monotonic() + PRICES_S
    while not book.ready and time.monotonic() < end:
        time.sleep(0.01)
    status = book.status()
    return _judged(status), status


def _judged(status: dict[str, Any]) -> Finding:
    age_days, cure = status["age_days"], status.get("cure", "")
    if status["genai_prices"] == "missing":
        says = "genai-prices is not installed: cost is what your code reports, declares, or has in setup(prices={...})"
        return note("prices", says, cure)
    if not status["sources"]:
        return wrong("prices", f"they cannot be loaded ({status.get('fault') or 'no answer'})", cure)
    said = "; ".join(status["sources"])
    if age_days is None:
        return ok("prices", said)
    if age_days > MAX_PRICE_AGE_DAYS:
        return note("prices", f"{said}; the newest is {age_days:.0f} days old", "pip install -U genai-prices")
    return ok("prices", f"{said}; the newest is {age_days:.0f} days old")
