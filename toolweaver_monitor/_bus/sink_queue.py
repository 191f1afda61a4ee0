"""Where is each call that a sink was given: waiting, in flight, delivered, failed or dropped?

The queue of a sink is bounded by count and by bytes, and its books balance at every moment: emitted == delivered +
failed + dropped (by reason) + queued (in flight included).

Where several figures change together, all that must be worked out is worked out before, and no call is made between
the changes: so neither a signal handler nor an asynchronous exception can come between them. For the same reason the
lock is held on a caller's thread only where no call is made: a handler that ends the process could not get past it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat

from toolweaver_monitor._bus.delivery_stats import DeliveryStats, estimate_size
from toolweaver_monitor._bus.retry import HEALTHY, SinkState
from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall


class Queue:
    """The calls of one sink, and the accounts of all it was given.

    Args:
        name: the sink's name, for the tests that enumerate locks.
        max_calls: how many calls may wait, those in flight included.
        max_bytes: how many bytes they may hold on to.
        merge: takes calls that there is no room for, so that they lose only their rows; they count as queued until the
            next write. Without it they are dropped.
    """

    def __init__(
        self, name: str, max_calls: int, max_bytes: int, merge: Callable[[Sequence[ToolCall]], object] | None = None
    ) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self._merge = merge
        self.lock = locks.new_rlock(f"queue of {name}")
        self.reset()

    def reset(self) -> None:
        """Begin with nothing, as at first and in a forked child: what was queued belongs to the parent."""
        self.emitted = 0
        self.delivered = 0
        self.failed: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.queued_bytes = 0
        """What the calls that wait, and those in flight, hold on to."""
        self.standing = HEALTHY
        self.last_error = ""
        self.refusing = ""
        """The reason why nothing more is taken; empty as long as calls are."""
        self.in_flight: list[ToolCall] = []
        """What the sink is being given, or failed to take and will be given again."""
        self.merged = 0
        """Calls that were merged and not written yet."""
        self._waiting: deque[ToolCall] = deque()
        self._tries = 0
        self._offered: object = None
        self._taken = self._settled = 0
        """Calls that came into the queue so far, and those of them that have left it for good."""
        self._merged_taken = self._merged_settled = 0
        """The same of merged ones, which may be written before what came earlier."""
        self.flushes = 0
        """Flushes asked for so far; what is to be settled for the last of them is noted below."""
        self.flush_by = 0.0
        """The latest moment of `time.monotonic()` that somebody waits for a flush."""
        self._flush_to = self._flush_merged_to = 0

    def __len__(self) -> int:
        """The calls that are neither in flight nor merged."""
        return len(self._waiting)

    def queued(self) -> int:
        """The calls that are neither delivered nor given up."""
        return len(self._waiting) + len(self.in_flight) + self.merged

    # --- calls come in ----------------------------------------------------------------------------------------------

    def offer(self, calls: Sequence[ToolCall]) -> None:
        """Take a batch, or as much of it as there is room for; never waits."""
        with self.lock:
            if calls is self._offered:
                return  # a dispatcher that was killed right after this step, and begins it again
            kept: Sequence[ToolCall] = ()
            size = merged = 0
            reason = self.refusing
            if not reason:
                reason = "queue_full"
                kept, size = self._what_fits(calls)
                if len(kept) < len(calls):
                    merged = self._merged_of(calls[len(kept) :])
            emitted, taken = len(calls), len(kept)
            dropped = emitted - taken - merged
            dropped_before = self.dropped.get(reason, 0)
            self._offered = calls
            self.emitted += emitted
            self._taken += taken
            self._merged_taken += merged
            self.merged += merged
            self.queued_bytes += size
            if dropped:
                self.dropped[reason] = dropped_before + dropped
            self._waiting.extend(kept)

    def _what_fits(self, calls: Sequence[ToolCall]) -> tuple[Sequence[ToolCall], int]:
        room = self.max_calls - len(self._waiting) - len(self.in_flight)
        if len(calls) > room:
            calls = calls[: max(0, room)]
        size = sum(map(estimate_size, calls))
        if self.queued_bytes + size <= self.max_bytes:
            return calls, size
        size = 0
        for count, call in enumerate(calls):
            more = estimate_size(call)
            if self.queued_bytes + size + more > self.max_bytes:
                return calls[:count], size
            size += more
        return calls, size

    def _merged_of(self, calls: Sequence[ToolCall]) -> int:
        """A sink that can merge calls loses only resolution when it is overrun. Gives how many it took."""
        if self._merge is None:
            return 0
        try:
            self._merge(calls)
        except BaseException:  # noqa: BLE001 - then they are dropped, and counted
            return 0
        return len(calls)

    # --- calls go out -----------------------------------------------------------------------------------------------

    def take(self, most: int) -> bool:
        """Have a batch in flight: the one that failed, or the next. False when nothing waits."""
        if self.in_flight:
            return True
        with self.lock:
            count = min(len(self._waiting), most)
            if count:
                self._tries = 0
                batch: list[ToolCall] = []
                self.in_flight = batch
                batch.extend(map(deque.popleft, repeat(self._waiting, count)))  # one step
        return count > 0 or self.merged > 0

    def note_delivered(self, batch: list[ToolCall], size: int, merged: int) -> bool:
        """The sink has taken a batch, and so many merged calls with it. False if they were given up meanwhile."""
        count = len(batch)
        with self.lock:
            if self.in_flight is not batch:
                return False
            self.in_flight = []
            self.queued_bytes -= size
            self._settled += count
            self._merged_settled += merged
            self.merged -= merged
            self.delivered += count + merged
            self.standing = HEALTHY
        return True

    def note_failed(
        self, batch: list[ToolCall], size: int, kind: str, error: str, standing: SinkState, most_tries: int
    ) -> bool:
        """The sink has failed to take a batch, which stays in flight unless it was tried too often.

        Args:
            batch: what it was given.
            size: the bytes of the batch.
            kind: the type of the error.
            error: what the books are to say of it.
            standing: how the sink is doing now.
            most_tries: after so many the batch is given up.

        Returns:
            False if the batch was given up meanwhile; then nothing changes.
        """
        tries = self._tries + 1
        given_up = len(batch) if tries >= most_tries else 0
        with self.lock:
            if self.in_flight is not batch:
                return False
            failed_before = self.failed.get(kind, 0)
            self.last_error = error
            self.standing = standing
            self._tries = tries
            if given_up:
                self.in_flight = []
                self.queued_bytes -= size
                self._settled += given_up
                self.failed[kind] = failed_before + given_up
        return True

    def refuse(self, reason: str, standing: SinkState, error: str) -> None:
        """Take nothing any more, and give up what there is: the sink cannot work until it is set up again."""
        with self.lock:
            self.refusing, self.standing, self.last_error = reason, standing, error
            self.drop_rest(reason)

    def drop_rest(self, reason: str) -> None:
        """Give up all that waits and all that is in flight."""
        nothing: deque[ToolCall] = deque()
        with self.lock:
            lost = self.queued()
            dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + lost} if lost else self.dropped
            self.dropped = dropped
            self._waiting, self.in_flight = nothing, []
            self.merged = self.queued_bytes = 0
            self._settled, self._merged_settled = self._taken, self._merged_taken

    # --- flushes ----------------------------------------------------------------------------------------------------

    def ask_flush(self, by: float) -> int:
        """Note how much has been taken so far, to be written by a moment; gives the number of this flush."""
        with self.lock:
            if by > self.flush_by:  # noqa: PLR1730 - max() is a call
                self.flush_by = by
            self._flush_to = self._taken
            self._flush_merged_to = self._merged_taken
            self.flushes += 1
            return self.flushes

    def flush_reached(self) -> int:
        """The number of the last flush asked for, if all that had been taken by then is settled; else 0."""
        with self.lock:
            if self._settled < self._flush_to or self._merged_settled < self._flush_merged_to:
                return 0
            return self.flushes

    # --- books ------------------------------------------------------------------------------------------------------

    def books(self) -> DeliveryStats:
        """The accounts, consistent at this moment."""
        with self.lock:
            found = (
                self.standing.state,
                self.emitted,
                self.delivered,
                {**self.failed},
                {**self.dropped},
                self.queued_bytes,
            )
        return DeliveryStats(*found, self.last_error)
