"""What does a setup hold together? Its figures, sinks, budgets and prices, for whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolweaver_monitor._budget import Ledger
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._bus.sink_runner import SinkRunner
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.sanitize import scrubbed_tags
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector


class Components:
    """What one `setup()` has put together; a `Monitor` is this and the way to end it."""

    def __init__(
        self,
        metrics: MetricsCollector,
        costs: CostTracker,
        errors: ErrorTracker,
        sinks: Sequence[Any] = (),
        runners: Sequence[SinkRunner] = (),
        ledger: Ledger | None = None,
        prices: PriceBook | None = None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.metrics, self.costs, self.errors = metrics, costs, errors
        self.sinks = tuple(sinks)
        self.faults: dict[str, str] = {}
        """What the environment refused at setup, by sink, each with its cure."""
        self.closed = False
        self.runners = tuple(runners)
        self.ledger = ledger
        self.prices = prices
        self._names = dict(names or {})
        """What each sink was called at setup: its own word, asked again, may change, or raise."""

    def named_sinks(self) -> list[tuple[str, Any]]:
        """The sinks, each with the name it has in this setup."""
        return [(self._names[id(sink)], sink) for sink in self.sinks]

    def summary(self) -> dict[str, Any]:
        """All-time figures over every tool; see `MetricsCollector.summary`."""
        return self.metrics.summary()

    def active(self) -> list[dict[str, Any]]:
        """The calls open right now, the longest-running first: tool_name, running_s (seconds), call_id, tags."""
        now = clock.monotonic_s()
        calls = sorted(bus.open_calls(), key=lambda call: call._opened_at)
        return [
            {
                "tool_name": call.tool_name,
                "running_s": max(0.0, now - call._opened_at) if call._opened_at else 0.0,
                "call_id": call.call_id,
                "tags": scrubbed_tags(call.tags, scrub),
            }
            for call in calls
        ]

    def figures(self) -> dict[str, Any]:
        """What a scrape shows beside the tallies: calls open now, budgets, and each sink's books."""
        return {
            "active": len(bus.open_calls()),
            "budgets": self.ledger.status() if self.ledger is not None else (),
            "books": {runner.name: runner.books().told() for runner in self.runners},
        }
