"""A custom collector that shows the statistics in an application's `prometheus_client` registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric as ClientMetric
from prometheus_client.registry import Collector as ClientCollector

from toolweaver_monitor.sinks._prometheus import catalog, exposition

SUFFIXES = {"counter": ("", "_total"), "gauge": ("",), "histogram": ("", "_bucket", "_count", "_sum")}


class Collector(ClientCollector):
    """A custom collector that keeps nothing per call or per tool: it reads the statistics at each scrape.

    It claims no names, so that a program which registers one of them later never gets an error for it. A name that is
    registered is that collector's, and the metric is left out here.
    """

    def __init__(self, take_snapshot: Callable[[], exposition.Snapshot], registry: Any) -> None:
        self._take_snapshot = take_snapshot
        self._registry = registry

    def describe(self) -> Iterator[ClientMetric]:
        """Return nothing. Without this method a registry with `auto_describe` would take the names from `collect()`."""
        return iter(())

    def has_sibling(self) -> bool:
        """Return True if the registry has another of these, which may be that of another copy of the library."""
        own = (Collector.__module__, Collector.__qualname__)
        collectors = list(getattr(self._registry, "_collector_to_names", ()))  # no public method tells
        return any((type(each).__module__, type(each).__qualname__) == own for each in collectors if each is not self)

    def left_out(self) -> list[str]:
        """Return the names of the metrics that another collector of the registry has registered."""
        claimed = getattr(self._registry, "_names_to_collectors", ())  # no public method tells
        return [
            metric.name
            for metric in catalog.METRICS
            if any(_family_name(metric) + suffix in claimed for suffix in SUFFIXES[metric.type])
        ]

    def collect(self) -> Iterator[ClientMetric]:
        """Return every metric that has samples right now, unless its name is another collector's."""
        left_out = self.left_out()
        for metric, samples in exposition.read_metrics(self._take_snapshot()):
            if metric.name in left_out:
                continue
            family = _make_family(metric)
            for suffix, values, value in samples:
                labels = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
                name = metric.name + suffix
                family.add_sample(name, dict(zip(labels, values, strict=True)), value)
            if samples:
                yield family


def _make_family(metric: catalog.Metric) -> ClientMetric:
    return ClientMetric(_family_name(metric), metric.help, metric.type)


def _family_name(metric: catalog.Metric) -> str:
    return metric.name.removesuffix("_total") if metric.type == "counter" else metric.name
