"""How do closed calls get from their callers to the sinks?

A caller appends its call to the inbox when the call opens, and ends it by one store into the call. One thread, the
dispatcher, empties the inbox in batches: ended calls go into the queue of each sink that does I/O, and into the tallies
of this process; open calls are set aside and looked at again. A reader that wants every call that has ended, and a
caller that finds the inbox past its high-water mark, ask the dispatcher and wait for it. So one thread alone fills the
tallies: no signal handler runs on it, and no user's stack is deep there. If no thread can be started, whoever comes
first does the work.
"""

from __future__ import annotations

import _thread
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec

from toolweaver_monitor._bus import deferred_log
from toolweaver_monitor._bus.policy import CallPolicy
from toolweaver_monitor._bus.sink_runner import SinkRunner
from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import clock, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CompactDetails
from toolweaver_monitor._core.sanitize import Diagnostics


class Inbox(deque[ToolCall]):
    """The one inbox of a process. Pickled by name, as is the bus: a watched function that is sent by value (as Ray and
    joblib send those of `__main__`) refers to both, and is to meet those of the process it arrives in.
    """

    def __reduce__(self) -> str:  # type: ignore[override]
        return "inbox"


inbox = Inbox()
"""Calls since the last drain, open or ended. Append is atomic: no lock that a signal or a fork could meet."""

HIGH_WATER = 24_576
"""A caller that finds more in the inbox than this waits for the dispatcher: memory stays bounded, nothing is lost."""

TRIES = 4
"""How often a step is taken that meets an error, which may strike from outside, in the middle of it."""

BATCH = 1_024
"""Calls taken out of the inbox at a time."""
INTERVAL_S = 0.1
"""How long a call may lie in the inbox before the dispatcher takes it to the sinks that do I/O."""
HURRIED_S = 0.01
"""The same once the process has been told to end."""
RELIEF_S = 0.05
"""How long a caller waits that finds the inbox past its high-water mark."""
READ_S = 5.0
"""How long a reader waits for the dispatcher; then it shows what is counted by then."""
RECHECK_S = 0.25
"""How long a reader waits before it looks whether the dispatcher is still there."""

Consumer = Callable[[Sequence[ToolCall]], None]


