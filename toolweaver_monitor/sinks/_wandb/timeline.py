"""Remember when each W&B run of the program was open, so that no call is written into another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core import clock, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._wandb import internals
from toolweaver_monitor.sinks._wandb.feed import RunFeed

KEPT_RUNS = 16
"""How many of the program's runs are remembered. A call that ended in an earlier one is in no run of the program."""


class ProgramRun:
    """A run of the program, the moments between which it was open, and the feed that writes into it.

    Args:
        raw: the `wandb.Run`.
        since_s: when it began, in seconds of the monotonic clock.
        feed: the writer of its rows.
    """

    def __init__(self, raw: Any, since_s: float, feed: RunFeed) -> None:
        self.raw = raw
        self.since_s = since_s
        self.until_s: float | None = None
        """When the program began to finish it; None while it is open."""
        self.feed = feed
        self.is_over = False
        """Whether it takes no more rows."""
        self.calls_in_totals = 0
        """How many calls its totals stood for when they were written."""


class Timeline:
    """The latest runs of the program, the last one perhaps still open.

    Args:
        find_run: returns the `wandb.run` of this moment, or None; may raise `SinkUnavailable`.
        open_feed: returns the writer into a run of the program.
    """

    def __init__(self, find_run: Callable[[], Any], open_feed: Callable[[Any], RunFeed]) -> None:
        self.runs: list[ProgramRun] = []
        self._find_run = find_run
        self._open_feed = open_feed
        self._lock = locks.new_lock("the program's W&B runs")
        self._created_s = self._seen_s = clock.monotonic_s()

    def current(self) -> ProgramRun | None:
        """Return the run of the program that is open now.

        Raises:
            SinkUnavailable: the run was started by the process that forked this one.
        """
        raw = self._find_run()
        with self._lock:
            now = clock.monotonic_s()
            last = self.runs[-1] if self.runs else None
            if last is not None and last.raw is raw:
                self._seen_s = now
                return last if last.until_s is None else None
            if last is not None and last.until_s is None:  # it ended without the hook: it was open when last seen
                last.until_s, last.is_over = self._seen_s, True
            if raw is None:
                return None
            began_s = now - max(0.0, time.time() - internals.started_at(raw))
            run = ProgramRun(raw, max(began_s, (last.until_s or 0.0) if last else began_s), self._open_feed(raw))
            self.runs = [*self.runs[1 - KEPT_RUNS :], run]
            self._seen_s = now
            return run

    def end(self, raw: Any) -> ProgramRun | None:
        """Record that the program begins to finish a run. Return None if no call goes there, or if it has ended."""
        try:
            self.current()
        except SinkUnavailable:
            return None
        with self._lock:
            run = self._open_run_of(raw)
            if run is not None:
                run.until_s = clock.monotonic_s()
            return run

    def _open_run_of(self, raw: Any) -> ProgramRun | None:
        return next((run for run in self.runs if run.raw is raw and run.until_s is None), None)

    def run_of(self, call: ToolCall) -> ProgramRun | None:
        """Return the run of the program that was open when a call ended, or None."""
        ended_s = call._opened_at + call.duration_s
        if ended_s < self._created_s:  # before the setup; the moment is unknown, so the call ends now
            ended_s = clock.monotonic_s()
        for run in reversed(self.runs):
            if ended_s >= run.since_s:
                return run if run.until_s is None or ended_s <= run.until_s else None
        return None
