"""How do closed calls get from their callers to the sinks?

The caller appends the call to the inbox and is done. One thread, the dispatcher, empties the inbox in batches: first
into the tallies that live in this process, then into the queue of each sink that does I/O. A reader that wants all that
has ended, and a caller that finds the inbox past its high-water mark, ask the dispatcher and wait for it. So the
tallies are touched by one thread only, on which no signal handler runs and no user's stack is deep; where no thread is
to be had, whoever comes first does the work itself.
"""

from __future__ import annotations

import _thread
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat

from toolweaver_monitor import clock, locks
from toolweaver_monitor.bus.runner import Runner
from toolweaver_monitor.bus.worker import Worker
from toolweaver_monitor.call import Invalid, ToolCall

log = logging.getLogger("toolweaver_monitor")

inbox: deque[ToolCall] = deque()
"""Calls that have ended and are not counted yet. Append is atomic: no lock that a signal or a fork could meet."""

opened: set[ToolCall] = set()
"""Calls that are open right now."""

HIGH_WATER = 24_576
"""A caller that finds more in the inbox than this waits for the dispatcher: memory stays bounded, nothing is lost."""

BATCH = 1_024
INTERVAL_S = 0.1
RELIEF_S = 0.05
READ_S = 5.0

Consumer = Callable[[Sequence[ToolCall]], None]


class Bus:
    """The one pipe of this process; always there, off until `setup()` opens it."""

    def __init__(self) -> None:
        self.on = False
        """Whether calls are watched at all. The first thing the hot path asks."""
        self.special = False
        """Whether opening a call takes more than the plain way: a budget, capture, common tags, a fresh child."""
        self.consumers: tuple[Consumer, ...] = ()
        self.runners: tuple[Runner, ...] = ()
        self.seal: Callable[[ToolCall], None] | None = None
        """Completes a call that something was said of, before any sink sees it: secrets out, price in."""
        self.published = 0
        self._dispatcher = Worker("dispatcher", self._work)
        self._tickets: deque[_thread.LockType] = deque()
        self._draining = locks.new_rlock("draining")
        self._drainer: int | None = None
        self._busy = False
        locks.in_forked_child(self._in_child)

    def attach(
        self, consumers: Sequence[Consumer], runners: Sequence[Runner], seal: Callable[[ToolCall], None] | None
    ) -> None:
        """Send calls to these from now on. What ended before still goes to the earlier ones."""
        self.drain()
        self.consumers, self.runners, self.seal = tuple(consumers), tuple(runners), seal
        self._dispatcher.interval_s = INTERVAL_S if runners else None
        if runners:
            self._dispatcher.poke()

    def detach(self) -> None:
        """Stop watching: monitored functions run bare, and sinks get nothing more."""
        self.on = False
        self.drain()
        self.consumers, self.runners, self.seal = (), (), None

    def drain(self, timeout_s: float = READ_S) -> bool:
        """Have every call that ended before now counted. False if that could not be done in time."""
        if not inbox and not self._busy:
            return True
        if self._drainer == _thread.get_ident():
            return False  # a signal handler or `__del__` that interrupted the draining itself
        ticket = _thread.allocate_lock()
        ticket.acquire()
        self._tickets.append(ticket)
        if self._dispatcher.poke():
            return ticket.acquire(timeout=timeout_s)
        if not self._draining.acquire(timeout=timeout_s):
            return False
        try:
            self._work()
        finally:
            self._draining.release()
        return True

    def relieve(self) -> None:
        """Called by a caller past the high-water mark: wait, but not long, until the inbox is empty again."""
        deadline = time.monotonic() + RELIEF_S
        while not self.drain(RELIEF_S) and len(inbox) > 4 * HIGH_WATER and time.monotonic() < deadline:
            time.sleep(0.001)

    def wake(self) -> None:
        """Have the dispatcher running; a forked child does so at its first call."""
        if self.runners:
            self._dispatcher.poke()

    def _work(self) -> None:
        tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
        with self._draining:
            self._drainer = _thread.get_ident()
            try:
                self._drain_here()
            finally:
                self._drainer = None
                self._busy = False
                for ticket in tickets:
                    ticket.release()
        for runner in self.runners:
            runner.keep_alive()

    def _drain_here(self) -> None:
        left = len(inbox)
        if left:
            clock.notice_steps()
        while left > 0:
            count = min(left, BATCH)
            left -= count
            self._busy = True
            batch: list[ToolCall] = []
            batch.extend(map(deque.popleft, repeat(inbox, count)))
            self.published += count
            self._deliver(batch)
            self._busy = False

    def _deliver(self, batch: Sequence[ToolCall]) -> None:
        if self.seal is not None:
            for call in batch:
                if call.details is not None:
                    self._shielded(self.seal, call)
        for consumer in self.consumers:
            self._shielded(consumer, batch)
        for runner in self.runners:
            self._shielded(runner.offer, batch)

    def _shielded(self, step: Callable[..., None], argument: object) -> None:
        try:
            step(argument)
        except Exception:
            Invalid.mishaps += 1
            log.exception("toolweaver_monitor: an error of its own while counting; please report it")

    def _in_child(self) -> None:
        inbox.clear()  # the parent delivers what had ended before the fork
        for call in list(opened):
            call.outcome = "muted"  # and what was open then ends in the parent
        opened.clear()
        self._tickets.clear()
        self._busy = False
        self._drainer = None
        self.published = 0
        self.special = True


bus = Bus()
