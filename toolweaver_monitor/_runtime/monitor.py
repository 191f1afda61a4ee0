"""What does `setup()` return? A `Monitor`: the figures, the state of every sink, and the way to end it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from toolweaver_monitor._bus import deferred_log, process_exit
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._core.timeouts import run_off_loop, validate_timeout
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._runtime.health import health
from toolweaver_monitor._runtime.report import report_text
from toolweaver_monitor._text.display import SHOWN, counted
from toolweaver_monitor.sinks._memory.view import View

POLL_S = 0.002


class Monitor(Components):
    """Made by `setup()`; ends with `shutdown()`, with the process, or as a sync or async context manager.

    Attributes:
        metrics: the in-memory metrics.
        costs: the in-memory costs.
        errors: the in-memory errors.
        sinks: the sinks given to `setup()`, the user's own objects.
    """

    def __init__(self, *holdings: Any, release: Callable[[Monitor], None] = lambda _: None) -> None:
        super().__init__(*holdings)
        self._release = release
        self._ended: bool | None = None
        self._told = False

    def __repr__(self) -> str:
        sinks = ", ".join(name for name, _ in self.named_sinks()) or "memory only"
        return f"<Monitor: {sinks}{', closed' if self.closed else ''}>"

    # --- reading --------------------------------------------------------------------------------------------------

    def report(self, limit: int | None = SHOWN) -> str:
        """Print the summary, costs, errors and budgets.

        Args:
            limit: how many tools, operations and budgets to show in each part: the busiest, the most expensive, those
                with least left; None for all. Totals are over all in any case.

        Returns:
            What is printed.

        Raises:
            ConfigurationError: `limit` is neither None nor a whole number from 1 up.
        """
        text = self.text(limit)
        print(text)
        return text

    def text(self, limit: int | None = SHOWN) -> str:
        """What `report` prints."""
        return report_text(self, limit)

    def health(self) -> dict[str, Any]:
        """Whether all is well, and if not, what to do. JSON-able.

        Returns:
            - `ok`: whether there is no problem.
            - `problems`: what is wrong, one sentence each that ends with the cure.
            - `notes`: what is not a fault but worth knowing: unknown costs, old prices, figures that made no sense,
              tags that may have been meant as figures, names that `instrument()` was given of modules that were never
              imported.
            - `closed`, `watching`: whether this setup has ended, and whether calls are watched.
            - `waiting`: calls that have ended but are not counted yet; `active`: calls open right now.
            - `waiting_for_import`: dotted names that `instrument()` was given and whose modules were not imported yet.
            - `dropped`: calls that did not reach a sink, over all sinks, by reason.
            - `sinks`: each sink's `state` (`ok`, `degraded`, `breaker_open`, `unavailable`), its counts (`emitted ==
              delivered + failed + dropped + queued`, with `failed_by` and `dropped_by`), `last_error`, `cure`, and
              what the sink says about itself.
            - `budgets`: each budget's limit, spent, remaining and rejections.
            - `prices`: `ready`, `sources`, `age_days` and `cure`; None where nothing is priced.
            - `invalid`: what running calls were given that could not be counted, in this process so far:
              `invalid_values` (negative, NaN or not numbers), `late_records` (recorded on a closed call),
              `suppressed_calls` (calls made by a sink), `extractor_errors` (functions of the user that raised),
              `internal_errors` (errors of this library itself).
            - `faults`: what failed in the environment at setup, by sink.
        """
        return health(self)

    # --- ending ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Have every sink write out what ended before now.

        Args:
            timeout: seconds to wait at most; 0 or less: not at all; `float("inf")`: as long as it takes.

        Returns:
            True only if everything was written.

        Raises:
            ConfigurationError: `timeout` is not a number.
        """
        timeout = validate_timeout(timeout)
        deadline = time.monotonic() + timeout
        before = [runner.troubles + runner.books().lost for runner in self.runners]
        done = bus.drain(timeout)
        tickets = [(runner, runner.ask_flush(deadline)) for runner in self.runners]
        while not all(runner.flushed(ticket) for runner, ticket in tickets):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        after = [runner.troubles + runner.books().lost for runner in self.runners]
        return done and before == after and all(runner.writes() for runner in self.runners)

    async def aflush(self, timeout: float = 2.0) -> bool:
        """As `flush`, without holding up the event loop."""
        validate_timeout(timeout)
        return await run_off_loop(self.flush, timeout)

    def expedite(self) -> None:
        """Have every call delivered at once from now on, since the process may end without asking again."""
        bus.expedite()

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Write out what can be written in time, close every sink, and stop watching. Calling it twice is fine.

        Args:
            timeout: seconds to wait at most; 0 or less: not at all; `float("inf")`: as long as it takes.

        Returns:
            True only if every sink accepted everything and closed in time.

        Raises:
            ConfigurationError: `timeout` is not a number; then nothing has been ended.
        """
        timeout = validate_timeout(timeout)
        if self._ended is not None:
            return self._ended
        # A signal handler that ends the process may come in at any line, and has to finish what this has begun: so
        # every step can be taken again, and takes nothing for done that is not.
        self.closed = True
        deadline = time.monotonic() + timeout
        done = bus.drain(timeout / 2)
        self._release(self)
        self._tell_summary()
        for runner in self.runners:
            runner.ask_close(deadline)
        for sink in self.sinks:
            if isinstance(sink, View):
                _quietly(sink.close)
        while not all(runner.closed or runner.worker.is_current() for runner in self.runners):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        closed = all(runner.closed and not runner.troubles for runner in self.runners)
        for runner in self.runners:
            runner.abandon()
        self._ended = done and closed and not any(runner.books().lost for runner in self.runners)
        process_exit.unwatch(self)
        self._tell_losses()
        return self._ended

    def exit_timeout_s(self) -> float:
        """How long the end of a program may wait for the sinks, in seconds."""
        return process_exit.EXIT_S + max((_grace_s(sink) for sink in self.sinks), default=0.0)

    def replaced_by(self, successor: Monitor) -> None:
        """End all of this that does not go on in the next setup."""
        going_on = {id(sink) for sink in successor.sinks}
        self.runners = tuple(runner for runner in self.runners if id(runner.sink) not in going_on)
        self.sinks = tuple(sink for sink in self.sinks if id(sink) not in going_on)
        self.shutdown()

    def _tell_summary(self) -> None:
        if self._told:
            return
        self._told = True
        budgets = {"budgets": self.ledger.status()} if self.ledger is not None else {}
        for sink in self.sinks:
            log_summary = getattr(sink, "log_summary", None)
            if callable(log_summary):
                _quietly(log_summary, self.metrics.summary() | budgets)

    def _tell_losses(self) -> None:
        """One line for what was not delivered, and why: who reads the log only at the end is to see it, too."""
        lost = {runner.name: books for runner in self.runners if (books := runner.books()).lost}
        if not lost:
            return
        parts = []
        for name, books in lost.items():
            reasons = ", ".join(f"{count:,} {why}" for why, count in {**books.dropped_by, **books.failed_by}.items())
            parts.append(f"{name} {books.lost:,} ({reasons})")
        total = sum(books.lost for books in lost.values())
        said = f"{counted(total, 'call')} {'was' if total == 1 else 'were'} not delivered: {'; '.join(parts)}"
        _quietly(_to_stderr, f"toolweaver_monitor: {said}\n")

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down."""
        self.shutdown(self.exit_timeout_s())

    async def __aenter__(self) -> Self:
        """The monitor itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down without holding up the event loop."""
        await run_off_loop(self.shutdown, self.exit_timeout_s())


def _grace_s(sink: Any) -> float:
    """How much longer than others a sink may take at the end, in seconds; nothing where it says no such thing."""
    try:
        return validate_timeout(getattr(sink, "grace_s", 0.0))
    except Exception:  # noqa: BLE001 - a sink's trouble is the sink's, and the others are to be ended in time
        return 0.0


def _quietly(step: Callable[..., object], *args: object) -> None:
    """Take a step at the end that must not keep the others from being taken."""
    try:
        step(*args)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a sink's trouble is the sink's
        Diagnostics.internal_errors += 1


def _to_stderr(text: str) -> None:
    if deferred_log.stderr_is_open():
        sys.stderr.write(text)
