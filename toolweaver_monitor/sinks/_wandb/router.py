"""Give each call to the run that was open when it ended: one of the program, else the run of the sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._wandb.feed import RunFeed, RunFinished
from toolweaver_monitor.sinks._wandb.run import OFFLINE_MODES, DiskFull, WandbRun
from toolweaver_monitor.sinks._wandb.timeline import KEPT_RUNS, ProgramRun, Timeline

LATE = (
    "{} ended in a W&B run that was finished before they could be written, and are in the sink's own run; "
    "call monitor.flush() before run.finish()"
)


class RunRouter:
    """The feeds of all runs that get calls.

    `merge` may be called from any thread, `route` only by the sink runner, everything else only on the thread that may
    wait for W&B.

    Args:
        open_own: starts the sink's run; may raise `SinkUnavailable`.
        open_program: returns what is needed to write into a run of the program, given its `wandb.Run`.
        find_run: returns the `wandb.run` of this moment, or None; may raise `SinkUnavailable`.
        budgets: returns the status of every budget, for the summary of a run that the program finishes.
    """

    def __init__(
        self,
        open_own: Callable[[], WandbRun],
        open_program: Callable[[Any], WandbRun],
        find_run: Callable[[], Any],
        budgets: Callable[[], Sequence[Any]] = tuple,
    ) -> None:
        self.own = RunFeed(open_own)
        self.feeds = [self.own]
        self.timeline = Timeline(find_run, lambda raw: self._add_feed(lambda: open_program(raw)))
        self.late_calls = 0
        """Calls that were written into the sink's run, since the program had finished theirs."""
        self._budgets = budgets
        self._batch: Sequence[ToolCall] | None = None
        self._parts: deque[tuple[ProgramRun | None, Sequence[ToolCall]]] = deque()
        self._latest = self.own
        self._forgotten = (0, 0, 0)

    # --- what it has done -------------------------------------------------------------------------------------------

    @property
    def latest(self) -> WandbRun | None:
        """The run that got the latest rows; while the sink's run cannot start, the one before it."""
        return self._latest.run or next((feed.run for feed in reversed(self.feeds) if feed.run is not None), None)

    def counts(self) -> tuple[int, int, int]:
        """Return how many rows were written, for how many calls, and how many of these were merged."""
        rows, calls, merged = self._forgotten
        for feed in self.feeds:
            rows, calls, merged = rows + feed.rows, calls + feed.calls, merged + feed.merged_calls
        return rows, calls, merged

    def offline_mode(self) -> str | None:
        """Return the mode of the program's latest run if that one is kept on this machine, else None."""
        latest = self.timeline.runs[-1].raw if self.timeline.runs else None
        mode = getattr(getattr(latest, "settings", None), "mode", None)
        return mode if mode in OFFLINE_MODES else None

    def note(self) -> str:
        """Return what `health()` shows about the runs."""
        late = "1 call" if self.late_calls == 1 else f"{self.late_calls:,} calls"
        notes = [LATE.format(late)] if self.late_calls else []
        run = self.latest
        return "; ".join([*([run.note] if run is not None and run.note else []), *notes])

    def abandon(self) -> None:
        """Have what still runs leave the runs alone."""
        for feed in self.feeds:
            feed.is_abandoned = True

    # --- calls ------------------------------------------------------------------------------------------------------

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Add calls to the statistics of their run's tools, until the next write."""
        with suppress(SinkUnavailable):  # which the next write raises
            self.timeline.current()
        for run, part in self._split(calls):
            (self.own if run is None else run.feed).merge(part)

    def has_merged(self) -> bool:
        """Return whether merged calls wait for a write."""
        return any(feed.has_merged() for feed in self.feeds)

    def route(self, calls: Sequence[ToolCall]) -> None:
        """Assign a batch to runs. A batch that is tried again keeps what it was assigned to.

        Raises:
            SinkUnavailable: the program's run was started by the process that forked this one.
        """
        self.timeline.current()
        if calls and calls is not self._batch:
            self._batch = calls
            self._parts = deque(self._split(calls))

    def may_start_own(self) -> bool:
        """Return whether calls that end now make the sink's run start."""
        runs = self.timeline.runs
        return self.own.run is None and not (runs and runs[-1].until_s is None)

    def needs_own(self) -> bool:
        """Return whether the next write has to start the sink's run."""
        is_wanted = self.own.has_merged() or any(run is None or run.is_over for run, _ in self._parts)
        return is_wanted and self.own.run is None

    def write(self, calls: Sequence[ToolCall], backlog: int = 0) -> None:
        """Write what was merged, then this batch. If the batch failed before, resume at the row that failed.

        Raises:
            ConnectionError: a run takes no more rows.
            DiskFull: the disk has no room for them; no row is lost.
        """
        self.route(calls)
        for known in self.timeline.runs:
            if known.feed.has_merged():
                self._write_into(known, (), backlog)
        while calls and self._parts:
            run, part = self._parts[0]
            if run is None:
                self._latest = self.own
                self.own.write(part, backlog)
            elif rest := self._write_into(run, part, backlog):
                self._parts.append((None, rest))
            self._parts.popleft()
        if self.own.has_merged():
            self.own.write(())

    def finish_ended(self) -> None:
        """Write the totals and the latest errors into the runs that the program is about to finish."""
        for run in self.timeline.runs:
            feed = run.feed
            has_news = feed.calls != run.calls_in_totals or feed.given_summary is not None
            if run.until_s is not None and not run.is_over and has_news:
                feed.finish(feed.given_summary, self._budgets())
                run.calls_in_totals, feed.given_summary = feed.calls, None

    def set_summary(self, summary: Mapping[str, Any]) -> None:
        """Have the next write put a summary into the summary of the run that is open now. Never waits."""
        with suppress(SinkUnavailable):  # which the next write raises
            self._feed_now().given_summary = summary

    def write_given_summary(self) -> None:
        """Write what was given for the run that is open now."""
        feed = self._feed_now()
        if feed.given_summary is not None and (feed.run is not None if feed is self.own else True):
            feed.write_summary(feed.given_summary)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Put a summary into the summary of the run that is open now."""
        self._feed_now().write_summary(summary)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Write what is left, the summary and the latest errors, and finish the sink's run.

        The summary is that of all calls: a run that did not get all of them gets its own totals instead.
        """
        with suppress(DiskFull):
            self.write(())
        now = self._feed_now()
        used = [feed for feed in self.feeds if feed.calls or feed.run is not None or feed.has_merged()]
        is_whole = len(used) <= 1 and not any(self._forgotten)
        for feed in used or [now]:
            if feed in (self.own, now):
                feed.finish(summary if is_whole else None, self._budgets())

    def _feed_now(self) -> RunFeed:
        run = self.timeline.current()
        return self.own if run is None else run.feed

    def _split(self, calls: Sequence[ToolCall]) -> list[tuple[ProgramRun | None, list[ToolCall]]]:
        """Return the calls of each run, those for the sink's run last, since it may have to be started."""
        parts: dict[ProgramRun | None, list[ToolCall]] = {}
        for call in calls:
            parts.setdefault(self.timeline.run_of(call), []).append(call)
        return sorted(parts.items(), key=lambda part: part[0] is None)

    def _write_into(self, run: ProgramRun, part: Sequence[ToolCall], backlog: int) -> Sequence[ToolCall]:
        """Write into a run of the program. Return the calls that the sink's run has to take since this one is over."""
        if not run.is_over:
            try:
                run.feed.write(part, backlog)
            except RunFinished:
                run.is_over = True
            else:
                self._latest = run.feed
                return ()
        has_begun = run.feed.has_begun(part)
        left = self.own.take_over(run.feed)
        rest = () if has_begun else part
        self.late_calls += left + len(rest)
        return rest

    def _add_feed(self, open_run: Callable[[], WandbRun]) -> RunFeed:
        feed = RunFeed(open_run)
        feeds = [*self.feeds, feed]
        if len(feeds) > KEPT_RUNS + 1:  # as many as the timeline remembers, and the sink's own
            forgotten = feeds.pop(1)
            rows, calls, merged = self._forgotten
            self._forgotten = rows + forgotten.rows, calls + forgotten.calls, merged + forgotten.merged_calls
        self.feeds = feeds
        return feed
