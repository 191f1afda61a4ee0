"""Serve metrics to Prometheus: from the library's own endpoint and, if requested, in the application's registry."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from toolweaver_monitor._core import config
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._http.access import AccessRules
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.listener import Listener
from toolweaver_monitor._http.messages import Response, Route, compress, error_response
from toolweaver_monitor._http.mounted import MountedMetrics
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._base import SetupAware
from toolweaver_monitor.sinks._memory.view import InMemorySink
from toolweaver_monitor.sinks._prometheus import catalog, exposition, families
from toolweaver_monitor.sinks._prometheus.buckets import BucketCounts, validate_buckets
from toolweaver_monitor.sinks._prometheus.exemplars import MAX_LOOKED_AT
from toolweaver_monitor.sinks._prometheus.labels import LabelledCounts, validate_labels
from toolweaver_monitor.sinks._prometheus.push import EndTargets

log = logging.getLogger("toolweaver_monitor")

MULTIPROC_NOTE = (
    "PROMETHEUS_MULTIPROC_DIR is set, which prometheus_client uses and this library does not: "
    "each worker serves its own calls; setup('prometheus', shared=True) joins them"
)


class PrometheusExporter(InMemorySink, SetupAware):
    """An endpoint that serves `/metrics` for Prometheus to scrape.

    Args:
        port: the port to listen on; 0 takes a free one, which `.port` then gives. Default: 8000; 9464 if the program is
            run by a web server (uvicorn, gunicorn, hypercorn, granian, `fastapi`, `fastmcp`, Django's `runserver`) or
            its main module has imported one, since the application may want 8000.
        addr: the address to bind; any but loopback needs a token, TLS or `insecure=True`.
        registry: a `prometheus_client` registry that shows these metrics too; the endpoint then serves all of it.
        buckets: upper bounds of the duration buckets in seconds, rising. Default: powers of two from 2**-10 to 2**10.
        first_item_buckets: the same for the time to the first item of a stream.
        labels: keys of a few tags with few values, such as `["customer", "model"]`, that become labels of executions,
            cost and tokens. `model` is also the model that a call records.
        token: a bearer token that scrapes must carry.
        certfile: a TLS certificate (PEM).
        keyfile: its key (PEM), if that is in another file.
        allowed_hosts: Host names to answer to, besides loopback and the bound address; checked only without a token.
        insecure: listen beyond loopback with neither a token nor TLS.
        page: whether the endpoint serves the page at `/` as well, which shows the texts of errors and the values of
            tags. Default: if it is on loopback or has a token.
        listen: False opens no port, for metrics that `Monitor.asgi()` or `Monitor.wsgi()` serves in an application.
            Default: unless a gateway or a textfile, and no port, is given.
        gateway: a Pushgateway that gets the metrics when the program ends, such as `"http://gateway:9091"`.
        job: the name of the job there.
        grouping_key: further labels of the job's group there, such as `{"instance": "worker-3"}`.
        textfile: a file that gets the metrics when the program ends, for node_exporter; it ends with `.prom`.

    Raises:
        ConfigurationError: an argument cannot be used; its `hint` names the fix.
    """

    name = "prometheus"

    @suggest_keywords(host="did you mean addr=?", address="did you mean addr=?", bind="did you mean addr=?")
    def __init__(
        self,
        port: int | None = None,
        addr: str | None = None,
        *,
        registry: Any = None,
        buckets: Sequence[float] | None = None,
        first_item_buckets: Sequence[float] | None = None,
        labels: Sequence[str] = (),
        token: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        allowed_hosts: Sequence[str] | None = None,
        insecure: bool = False,
        page: bool | None = None,
        listen: bool | None = None,
        gateway: str | None = None,
        job: str | None = None,
        grouping_key: Mapping[str, str] | None = None,
        textfile: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(max_operations=1)
        self._leaves = EndTargets.of(gateway, job, grouping_key, textfile)
        requested = config.PROMETHEUS_PORT.given(port)
        if listen not in (True, False, None):
            raise ConfigurationError(f"listen must be True, False or None, not {listen!r}")
        self._listens = (not self._leaves or port is not None) if listen is None else listen
        self._endpoint = Endpoint(
            {"/metrics": lambda request: self._respond(request.headers)},
            port=config.PROMETHEUS_PORT.default if requested is None else requested,
            addr=config.PROMETHEUS_ADDR.value(addr),
            token=token,
            certfile=certfile,
            keyfile=keyfile,
            allowed_hosts=allowed_hosts,
            insecure=insecure,
            page=page,
            name="prometheus",
        )
        usual_port = config.PROMETHEUS_PORT.default if requested is None else None
        self._listener = Listener(self._endpoint, "PrometheusExporter", "metrics are served", usual_port)
        self._registry = validate_registry(registry)
        self._collector: Any = None
        own = config.BUCKETS.value(validate_buckets(buckets))
        own_first = config.FIRST_ITEM_BUCKETS.value(validate_buckets(first_item_buckets, "first_item_buckets"))
        self._bounds = own or catalog.BUCKETS_S
        self._first_item_bounds = own_first or catalog.BUCKETS_S
        self._max_names = config.MAX_LABEL_VALUES.value()
        has_buckets = own is not None or own_first is not None
        self._counts = BucketCounts(self._bounds, self._first_item_bounds, self._max_names) if has_buckets else None
        tags = validate_labels(labels)
        self._labelled = LabelledCounts(tags, self._max_names) if tags else None
        self._sees_calls = has_buckets or self._labelled is not None

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

        In a setup a port that is taken is tried again each second for a minute, on a thread. `health()` tells.

        Raises:
            SinkUnavailable: the port is taken, without a setup, or may not be bound; its `hint` names the fix.
        """
        self._listener.shared = self._context.shared
        if self._listens:
            self._endpoint.add_page(self._context.page_routes)
        if self._endpoint.listening or self._listener.waiting:
            return
        if self._registry is not None and self._collector is None:
            self._register()
        self._leaves.begin()
        if self._listens:
            if self._context.shared is None:
                _warn_of_multiproc()
            self._listener.start(self.name, has_setup=self._context is not SetupAware._context)

    def _observe(self, calls: Sequence[ToolCall]) -> None:
        """Count what the statistics do not tell: durations in the user's buckets, and calls by their labels."""
        if self._labelled is not None:
            self._labelled.count(calls)
        if self._counts is not None:
            self._counts.count(calls)

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        super().write(calls)
        self._observe(calls)

    def text(self) -> str:
        """Return what a scrape gets, including every call that has ended."""
        return self._render("")[0].decode()

    def _render(self, accept: str) -> tuple[bytes, str]:
        """Return what a scrape with this `Accept` header gets, and its content type."""
        if self._registry is not None:
            from prometheus_client.exposition import choose_encoder

            encode, content_type = choose_encoder(accept)
            return encode(self._registry), content_type
        form = exposition.choose_form(accept)
        snapshot = self._take_snapshot(with_exemplars=form.has_exemplars)
        return form.render(families.read_families(snapshot)), form.content_type

    def push(self) -> None:
        """Send the metrics to the gateway, and write the textfile, as the end of the program does.

        Raises:
            ConfigurationError: the exporter has neither.
            SinkUnavailable: one of them does not take the metrics; its `hint` names the fix.
        """
        self._leaves.write(*self._render(""))

    def delete_from_gateway(self) -> None:
        """Delete the job's group at the gateway. The end of the program then sends nothing.

        Figures that are to stay only of runs that fail are deleted at the end of one that succeeds.

        Raises:
            ConfigurationError: the exporter has no gateway.
            SinkUnavailable: the gateway does not answer; its `hint` names the fix.
        """
        self._leaves.delete()

    def _take_snapshot(self, *, with_exemplars: bool = False) -> families.Snapshot:
        """Collect everything that is exposed right now; of all workers, if they are joined."""
        own, shared = self._own_snapshot(with_exemplars=with_exemplars), self._context.shared
        return own if shared is None else shared.gather(own)

    def _version(self) -> object:
        """Return what differs from before if this process has counted anything since."""
        return [source.changes for source in self._sources()], self._context.live_values()

    def _own_snapshot(self, *, with_exemplars: bool = False) -> families.Snapshot:
        tools = self._by_tool()  # first: it counts what has ended
        labelled = self._labelled
        sources = self._sources()
        recent: list[ToolCall] = []
        errors: list[ToolCall] = []
        for source in sources if with_exemplars else ():
            with source.lock:
                recent += list(islice(reversed(source.operations), MAX_LOOKED_AT))[::-1]
                errors += source.last_errors
        return families.Snapshot(
            tools=tools,
            labels=labelled.labels if labelled is not None else (),
            labelled=labelled.rows() if labelled is not None else {},
            own_buckets=None if self._counts is None else self._counts.by_tool,
            bounds=self._bounds,
            first_item_bounds=self._first_item_bounds,
            max_names=self._max_names,
            since_s=min(source.since_s for source in sources),
            recent=recent,
            recent_errors=errors,
            **self._context.live_values(),
        )

    def status(self) -> dict[str, Any]:
        """Return whether and where it listens, for `health()`."""
        status = self._listener.status(reports_fork=self._registry is None)
        collector = self._collector
        notes = [MULTIPROC_NOTE] if _is_multiproc() and self._context.shared is None else []
        left_out = collector.left_out() if collector is not None else ()
        if left_out:
            names = ", ".join(left_out)
            cure = "give the exporter a registry of its own"
            notes.append(f"another collector of the registry has registered, and shows, {names}; {cure}")
        if notes:
            status["note"] = ". ".join(notes)
        return status

    def close(self) -> None:
        """Stop listening, or waiting for the port, and remove the metrics from the registry."""
        self._listener.close()
        self._leaves.end(lambda: self._render(""))
        self._endpoint.close()
        if self._collector is not None:
            try:
                self._registry.unregister(self._collector)
            except KeyError:  # the application has emptied its registry
                pass
            self._collector = None

    def _mount(self, rules: AccessRules | None, make_page: Callable[[], Mapping[str, Route]] | None) -> MountedMetrics:
        """Return what serves the metrics in an application.

        Args:
            rules: who may read them. Default: those who may read the endpoint.
            make_page: returns what serves the page; None for none.
        """
        _warn_of_multiproc()
        return MountedMetrics(self._respond, rules or self._endpoint.rules, make_page)

    def _respond(self, headers: Mapping[str, str]) -> Response:
        try:
            body, content_type = self._render(headers.get("accept", ""))
        except families.FolderBusy as busy:
            return error_response(503, str(busy))
        return compress(Response(body=body, content_type=content_type), headers.get("accept-encoding", ""))

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


def _is_multiproc() -> bool:
    return bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))


_said: set[str] = set()


def _warn_of_multiproc() -> None:
    """Say once in this process that the variable is not used, if it is set."""
    if _is_multiproc() and MULTIPROC_NOTE not in _said:
        _said.add(MULTIPROC_NOTE)
        log.warning(MULTIPROC_NOTE)
