"""A custom collector that shows the statistics in an application's `prometheus_client` registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric as ClientMetric
from prometheus_client.registry import Collector as ClientCollector

from toolweaver_monitor.sinks._prometheus import catalog, families

SUFFIXES = {"counter": ("", "_total"), "gauge": ("",), "histogram": ("", "_bucket", "_count", "_sum")}


class Collector(ClientCollector):
    """A custom collector that keeps nothing per call or per tool: it reads the statistics at each scrape.

    It claims no names, so that a program which registers one of them later never gets an error for it. A name that is
    registered is that collector's, and the metric is left out here.
    """

    def __init__(self, take_snapshot: Callable[[], families.Snapshot], registry: Any) -> None:
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
            if any(metric.family + suffix in claimed for suffix in SUFFIXES[metric.type])
        ]

    def collect(self) -> Iterator[ClientMetric]:
        """Return every metric that has samples right now, unless its name is another collector's."""
        left_out = self.left_out()
        for metric, series, _ in families.read_families(self._take_snapshot()):
            if metric.name in left_out:
                continue
            family = ClientMetric(metric.family, metric.help, metric.type, metric.unit)
            for values, value, _ in series:
                labels = dict(zip(metric.labels, values, strict=True))
                if isinstance(value, families.HistogramValue):
                    _add_histogram(family, labels, value)
                else:
                    family.add_sample(metric.name, labels, value)
            yield family


def _add_histogram(family: ClientMetric, labels: dict[str, str], value: families.HistogramValue) -> None:
    for bound, below in zip((*map(repr, value.bounds), "+Inf"), (*value.at_most, value.total), strict=True):
        family.add_sample(f"{family.name}_bucket", labels | {"le": bound}, below)
    family.add_sample(f"{family.name}_count", labels, value.total)
    family.add_sample(f"{family.name}_sum", labels, value.sum_s)
