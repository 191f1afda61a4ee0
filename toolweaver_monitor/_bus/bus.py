"""The path of closed calls from their callers to the sinks.

A caller appends its call to the inbox when the call opens, and ends it with one store into the call. One thread, the
dispatcher, empties the inbox in batches. Calls that have ended go into the queue of each sink that does I/O, and into
the statistics of this process; open calls are set aside and checked again later.

A reader that needs every call that has ended, and a caller that finds the inbox past its high-water mark, wake the
dispatcher and wait for it. So only one thread fills the statistics: no signal handler runs on it, and no user's stack
is deep there. If no thread can be started, the reader or caller does the work itself.
"""

from __future__ import annotations

import _thread
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec

from toolweaver_monitor._bus import deferred_log
from toolweaver_monitor._bus.policy import CallPolicy
from toolweaver_monitor._bus.sink_runner import SinkRunner
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import clock, known_results, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics

inbox: deque[ToolCall] = deque()
"""Calls since the last drain, open or ended. `append` is atomic: no lock that a signal or a fork could meet."""

HIGH_WATER = 24_576
"""A caller that finds more calls in the inbox waits for the dispatcher: memory stays bounded, nothing is lost."""
CHECK_EVERY = 64
"""Calls that end between two looks at the length of the inbox; past the high-water mark each call looks."""
BATCH = 1_024
"""Calls taken from the inbox at a time."""
STEP_TRIES = 4
"""How often a step is tried that raises. The error may come from outside, in the middle of the step."""
INTERVAL_S = 0.1
"""How long a call may stay in the inbox before the dispatcher takes it to the sinks that do I/O."""
EXPEDITED_INTERVAL_S = 0.01
"""The same once the process has been signalled to end."""
BACKPRESSURE_S = 0.05
"""How long a caller waits that finds the inbox past its high-water mark."""
READ_S = 5.0
"""How long a reader waits for the dispatcher. After that it shows what has been counted by then."""
RECHECK_S = 0.25
"""How long a reader waits before it checks that the dispatcher still runs."""

Consumer = Callable[[Sequence[ToolCall]], None]


