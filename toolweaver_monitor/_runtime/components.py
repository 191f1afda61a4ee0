"""The parts that one setup holds together: statistics, sinks, budgets and prices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from toolweaver_monitor._budget import BudgetStatus, Ledger
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._bus.sink_runner import SinkRunner
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.sanitize import scrub_tags
from toolweaver_monitor._runtime.shared_budgets import SharedBudgets
from toolweaver_monitor._text.names import exposed_tools
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector

if TYPE_CHECKING:
    from toolweaver_monitor._runtime.shared_workers import SharedWorkers

POLL_S = 0.002
"""Seconds between two looks at whether the sinks have written everything."""


class Fault(NamedTuple):
    """An error of the environment when a sink was started, as safe text."""

    text: str
    hint: str
    """What to do about it; the text, if the error has no hint of its own."""


class Components(msgspec.Struct, kw_only=True, eq=False):
    """The parts that one `setup()` has put together; health, report and `Monitor` read them here."""

    metrics: MetricsCollector
    costs: CostTracker
    errors: ErrorTracker
    sinks: Mapping[str, Any]
    """By the name that each had at setup: a sink's own `name` may change later, or raise."""
    runners: tuple[SinkRunner, ...]
    """One for each sink that is not in memory."""
    ledger: Ledger | None
    prices: PriceBook
    shared: SharedBudgets | None = None
    """The budgets whose sums other processes share."""
    workers: SharedWorkers | None = None
    """This process among the workers that are joined."""
    faults: dict[str, Fault] = {}
    """What the environment refused at setup, by the sink's name."""
    closed: bool = False
    started_at: float = msgspec.field(default_factory=time.time)
    """Unix seconds of the setup."""

    def open_calls(self) -> list[dict[str, Any]]:
        """Return the calls open right now, the longest-running first; see `Monitor.active`."""
        bus.close_recorded()
        now = clock.monotonic_s()
        return [
            {
                "tool_name": call.tool_name,
                "running_s": max(0.0, now - call._opened_at) if call._opened_at else 0.0,
                "call_id": call.call_id,
                "tags": scrub_tags(call.tags, scrub),
            }
            for call in sorted(bus.open_calls(), key=lambda call: call._opened_at)
        ]

    def budgets(self) -> list[BudgetStatus]:
        """Return the status of every budget."""
        return self.ledger.status() if self.ledger is not None else []

    def flush(self, runners: Sequence[SinkRunner], timeout_s: float) -> bool:
        """Write every call that ended before now to the sinks of some runners; see `Monitor.flush`."""
        deadline = time.monotonic() + timeout_s
        before = [runner.error_count + runner.stats().lost for runner in runners]
        done = bus.drain(timeout_s)
        tickets = [(runner, runner.request_flush(deadline)) for runner in runners]
        while not all(runner.is_flushed(ticket) for runner, ticket in tickets):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        after = [runner.error_count + runner.stats().lost for runner in runners]
        return done and before == after and all(runner.is_writable() for runner in runners)

    def hand_over(self, successor: Components) -> None:
        """Leave out of these parts, which are about to end, all that the next setup goes on with."""
        kept = {id(sink) for sink in successor.sinks.values()}
        self.runners = tuple(runner for runner in self.runners if id(runner.sink) not in kept)
        if self.workers is successor.workers:
            self.workers = None
        self.sinks = {name: sink for name, sink in self.sinks.items() if id(sink) not in kept}

    def flush_sink(self, sink: Any, timeout_s: float) -> bool:
        """Write every call that ended before now to one sink."""
        return self.flush([runner for runner in self.runners if runner.sink is sink], timeout_s)

    def live_values(self) -> dict[str, Any]:
        """Return what a scrape shows beside the tool statistics.

        Returns:
            `active`: open calls by tool; `declared`: the tools that are exposed before their first call, with whether a
            cost is declared; `budgets`: the status of each; `sinks`: the counts of each.
        """
        bus.close_recorded()
        return {
            "active": Counter(call.tool_name for call in bus.open_calls()),
            "declared": {**exposed_tools, **dict.fromkeys(self.prices.tools, True)} if bus.policy.on else {},
            "budgets": self.budgets(),
            "sinks": {runner.name: runner.stats().as_dict() for runner in self.runners},
        }
