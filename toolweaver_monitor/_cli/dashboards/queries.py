"""Expressions of PromQL for dashboards and rules, made from the catalogue of metrics."""

from __future__ import annotations

from typing import NamedTuple

from toolweaver_monitor.sinks._prometheus.catalog import ALWAYS_SHOWN, Metric

FAILED = 'status=~"failure|timeout"'
RATED = f'status=~"{"|".join(ALWAYS_SHOWN)}"'


class Queries(NamedTuple):
    """What all expressions of one dashboard or file of rules have in common."""

    where: str = ""
    """Matchers that stand in every selector, such as `job=~"$job"`."""
    native: bool = False
    """Whether Prometheus keeps native histograms, and no classic buckets."""

    def series(self, metric: Metric, *matchers: str, suffix: str = "") -> str:
        """Return a selector."""
        inside = ",".join(part for part in (self.where, *matchers) if part)
        return f"{metric.name}{suffix}{{{inside}}}" if inside else f"{metric.name}{suffix}"

    def rate(self, metric: Metric, window: str, *matchers: str, by: str = "") -> str:
        """Return growth a second, summed."""
        return f"{_sum(by)} (rate({self.series(metric, *matchers)}[{window}]))"

    def increase(self, metric: Metric, window: str, *matchers: str, by: str = "", offset: str = "") -> str:
        """Return growth over a window, summed."""
        shifted = f" offset {offset}" if offset else ""
        return f"{_sum(by)} (increase({self.series(metric, *matchers)}[{window}]{shifted}))"

    def has_grown(self, metric: Metric, window: str, *matchers: str, by: str) -> str:
        """Return growth over a window above 0, or the value of a series that has begun within it.

        `increase()` does not count the first value of a series, which is what a rare event leaves.
        """
        series = self.series(metric, *matchers)
        begun = f"{_sum(by)} ({series} unless {series} offset {window})"
        return f"{self.increase(metric, window, *matchers, by=by)} > 0\nor {begun} > 0"

    def share(self, metric: Metric, window: str, part: str, whole: str, *matchers: str, by: str = "") -> str:
        """Return the share of one kind of calls in another."""
        top = self.rate(metric, window, part, *matchers, by=by)
        return f"{top} / {self.rate(metric, window, whole, *matchers, by=by)}"

    def quantile(self, share: float, metric: Metric, window: str, *matchers: str, by: str = "tool_name") -> str:
        """Return a quantile of a histogram, by either form."""
        if self.native:
            return f"histogram_quantile({share}, {_sum(by)} (rate({self.series(metric, *matchers)}[{window}])))"
        selector = self.series(metric, *matchers, suffix="_bucket")
        return f"histogram_quantile({share}, {_sum(f'{by}, le' if by else 'le')} (rate({selector}[{window}])))"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
