"""A custom collector that shows the statistics in an application's `prometheus_client` registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric as ClientMetric
from prometheus_client.registry import Collector as ClientCollector

from toolweaver_monitor.sinks._prometheus import catalog, exposition


class Collector(ClientCollector):
    """A custom collector that keeps nothing per call or per tool: it reads the statistics at each scrape."""

    def __init__(self, take_snapshot: Callable[[], exposition.Snapshot]) -> None:
        self._take_snapshot = take_snapshot

    def describe(self) -> Iterator[ClientMetric]:
        """Return every metric without samples, so that a name clash is reported at registration, not at a scrape."""
        for metric in catalog.METRICS:
            yield _make_family(metric)

    def collect(self) -> Iterator[ClientMetric]:
        """Return every metric that has samples right now."""
        for metric, samples in exposition.read_metrics(self._take_snapshot()):
            family = _make_family(metric)
            for suffix, values, value in samples:
                labels = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
                name = metric.name + suffix
                family.add_sample(name, dict(zip(labels, values, strict=True)), value)
            if samples:
                yield family


def _make_family(metric: catalog.Metric) -> ClientMetric:
    return ClientMetric(
        metric.name.removesuffix("_total") if metric.type == "counter" else metric.name, metric.help, metric.type
    )
