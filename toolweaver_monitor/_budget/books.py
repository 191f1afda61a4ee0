"""What one limit of one account has spent, and what running calls hold: `Books`.

Every change of these counters is a run of plain stores with no call, loop or new container in between. Under the GIL
nothing can interrupt such a run: other threads, signal handlers, KeyboardInterrupt and `__del__` start only at calls,
loops and function entries (CPython 3.11 to 3.13). So a signal handler that spends, and a Ctrl-C, always find counters
that agree with each other. The lock guards what takes several such runs, and interpreters without a GIL.

All amounts are integers: nano-dollars, tokens, calls.

The cost of a call counts from the time the call ends; while it runs, what it has set aside or recorded counts, however
long that takes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

from toolweaver_monitor._budget.budget import NEVER, Budget, Unit
from toolweaver_monitor._budget.repeats import RepeatCounter
from toolweaver_monitor._budget.window import Window
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.log_throttle import LogThrottle


class Books(Window):
    """One limit of one account: what was spent in its window, and what running calls hold.

    Args:
        budget: whose limit it is.
        unit: what is limited.
        limit: how much may be spent, in the unit's smallest part.
        key: the value of the tag that the account is for; None without one.
        lock: guards what takes more than one run of stores.
        now: returns the seconds of the clock of its window.
        announce: tells the user that `warn_at` of the limit is spent.
        repeats: how often calls have run with the same arguments, if this is a limit of that: it sets nothing aside.
    """

    __slots__ = (
        "announce", "budget", "ceiling", "counts_calls", "dropped", "has_reserve", "held", "in_dollars", "is_closed",
        "key", "limit", "name", "open_calls", "overruns", "rejections", "repeats", "reserve", "suppressed_warnings",
        "unit", "unknown_calls", "warn_again_s", "warn_level", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget,
        unit: Unit,
        limit: int,
        key: str | None,
        lock: threading.RLock,
        now: Callable[[], float],
        announce: Callable[[Books], None],
        repeats: RepeatCounter | None = None,
    ) -> None:
        super().__init__(budget.per, lock, now)
        self.budget = budget
        self.unit = unit
        self.in_dollars = unit == "usd"
        self.counts_calls = unit == "calls"
        self.key = key
        name = budget.names[unit]
        self.name = name if key is None else f"{name} [{key}]"
        self.reserve = 1 if unit == "calls" else budget.reserve_nanousd if unit == "usd" else 0
        self.has_reserve = self.in_dollars and self.reserve > 0
        """Whether calls take over what calls around them have set aside."""
        self.repeats = repeats
        self.announce = announce
        self.set_limit(limit)
        self.held = 0
        self.open_calls = 0
        """Calls that may still charge this meter: those that run, and those that ended before their price was known."""
        self.is_closed = False
        """The account made room for another; calls are admitted to a new one."""
        self.rejections = 0
        self.overruns = 0
        """Calls that `on_exceed` let run past the limit."""
        self.unknown_calls = 0
        """Calls that ended with tokens or a model, and without a known cost."""
        self.warnings = LogThrottle()
        self.suppressed_warnings = 0
        self.dropped: deque[tuple[int, int]] = deque()
        """What calls that vanished without an end had set aside and recorded. `__del__` takes no lock, so it leaves
        an entry here."""

    def set_limit(self, limit: int) -> None:
        """Set the limit; what is spent stays spent."""
        self.limit = limit
        self.ceiling = limit if self.reserve else limit - 1
        """The highest sum of spent and held after admitting a call of unknown cost. A call that sets nothing aside
        needs some room, however little."""
        self.warn_level = self.budget.compute_warn_level(limit)
        """What may be spent before the warning."""
        self.warn_again_s = math.inf

    def warn(self) -> None:
        """Warn that `warn_at` of the limit is spent, at most once a window."""
        with self.lock:
            is_due = self.spent >= self.warn_level
            if is_due:
                self.warn_level = NEVER
                self.warn_again_s = self.gone_s()
        if is_due:
            self.announce(self)

    def advance(self) -> None:
        """Drop the slots whose youngest amount is as old as the window."""
        Window.advance(self)
        if self.now() >= self.warn_again_s:
            self.set_limit(self.limit)

    def note_missing_tokens(self, call: ToolCall) -> None:
        """Note that a call told a model, or other units, and none of the tokens that this limit counts."""
        FigureNotes.add("no tokens", call.tool_name, self.budget.names[self.unit])

    def shown_spent(self) -> int:
        """Return what is spent, for people; see `SharedMeter`."""
        return self.spent

    def left(self) -> int | None:
        """Return the nano-dollars that are neither spent nor set aside; None for a limit of something else."""
        if not self.in_dollars:
            return None
        with self.lock:
            self.collect()
            return self.limit - self.shown_spent() - self.held

    def measure(self, call: ToolCall) -> int:
        """Return what a call has used so far, in this meter's unit."""
        if self.counts_calls:
            return 1
        details = call._details
        if details is None:
            return 0
        return (details.cost_nanousd or 0) if self.in_dollars else details.tokens

    def estimate(self, known_nanousd: int | None) -> int:
        """Return what a call sets aside here, given its cost if known."""
        return self.reserve if known_nanousd is None or not self.in_dollars else known_nanousd

    def charge(self, nanousd: int) -> None:
        """Count a cost that was found only after the call had been settled."""
        if self.in_dollars:
            with self.lock:
                self.add(nanousd)
            self.warn()

    def add(self, nanousd: int) -> None:
        """Add the price of a call whose cost was unknown. The caller holds the lock."""
        if self.in_dollars:
            self.collect()
            self.unknown_calls -= 1 if self.unknown_calls else 0
            if self.slots:
                self.slots[self.current] += nanousd
            self.spent += nanousd

    def collect(self) -> None:
        """Bring the window up to now, and give back what vanished calls held; what they had recorded is spent."""
        while True:
            if self.slots and not 0 < self.edge_s - self.now() <= self.width_s:  # or the wall clock was set back
                self.advance()
            if not self.dropped:
                return
            held, noted = self.dropped[0]
            if self.slots:
                self.slots[self.current] += noted
            self.spent += noted
            self.held -= held
            self.open_calls -= 1
            del self.dropped[0]

    def is_idle(self) -> bool:
        """Return True if the window is empty and no call can charge this meter. A budget per run is never idle."""
        if not self.slots:
            return False
        self.collect()
        return not self.open_calls and not self.spent

    def compute_wait_s(self, asked: int) -> float | None:
        """Return the seconds until a call that needs `asked` fits, provided that nothing else is spent.

        Returns None if that time is unknown: for a budget per run, for more than the limit, and for room that only
        running calls can give back.
        """
        missing = self.spent + self.held + max(asked, 1) - self.limit
        return Window.compute_wait_s(self, missing) if missing > 0 else 0.0