class Bus:
    """The pipe from calls to sinks. There is one per process, and it is off until `setup()` opens it."""

    def __init__(self) -> None:
        self.policy = CallPolicy()
        """What closing a call needs to know. Stored whole, so that no call sees half of a change."""
        self.active: CallPolicy | None = None
        """The same policy while calls are monitored, else None. Opening a call tests this first."""
        self.consumers: tuple[Consumer, ...] = ()
        self.runners: tuple[SinkRunner, ...] = ()
        self.enrich: Callable[[Sequence[ToolCall]], None] | None = None
        """Completes the calls of a batch before any sink sees them: redacts secrets, adds prices."""
        self.before_drain: Callable[[bool], None] | None = None
        """Closes calls that were recorded by hand; gets whether the drain is periodic, and no reader waits for it."""
        self.ticks: Iterator[None] = repeat(None, CHECK_EVERY)
        """Has an item for each call that may end before the next look at the inbox. To take one costs half a look."""
        self._dispatcher = Worker("dispatcher", self._work)
        self._tickets: deque[_thread.LockType] = deque()
        self._switches: deque[Callable[[], None]] = deque()
        self._draining = locks.new_rlock("draining")
        self._drainer: int | None = None
        self._busy = False
        self._passes = 0
        self._taken: list[ToolCall] = []
        """Taken from the inbox and not checked yet."""
        self._open: list[ToolCall] = []
        """Had not ended when they were checked."""
        self._closed: list[ToolCall] = []
        """Ended and not delivered to all yet."""
        self._counted = 0
        """How many of the consumers have received the closed calls."""
        locks.after_fork_in_child(self._reset_in_child)

    def __reduce__(self) -> str:
        """Pickle by name: a monitored function that is sent by value uses the bus of the process where it arrives."""
        return "bus"

    def configure(self, policy: CallPolicy | None = None, **changes: Any) -> None:
        """Store the policy of calls that open or close from now on.

        Args:
            policy: the new policy. Default: the current one.
            **changes: fields that differ from it.
        """
        while True:
            before = self.policy
            after = msgspec.structs.replace(policy or before, **changes)
            active = after if after.on else None
            if policy is not None or before is self.policy:  # with a GIL, no other thread runs from here to the end
                self.policy, self.active = after, active
                return

    def attach(
        self,
        consumers: Sequence[Consumer],
        runners: Sequence[SinkRunner],
        enrich: Callable[[Sequence[ToolCall]], None] | None,
        on_switch: Callable[[], None] = lambda: None,
    ) -> None:
        """Send calls to these consumers and runners from now on. Calls that ended before go to the previous ones.

        The thread that drains makes the switch between two batches, and runs `on_switch` with it. No call is lost or
        counted twice because of it, and none waits for it.

        Args:
            consumers: receive every batch, to count calls in this process.
            runners: feed sinks that do I/O.
            enrich: completes a call that has details, before any of them sees it.
            on_switch: changes what must change at the same moment.
        """

        def switch() -> None:
            on_switch()
            self.consumers, self.runners, self.enrich = tuple(consumers), tuple(runners), enrich
            self._dispatcher.interval_s = INTERVAL_S if runners else None
            for runner in runners:
                runner.ensure_dispatcher = self._dispatcher.ensure_running

        self._switches.append(switch)
        self.drain()

    def detach(self) -> None:
        """Stop monitoring: monitored functions run bare, and sinks receive nothing more."""
        self.configure(on=False)
        if self.consumers or self.runners:
            self.attach((), (), None)

    def drain(self, timeout_s: float = READ_S) -> bool:
        """Ensure that every call that ended before now is counted. Return False if that takes over `timeout_s`."""
        self.close_recorded()
        passes = self._passes
        if (
            not self._busy
            and not inbox
            and not self._switches
            and not _any_ended(list(self._open))
            and passes == self._passes  # no drain ran between these checks, or a call could have slipped past them
        ):
            return True
        if self._drainer == _thread.get_ident():
            return False  # a signal handler or `__del__` that has interrupted the draining itself
        while True:
            ticket = _thread.allocate_lock()
            ticket.acquire()
            self._tickets.append(ticket)
            if not self._dispatcher.wake():
                return self._drain_inline(timeout_s)
            # Checked again now and then: the dispatcher may have been killed after it took the ticket. The waits are
            # added up, and no clock is read: a process that was stopped or suspended meanwhile has not waited.
            wait_s = max(0.0, min(timeout_s, RECHECK_S))
            if ticket.acquire(timeout=wait_s):
                return True
            timeout_s -= wait_s
            if timeout_s <= 0:
                return False

    def close_recorded(self, is_periodic: bool = False) -> None:
        """Close the calls that were recorded by hand; of a periodic drain not those of this moment."""
        if self.before_drain is not None:
            self._guard(self.before_drain, is_periodic)

    def open_calls(self) -> set[ToolCall]:
        """Return the calls that are open right now."""
        try:
            waiting = list(inbox)
        except RuntimeError:  # without a GIL, other threads append at the same time
            waiting = _copy_from_end(inbox)
        return {call for call in (*waiting, *self._taken, *self._open) if call.outcome == "open"}

    def apply_backpressure(self) -> None:
        """Make a caller past the high-water mark wait, but not long, until the inbox is empty again."""
        if len(inbox) > HIGH_WATER:
            deadline = time.monotonic() + BACKPRESSURE_S
            while not self.drain(BACKPRESSURE_S) and len(inbox) > 4 * HIGH_WATER and time.monotonic() < deadline:
                time.sleep(0.001)
        if len(inbox) <= HIGH_WATER:
            self.ticks = repeat(None, CHECK_EVERY)

    def wake(self) -> None:
        """Start the dispatcher if there are sinks that do I/O. A forked child does this at its first call."""
        if self.runners:
            self._dispatcher.wake()

    def expedite(self) -> None:
        """Hold nothing back any longer: the process has been signalled to end and may do so at any moment."""
        for worker in (self._dispatcher, *(runner.worker for runner in self.runners)):
            worker.interval_s = EXPEDITED_INTERVAL_S
            worker.wake()

    def _drain_inline(self, timeout_s: float) -> bool:
        try:  # around acquiring it, too: a Ctrl-C that strikes right after that would leave the lock held
            if not self._draining.acquire(timeout=max(0.0, timeout_s)):
                return False
            self._work()
        finally:
            try:
                self._draining.release()
            except RuntimeError:  # not acquired
                pass
        return True

    def _work(self) -> None:
        self.close_recorded(is_periodic=True)
        tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
        with self._draining:
            self._drainer = _thread.get_ident()
            try:
                self._drain_here()
            finally:
                self._drainer = None
                for ticket in tickets:
                    ticket.release()
        for runner in self.runners:
            runner.keep_alive()

    def _drain_here(self) -> None:
        self._busy = True
        self._passes += 1
        self._deliver()  # what a dispatcher that was killed had not delivered
        left = len(inbox)
        if left or self._open or self._taken:
            clock.detect_clock_step()
        left = self._take(left)
        # Calls set aside go with the first of these, or a call would be delivered before one that ran inside it.
        self._partition([*self._open, *self._taken], [])
        while left > 0:
            left = self._take(left)
            self._partition(self._taken, self._open)
        self._busy = False
        while self._switches:
            self._guard(self._switches[0])
            self._switches.popleft()
        has_kept = known_results.forget_dropped()
        if not self.runners:
            self._dispatcher.interval_s = known_results.SWEEP_S if has_kept else None

    def _sweep_soon(self) -> None:
        """Have the dispatcher run now and then while results are kept, also if no sink needs it."""
        if self._dispatcher.interval_s is None or not self._dispatcher.is_running():
            self._dispatcher.interval_s = self._dispatcher.interval_s or known_results.SWEEP_S
            self._dispatcher.wake()

    def _take(self, left: int) -> int:
        """Take a batch from the `left` calls in the inbox, and return how many are left then."""
        count = min(left, BATCH)
        # One step, in which no exception from outside can strike: a call is either in the inbox or taken.
        self._taken.extend(map(deque.popleft, repeat(inbox, count)))
        return left - count

    def _partition(self, calls: list[ToolCall], open_before: list[ToolCall]) -> None:
        """Deliver what has ended, and set the rest aside. Each call is checked once, since it may end at any moment."""
        still = [call for call in calls if call.outcome == "open"]
        if still:
            aside = set(still)
            calls = [call for call in calls if call not in aside]
            open_before = [*open_before, *still]
        ends = [call._opened_at + call.duration_s for call in calls]
        if ends != sorted(ends):  # calls that overlap; to check takes a third of the time of a sort by a key
            calls = [calls[at] for at in sorted(range(len(ends)), key=ends.__getitem__)]
        self._open, self._taken, self._closed, self._counted = open_before, [], calls, 0  # one step, too
        self._deliver()

    def _deliver(self) -> None:
        batch = self._closed
        if not batch:
            return
        if self.enrich is not None:
            self._retry(self.enrich, batch)
        # Queues first: they are filled even while an interrupted reader of the statistics holds their lock.
        for runner in self.runners:
            self._retry(runner.offer, batch)
        for consumer in self.consumers[self._counted :]:
            self._counted += 1  # before: if the dispatcher is killed half way, nothing is counted twice
            self._guard(consumer, batch)
        self._closed = []
        batch.clear()  # the runners still recognize it by its identity

    def _retry(self, step: Callable[..., None], *argument: object) -> None:
        """Run a step that may be repeated, until it raises nothing: an error may come from outside, in its middle."""
        for _ in range(STEP_TRIES):
            if self._guard(step, *argument):
                return

    def _guard(self, step: Callable[..., None], *argument: object) -> bool:
        """Run a step. Return False if it raised; the error is counted and logged."""
        try:
            step(*argument)
        except Exception as error:  # noqa: BLE001 - in any case the other sinks get their calls
            Diagnostics.internal_errors += 1
            deferred_log.warn("toolweaver_monitor: internal error while counting (%r); please report it", error)
            return False
        return True

    def _reset_in_child(self) -> None:
        for call in self.open_calls():
            call.outcome = "suppressed"  # it ends in the parent
        inbox.clear()  # calls that ended before the fork are delivered by the parent
        self._tickets.clear()
        self._switches.clear()
        self._taken, self._open, self._closed = [], [], []
        self._busy = False
        self._drainer = None


def _copy_from_end(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Return all of a deque that grows at its end and shrinks at its start meanwhile. Some may be in it twice."""
    found: list[ToolCall] = []
    try:
        while len(found) < 8 * HIGH_WATER:
            found.append(calls[-1 - len(found)])
    except IndexError:
        pass
    return found


def _any_ended(calls: Iterable[ToolCall]) -> bool:
    return any(call.outcome != "open" for call in calls)


bus = Bus()
known_results.Recognition.on_kept = bus._sweep_soon
