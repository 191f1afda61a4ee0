"""The end of a setup: what waits is written, every sink closed, and what was lost is said.

A signal handler that ends the process may run between any two lines, and must finish what has begun here. So every step
can be repeated, and no step assumes that an earlier one has been completed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._bus import deferred_log, sigterm
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._core.timeouts import validate_timeout
from toolweaver_monitor._runtime.components import POLL_S, Components
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor.sinks._memory.view import InMemorySink


class Ending:
    """The end of one setup.

    Args:
        components: its parts.
        release: stops the monitoring of calls by this setup.
    """

    def __init__(self, components: Components, release: Callable[[], None]) -> None:
        self._components, self._release = components, release
        self._summary_logged = False
        self.result: bool | None = None
        """Whether every sink accepted everything and closed in time; None before the end."""

    def timeout_s(self) -> float:
        """Return how long the end of the program may wait for the sinks, in seconds."""
        return sigterm.EXIT_TIMEOUT_S + max(map(_grace_s, self._components.sinks.values()), default=0.0)

    def run(self, timeout_s: float) -> bool:
        """Write what can be written in time, close every sink, stop monitoring, and return the result."""
        parts = self._components
        parts.closed = True
        deadline = time.monotonic() + timeout_s
        done = bus.drain(timeout_s / 2)
        self._release()
        self._log_summary()
        if parts.shared is not None:
            _quietly(parts.shared.close)
        for runner in parts.runners:
            runner.request_close(deadline)
        for sink in parts.sinks.values():
            if isinstance(sink, InMemorySink):
                _quietly(sink.close)
        if parts.workers is not None:  # after the exporter, which must not answer without the others' counts
            _quietly(parts.workers.close)
        while not all(runner.closed or runner.worker.is_current() for runner in parts.runners):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        closed = all(runner.closed and not runner.error_count for runner in parts.runners)
        for runner in parts.runners:
            runner.abandon()
        self.result = done and closed and not any(runner.stats().lost for runner in parts.runners)
        return self.result

    def _log_summary(self) -> None:
        """Give the summary to every sink that logs one, once."""
        if self._summary_logged:
            return
        self._summary_logged = True
        parts = self._components
        budgets = {"budgets": parts.budgets()} if parts.ledger is not None else {}
        for sink in parts.sinks.values():
            log_summary = getattr(sink, "log_summary", None)
            if callable(log_summary):
                _quietly(log_summary, {**parts.metrics.summary(), **budgets})

    def print_losses(self) -> None:
        """Print one line on what was not delivered, and why, for those who read the output only at the end."""
        lost = {runner.name: books for runner in self._components.runners if (books := runner.stats()).lost}
        if not lost:
            return
        parts = []
        for name, books in lost.items():
            reasons = ", ".join(f"{count:,} {why}" for why, count in {**books.dropped_by, **books.failed_by}.items())
            parts.append(f"{name} {books.lost:,} ({reasons})")
        total = sum(books.lost for books in lost.values())
        verb = "was" if total == 1 else "were"
        _quietly(
            _to_stderr, f"toolweaver_monitor: {pluralize(total, 'call')} {verb} not delivered: {'; '.join(parts)}\n"
        )


def _grace_s(sink: Any) -> float:
    """Return how much longer than others a sink may take at the end, in seconds; 0.0 if it gives no valid time."""
    try:
        return validate_timeout(getattr(sink, "grace_s", 0.0))
    except Exception:  # noqa: BLE001 - a broken sink must not keep the others from being closed in time
        return 0.0


def _quietly(step: Callable[..., object], *args: object) -> None:
    """Run a step of the end; its failure is counted and does not keep the next steps from running."""
    try:
        step(*args)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - whatever a sink raises
        Diagnostics.internal_errors += 1


def _to_stderr(text: str) -> None:
    if deferred_log.stderr_is_open():
        sys.stderr.write(text)
