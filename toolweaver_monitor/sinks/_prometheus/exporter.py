"""Serve metrics to Prometheus: from the library's own endpoint and, if requested, in the application's registry."""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolweaver_monitor._core import config
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.messages import Response
from toolweaver_monitor._text.names import OVERFLOW, declared_names
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._base import SetupAware
from toolweaver_monitor.sinks._memory.view import InMemorySink
from toolweaver_monitor.sinks._prometheus import catalog, exposition

log = logging.getLogger("toolweaver_monitor")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GZIP_FROM = 4_096
"""Bytes from which on an answer is compressed."""


class PrometheusExporter(InMemorySink, SetupAware):
    """An endpoint that serves `/metrics` for Prometheus to scrape.

    Args:
        port: the port to listen on; 0 takes a free one, which `.port` then gives.
        addr: the address to bind; any but loopback needs a token, TLS or `insecure=True`.
        registry: a `prometheus_client` registry that shows these metrics too; the endpoint then serves all of it.
        buckets: upper bounds of the duration buckets in seconds, rising. Default: powers of two from 2**-10 to 2**10.
        first_item_buckets: the same for the time to the first item of a stream.
        token: a bearer token that scrapes must carry.
        certfile: a TLS certificate (PEM).
        keyfile: its key (PEM), if that is in another file.
        allowed_hosts: Host names to answer to, besides loopback and the bound address; checked only without a token.
        insecure: listen beyond loopback with neither a token nor TLS.

    Raises:
        ConfigurationError: an argument cannot be used; its `hint` names the fix.
    """

    name = "prometheus"

    def __init__(
        self,
        port: int | None = None,
        addr: str | None = None,
        *,
        registry: Any = None,
        buckets: Sequence[float] | None = None,
        first_item_buckets: Sequence[float] | None = None,
        token: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
    ) -> None:
        super().__init__(max_operations=1)
        self._endpoint = Endpoint(
            {"/metrics": self._respond},
            port=config.PROMETHEUS_PORT.value(port),
            addr=config.PROMETHEUS_ADDR.value(addr),
            token=token,
            certfile=certfile,
            keyfile=keyfile,
            allowed_hosts=allowed_hosts,
            insecure=insecure,
            name="prometheus",
        )
        self._registry = validate_registry(registry)
        self._collector: Any = None
        own = config.BUCKETS.value(validate_buckets(buckets))
        own_first = config.FIRST_ITEM_BUCKETS.value(validate_buckets(first_item_buckets, "first_item_buckets"))
        self._bounds = own or catalog.BUCKETS_S
        self._first_item_bounds = own_first or catalog.BUCKETS_S
        self._has_custom_buckets = own is not None or own_first is not None
        self._counts: dict[str, exposition.OwnCounts] | None = {} if self._has_custom_buckets else None
        self._max_names = config.MAX_LABEL_VALUES.value()
        self._dynamic_names = 0
        """Names counted in `_counts` that are not written in the code; capped as in `StatsAggregator`."""
        self._served_by: int | None = None

    def __repr__(self) -> str:
        return f"PrometheusExporter({self._endpoint!r})"

    @property
    def port(self) -> int:
        """The port it listens on; before `start()`, the requested one."""
        return self._endpoint.port

    @property
    def url(self) -> str:
        """The URL to scrape."""
        return self._endpoint.url

    def start(self) -> None:
        """Start to listen. `setup()` calls it; without a setup, call it yourself.

        Raises:
            SinkUnavailable: the port is taken or may not be bound; its `hint` names the fix.
        """
        if self._endpoint.listening:
            return
        if self._registry is not None and self._collector is None:
            self._register()
        try:
            self._endpoint.start()
        except OSError as error:
            raise SinkUnavailable(
                f"cannot listen on {self._endpoint.addr}:{self._endpoint.port} ({error.strerror or error})",
                hint="stop what uses the port, or give another: PrometheusExporter(port=...), port=0 takes a free one",
            ) from None
        self._served_by = os.getpid()
        log.info("metrics are served on %s", self.url)

    def _observe(self, calls: Sequence[ToolCall]) -> None:
        """Count durations and times to the first item into the user's buckets."""
        counts = self._counts
        if counts is not None:
            for call in calls:
                if call.outcome == "rejected":  # it did not run
                    continue
                row = counts.get(call.tool_name)
                if row is None:
                    none = [0] * (len(self._bounds) + 1), [0] * (len(self._first_item_bounds) + 1)
                    row = counts.setdefault(self._label_for(call.tool_name), none)
                row[0][bisect_left(self._bounds, call.duration_s)] += 1
                if call.first_item_s is not None:
                    row[1][bisect_left(self._first_item_bounds, call.first_item_s)] += 1

    def _label_for(self, tool: str) -> str:
        if tool in declared_names:
            return tool
        if self._dynamic_names >= self._max_names:
            return OVERFLOW
        self._dynamic_names += 1
        return tool

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        super().write(calls)
        self._observe(calls)

    def text(self) -> str:
        """Return what a scrape gets, including every call that has ended."""
        if self._registry is not None:
            from prometheus_client import generate_latest

            return generate_latest(self._registry).decode()
        return exposition.render(self._take_snapshot())

    def _take_snapshot(self) -> exposition.Snapshot:
        """Collect everything that is exposed right now."""
        return exposition.Snapshot(
            tools=self._by_tool(),
            own_buckets=self._counts,
            bounds=self._bounds,
            first_item_bounds=self._first_item_bounds,
            max_names=self._max_names,
            **self._context.live_values(),
        )

    def status(self) -> dict[str, Any]:
        """Return whether and where it listens, for `health()`."""
        listening = self._endpoint.listening
        status: dict[str, Any] = {"listening": listening, "url": self.url if listening else None}
        if not listening and self._registry is None and self._served_by not in (None, os.getpid()):
            cure = "call setup() in it, with a port of its own"
            status |= {
                "state": "unavailable",
                "last_error": f"this process is a fork of the one that serves the metrics; {cure}",
                "cure": cure,
            }
        collector = self._collector
        left_out = collector.left_out() if collector is not None else ()
        if left_out:
            names = ", ".join(left_out)
            cure = "give the exporter a registry of its own"
            status["note"] = f"another collector of the registry has registered, and shows, {names}; {cure}"
        return status

    def close(self) -> None:
        """Stop listening, and remove the metrics from the registry."""
        self._endpoint.close()
        if self._collector is not None:
            try:
                self._registry.unregister(self._collector)
            except KeyError:  # the application has emptied its registry
                pass
            self._collector = None

    def _respond(self, headers: Mapping[str, str]) -> Response:
        body = self.text().encode("utf-8", "replace")
        if len(body) < GZIP_FROM or not accepts_gzip(headers.get("accept-encoding", "")):
            return Response(body=body, content_type=CONTENT_TYPE)
        import gzip  # 1 ms, which the first scrape can pay

        return Response(body=gzip.compress(body, compresslevel=1), content_type=CONTENT_TYPE, encoding="gzip")

    def _register(self) -> None:
        from toolweaver_monitor.sinks._prometheus.collector import Collector

        collector = Collector(self._take_snapshot, self._registry)
        if collector.has_sibling() or collector.left_out():
            raise SinkUnavailable(
                "the registry already has metrics with these names",
                hint="give each exporter its own registry, or shut the earlier one down first",
            )
        self._registry.register(collector)
        self._collector = collector


def accepts_gzip(accepted: str) -> bool:
    """Return True if this `Accept-Encoding` accepts gzip, as that of Prometheus does: it saves nine tenths."""
    for offer in accepted.lower().split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def validate_registry(registry: Any) -> Any:
    """Return an application's registry, or None.

    Raises:
        ConfigurationError: `registry` is neither.
    """
    methods = ("register", "unregister", "collect")
    if registry is None or all(callable(getattr(registry, method, None)) for method in methods):
        return registry
    raise ConfigurationError(
        f"registry={registry!r} is not a registry",
        hint="give a prometheus_client.CollectorRegistry, such as prometheus_client.REGISTRY",
    )


def validate_buckets(buckets: Iterable[float] | None, name: str = "buckets") -> tuple[float, ...] | None:
    """Return upper bounds of buckets in seconds, or None.

    Raises:
        ConfigurationError: there are none, they do not rise, or one is not a positive number.
    """
    try:
        return None if buckets is None else config.rising_bounds(buckets)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"{name}={buckets!r} are not bucket bounds", hint="give seconds from low to high, such as [0.1, 0.5, 1, 5]"
        ) from None
