"""How do our figures show in a `prometheus_client` registry of the application's?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric as ClientMetric
from prometheus_client.registry import Collector as ClientCollector

from toolweaver_monitor.sinks._prometheus import catalog, exposition


class Collector(ClientCollector):
    """A custom collector over the tallies: nothing is kept per call or per tool on its side."""

    def __init__(self, figures: Callable[[], exposition.Snapshot]) -> None:
        self._figures = figures

    def describe(self) -> Iterator[ClientMetric]:
        """Our names, so that a clash is told at registration and not at the first scrape."""
        for metric in catalog.METRICS:
            yield _empty(metric)

    def collect(self) -> Iterator[ClientMetric]:
        """Everything that is exposed right now."""
        for metric, samples in exposition.families(self._figures()):
            family = _empty(metric)
            for suffix, values, value in samples:
                labels = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
                name = metric.name + suffix
                family.add_sample(name, dict(zip(labels, values, strict=True)), value)
            if samples:
                yield family


def _empty(metric: catalog.Metric) -> ClientMetric:
    return ClientMetric(
        metric.name.removesuffix("_total") if metric.type == "counter" else metric.name, metric.help, metric.type
    )
