"""The metrics of a setup, to be served by an application of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from toolweaver_monitor._http.access import AccessRules
from toolweaver_monitor._http.mounted import MountedMetrics
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._runtime.page import make_page
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter


def mount(
    components: Components, token: str | None, allowed_hosts: Sequence[str] | None, insecure: bool, page: bool
) -> MountedMetrics:
    """Return what serves the metrics of a setup: those of its exporter, or of one that does not listen.

    Args:
        components: the setup.
        token: see `Monitor.asgi`.
        allowed_hosts: see there.
        insecure: see there.
        page: whether to serve the page as well.

    Raises:
        ConfigurationError: an argument cannot be used, or the environment has buckets and the setup no exporter.
    """
    if page not in (True, False):
        raise ConfigurationError(f"page must be True or False, not {page!r}")
    make = partial(make_page, components) if page else None
    given = token is not None or allowed_hosts is not None or insecure is not False
    rules = AccessRules(token, allowed_hosts, insecure) if given else None
    for sink in components.sinks.values():
        if isinstance(sink, PrometheusExporter):
            return sink._mount(rules, make)
    if components.workers is not None:
        return components.workers.exporter._mount(rules, make)
    exporter = PrometheusExporter(listen=False)
    if exporter._sees_calls:
        raise ConfigurationError(
            "buckets of your own must be counted from the start",
            hint="call setup(PrometheusExporter(listen=False)), which opens no port",
        )
    shared = components.metrics._shared
    if shared is not None:
        exporter._attach(shared)
    exporter._connect(SetupContext(components.live_values))
    return exporter._mount(rules, make)
