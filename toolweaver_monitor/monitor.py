"""What does a user hold after `setup()`? A `Monitor`: the figures, the state of every sink, and the way to end it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor import clock
from toolweaver_monitor.budget import Ledger
from toolweaver_monitor.bus.bus import bus, opened
from toolweaver_monitor.bus.runner import Runner
from toolweaver_monitor.call import Invalid, scrubbed_tags
from toolweaver_monitor.redact import scrub
from toolweaver_monitor.sinks.costs import CostTracker
from toolweaver_monitor.sinks.errors import ErrorTracker
from toolweaver_monitor.sinks.metrics import MetricsCollector
from toolweaver_monitor.sinks.view import View
from toolweaver_monitor.usage import PriceBook

POLL_S = 0.002


class Monitor:
    """Made by `setup()`; ends with `shutdown()`, with the process, or as a sync or async context manager.

    Attributes:
        metrics: the in-memory metrics.
        costs: the in-memory costs.
        errors: the in-memory errors.
        sinks: the sinks given to `setup()`, the user's own objects.
    """

    def __init__(
        self,
        metrics: MetricsCollector,
        costs: CostTracker,
        errors: ErrorTracker,
        sinks: Sequence[Any] = (),
        runners: Sequence[Runner] = (),
        ledger: Ledger | None = None,
        prices: PriceBook | None = None,
        faults: dict[str, str] | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.metrics, self.costs, self.errors = metrics, costs, errors
        self.sinks = tuple(sinks)
        self.faults = faults or {}
        """What the environment refused at setup, by sink, each with its cure."""
        self.closed = False
        self.runners = tuple(runners)
        self.ledger = ledger
        self.prices = prices
        self._release = release

    # --- reading --------------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """All-time figures over every tool; see `MetricsCollector.summary`."""
        return self.metrics.summary()

    def report(self) -> str:
        """Print the summary, costs, errors and budgets; gives the text."""
        text = self.text()
        print(text)
        return text

    def text(self) -> str:
        """What `report` prints."""
        from toolweaver_monitor.monitor_text import report_text

        return report_text(self)

    def active(self) -> list[dict[str, Any]]:
        """The calls open right now, the longest-running first: tool_name, running_s (seconds), call_id, tags."""
        now = clock.monotonic_s()
        calls = sorted((call for call in list(opened) if call.outcome == "open"), key=lambda call: call.opened_at)
        return [
            {
                "tool_name": call.tool_name,
                "running_s": max(0.0, now - call.opened_at) if call.opened_at else 0.0,
                "call_id": call.call_id,
                "tags": scrubbed_tags(call.tags, scrub),
            }
            for call in calls
        ]

    def health(self) -> dict[str, Any]:
        """Whether all is well, and if not, what to do. JSON-able.

        Returns:
            - `ok`: whether there is no problem.
            - `problems`: what is wrong, one sentence each that ends with the cure.
            - `notes`: what is no fault and yet worth knowing: unknown costs, old prices, figures that made no sense.
            - `closed`, `watching`: whether this setup has ended, and whether calls are watched.
            - `waiting`: calls that have ended and are not counted yet; `active`: calls open right now.
            - `dropped`: calls that did not reach a sink, over all sinks, by reason.
            - `sinks`: per sink its `state` (`ok`, `degraded`, `breaker_open`, `unavailable`), its books (`emitted ==
              delivered + failed + dropped + queued`, with `failed_by` and `dropped_by`), `last_error`, `cure`, and
              what the sink says of itself.
            - `budgets`: each budget's limit, spent, remaining and rejections.
            - `prices`: `ready`, `sources`, `age_days` and `cure`; None where nothing is priced.
            - `invalid`: what running calls were given that could not be counted, in this process so far: `figures`
              (negative, NaN or no numbers), `late` (said of a call that had closed), `reentrant` (calls made by a
              sink), `extractors` (functions of yours that raised), `mishaps` (errors of this library's own).
            - `faults`: what the environment refused at setup, by sink.
        """
        from toolweaver_monitor.health import health

        return health(self)

    def figures(self) -> dict[str, Any]:
        """What a scrape shows beside the tallies: calls open now, budgets, and each sink's books."""
        return {
            "active": sum(call.outcome == "open" for call in list(opened)),
            "budgets": self.ledger.status() if self.ledger is not None else (),
            "books": {runner.name: runner.books() for runner in self.runners},
        }

    # --- ending ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Have every sink write out what ended before now.

        Args:
            timeout: seconds to wait at most.

        Returns:
            True only if everything was written.
        """
        deadline = time.monotonic() + timeout
        done = bus.drain(timeout)
        tickets = [(runner, runner.ask_flush()) for runner in self.runners]
        while not all(runner.flushed(ticket) for runner, ticket in tickets):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return done and all(runner.state != "unavailable" for runner in self.runners)

    async def aflush(self, timeout: float = 2.0) -> bool:
        """As `flush`, without holding up the event loop."""
        import asyncio  # 16 to 43 ms, and most programs that get here have it

        return await asyncio.get_running_loop().run_in_executor(None, self.flush, timeout)

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Write out what can be within `timeout` seconds, close every sink, and stop watching. Twice is fine.

        Returns:
            True only if every sink took everything and closed in time.
        """
        if self.closed:
            return True
        self.closed = True
        deadline = time.monotonic() + timeout
        done = bus.drain(timeout)
        self._release()
        for sink in self.sinks:
            log_summary = getattr(sink, "log_summary", None)
            if callable(log_summary):
                try:
                    log_summary(self.metrics.summary())
                except Exception:  # noqa: BLE001 - a sink's trouble is the sink's
                    Invalid.mishaps += 1
        for runner in self.runners:
            runner.ask_close(deadline)
        while not all(runner.closed for runner in self.runners) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for sink in self.sinks:
            if isinstance(sink, View):
                sink.close()
        lost = sum(runner.abandon() for runner in self.runners)
        if lost:
            names = ", ".join(runner.name for runner in self.runners if runner.dropped["shutdown"])
            sys.stderr.write(f"toolweaver_monitor: {lost} calls were not delivered in time to: {names}\n")
        return done and not lost and all(runner.closed for runner in self.runners)

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down."""
        self.shutdown()

    async def __aenter__(self) -> Self:
        """The monitor itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down without holding up the event loop."""
        import asyncio  # 16 to 43 ms, and most programs that get here have it

        await asyncio.get_running_loop().run_in_executor(None, self.shutdown)