class Bus:
    """The one pipe of this process; always there, off until `setup()` opens it."""

    def __init__(self) -> None:
        self.policy = CallPolicy()
        """What closing a call needs to know. Stored whole, so that no call sees half of a change."""
        self.active: CallPolicy | None = None
        """The same policy while calls are monitored, else None. Opening a call tests this first."""
        self.consumers: tuple[Consumer, ...] = ()
        self.runners: tuple[SinkRunner, ...] = ()
        self.seal: Callable[[ToolCall], None] | None = None
        """Completes a call that something was said of, before any sink sees it: secrets out, price in."""
        self._dispatcher = Worker("dispatcher", self._work)
        self._tickets: deque[_thread.LockType] = deque()
        self._switches: deque[Callable[[], None]] = deque()
        self._draining = locks.new_rlock("draining")
        self._drainer: int | None = None
        self._busy = False
        self._passes = 0
        self._taken: list[ToolCall] = []
        """Taken out of the inbox, and not looked at yet."""
        self._open: list[ToolCall] = []
        """Had not ended when they were looked at."""
        self._closed: list[ToolCall] = []
        """Ended, and not delivered to all yet."""
        self._counted = 0
        """How many of the consumers have had those."""
        locks.after_fork_in_child(self._in_child)

    def __reduce__(self) -> str:
        """By name: see `Inbox`."""
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
        seal: Callable[[ToolCall], None] | None,
        on_switch: Callable[[], None] = lambda: None,
    ) -> None:
        """Send calls to these from now on; what ended before still goes to the earlier ones.

        The switch, and `on_switch` with it, is made between two batches by whoever drains: no call is lost or counted
        twice over it, and none waits for it.

        Args:
            consumers: what counts calls in this process; each is given every batch.
            runners: what feeds sinks that do I/O.
            seal: completes a call that something was said of, before any of them sees it.
            on_switch: what is to change at that very moment.
        """

        def switch() -> None:
            on_switch()
            self.consumers, self.runners, self.seal = tuple(consumers), tuple(runners), seal
            self._dispatcher.interval_s = INTERVAL_S if runners else None
            for runner in runners:
                runner.ensure_dispatcher = self._dispatcher.ensure_running

        self._switches.append(switch)
        self.drain()

    def detach(self) -> None:
        """Stop watching: monitored functions run bare, and sinks get nothing more."""
        self.configure(on=False)
        if self.consumers or self.runners:
            self.attach((), (), None)

    def drain(self, timeout_s: float = READ_S) -> bool:
        """Have every call that ended before now counted. False if that could not be done in time."""
        passes = self._passes
        if (
            not self._busy
            and not inbox
            and not self._switches
            and not _any_ended(list(self._open))
            and passes == self._passes  # no drain was between these looks, or a call could have slipped past them
        ):
            return True
        if self._drainer == _thread.get_ident():
            return False  # a signal handler or `__del__` that interrupted the draining itself
        deadline = time.monotonic() + timeout_s
        while True:
            ticket = _thread.allocate_lock()
            ticket.acquire()
            self._tickets.append(ticket)
            if not self._dispatcher.wake():
                return self._drain_inline(deadline)
            left = deadline - time.monotonic()
            # Looked after again now and then: the dispatcher may have been killed with the ticket in its hand.
            if ticket.acquire(timeout=max(0.0, min(left, RECHECK_S))):
                return True
            if left <= RECHECK_S:
                return False

    def open_calls(self) -> set[ToolCall]:
        """The calls that are open right now."""
        try:
            waiting = list(inbox)
        except RuntimeError:  # without a GIL others append meanwhile
            waiting = _from_the_end(inbox)
        return {call for call in (*waiting, *self._taken, *self._open) if call.outcome == "open"}

    def apply_backpressure(self) -> None:
        """Called by a caller past the high-water mark: wait, but not long, until the inbox is empty again."""
        deadline = time.monotonic() + RELIEF_S
        while not self.drain(RELIEF_S) and len(inbox) > 4 * HIGH_WATER and time.monotonic() < deadline:
            time.sleep(0.001)

    def wake(self) -> None:
        """Have the dispatcher running; a forked child does so at its first call."""
        if self.runners:
            self._dispatcher.wake()

    def expedite(self) -> None:
        """Hold nothing back any longer: the process has been told to end, and may do so without asking again."""
        for worker in (self._dispatcher, *(runner.worker for runner in self.runners)):
            worker.interval_s = HURRIED_S
            worker.wake()

    def _drain_inline(self, deadline: float) -> bool:
        timeout_s = max(0.0, deadline - time.monotonic())
        try:  # around the acquiring, too: a Ctrl-C that strikes right after it would leave the lock held
            if not self._draining.acquire(timeout=timeout_s):
                return False
            self._work()
        finally:
            try:
                self._draining.release()
            except RuntimeError:  # not acquired
                pass
        return True

    def _work(self) -> None:
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
        self._deliver()  # a dispatcher that was killed had these in its hands, and those
        left = len(inbox)
        if left or self._open or self._taken:
            clock.detect_clock_step()
        left = self._take(left)
        # What was set aside goes with the first of these, or a call would be delivered before one that ran inside it.
        self._partition([*self._open, *self._taken], [])
        while left > 0:
            left = self._take(left)
            self._partition(self._taken, self._open)
        self._busy = False
        while self._switches:
            self._guard(self._switches[0])
            self._switches.popleft()

    def _take(self, left: int) -> int:
        """Take a batch into the hand, of so many calls; gives how many are left then."""
        count = min(left, BATCH)
        # One step, in which no exception from outside can strike: a call is in the inbox or in the hand.
        self._taken.extend(map(deque.popleft, repeat(inbox, count)))
        return left - count

    def _partition(self, calls: list[ToolCall], open_before: list[ToolCall]) -> None:
        """Deliver what has ended, and set the rest aside. Each is looked at once, since it may end at any moment."""
        still = [call for call in calls if call.outcome == "open"]
        if still:
            aside = set(still)
            calls = [call for call in calls if call not in aside]
            open_before = [*open_before, *still]
        ends = [call._opened_at + call.duration_s for call in calls]
        if ends != sorted(ends):  # calls that overlap; to look costs a third of what sorting by a key would
            calls.sort(key=_ended_at)
        self._open, self._taken, self._closed, self._counted = open_before, [], calls, 0  # one step, too
        self._deliver()

    def _deliver(self) -> None:
        batch = self._closed
        if not batch:
            return
        if self.seal is not None:
            for call in batch:
                if call._details is not None and type(call._details) is not CompactDetails:
                    self._retry(self.seal, call)
        # Queues first: they are filled even while a reader of the tallies, interrupted by a signal, holds their lock.
        for runner in self.runners:
            self._retry(runner.offer, batch)
        for consumer in self.consumers[self._counted :]:
            self._counted += 1  # before: what was half counted when the dispatcher was killed is not counted twice
            self._guard(consumer, batch)
        self._closed = []
        batch.clear()  # the runners still know it by its identity

    def _retry(self, step: Callable[..., None], *argument: object) -> None:
        """Take a step that can be taken again: what it met may have struck from outside, in the middle of it."""
        for _ in range(TRIES):
            if self._guard(step, *argument):
                return

    def _guard(self, step: Callable[..., None], *argument: object) -> bool:
        try:
            step(*argument)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other sinks get their calls
            Diagnostics.internal_errors += 1
            deferred_log.warn("toolweaver_monitor: internal error while counting (%r); please report it", error)
            return False
        return True

    def _in_child(self) -> None:
        for call in self.open_calls():
            call.outcome = "suppressed"  # it ends in the parent
        inbox.clear()  # and what had ended before the fork is delivered there
        self._tickets.clear()
        self._switches.clear()
        self._taken, self._open, self._closed = [], [], []
        self._busy = False
        self._drainer = None


def _from_the_end(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """All of a deque that grows at its end and shrinks at its beginning on_switch: some may be there twice."""
    found: list[ToolCall] = []
    try:
        while len(found) < 8 * HIGH_WATER:
            found.append(calls[-1 - len(found)])
    except IndexError:
        pass
    return found


def _any_ended(calls: Iterable[ToolCall]) -> bool:
    return any(call.outcome != "open" for call in calls)


def _ended_at(call: ToolCall) -> float:
    return call._opened_at + call.duration_s


bus = Bus()
