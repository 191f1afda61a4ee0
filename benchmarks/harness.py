"""Measure one way of calling against another: in turns, in one process, compared turn by turn.

A shared machine drifts by tens of percent within seconds, so a time of its own says little. Here every round times
every contender once (A B C, then B C A, ...), a contender's cost is its time minus that of the bare function in the
same round, and a ratio is taken within a round before the median over the rounds is.
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter_ns, process_time_ns

ROUND_NS = 25_000_000
"""What one turn of a contender should take: long against the clock, short against the machine's drift."""

MAX_CALLS = 400_000


def nothing() -> None:
    """Do nothing: the `enter` and `drain` of a contender that needs none."""


@dataclass(frozen=True)
class Contender:
    """One way of making a call.

    Args:
        name: what the table calls it.
        run: makes that many calls.
        over: the contender whose time is taken off to get what this one adds; None for a bare one.
        drain: brings what the calls left behind to its end.
        enter: called before each turn, outside the timed part.
        at_most: calls in one turn at most. A burst is 20,000 calls.
    """

    name: str
    run: Callable[[int], object]
    over: str | None = "bare"
    drain: Callable[[], object] = nothing
    enter: Callable[[], object] = nothing
    at_most: int = MAX_CALLS


@dataclass(frozen=True)
class Figure:
    """A median over rounds and its spread (the quartiles)."""

    median: float
    low: float
    high: float
    unit: str
    rounds: int

    def as_dict(self) -> dict[str, float | str | int]:
        """For the JSON file."""
        return asdict(self)


def figure(values: Iterable[float], unit: str) -> Figure:
    """The median and quartiles of some values."""
    found = sorted(values)
    if len(found) < 2:
        return Figure(found[0], found[0], found[0], unit, 1)
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Figure(median, low, high, unit, len(found))


class Rounds:
    """The nanoseconds a call that each contender took in each round, and what follows from them."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self.names = [contender.name for contender in contenders]
        self._over = {contender.name: contender.over for contender in contenders}
        self.wall: dict[str, list[float]] = {name: [] for name in self.names}
        self.cpu: dict[str, list[float]] = {name: [] for name in self.names}

    def added(self, name: str, *, cpu: bool = False) -> list[float]:
        """Nanoseconds a call above the bare function's in the same round."""
        times = self.cpu if cpu else self.wall
        over = self._over[name]
        if over is None:
            return times[name]
        return [mine - bare for mine, bare in zip(times[name], times[over], strict=True)]

    def ratio(self, name: str, to: str, *, cpu: bool = False) -> list[float]:
        """What `name` adds as a multiple of what `to` adds, round by round."""
        pairs = zip(self.added(name, cpu=cpu), self.added(to, cpu=cpu), strict=True)
        return [mine / other for mine, other in pairs if other > 0]

    def extra(self, name: str, above: str, unit: str) -> list[float]:
        """What `name` adds more than `above` adds, in multiples of what `unit` adds, round by round."""
        triples = zip(self.added(name), self.added(above), self.added(unit), strict=True)
        return [(mine - other) / one for mine, other, one in triples if one > 0]

    def times(self, name: str, than: str) -> list[float]:
        """The whole time of `name` as a multiple of that of `than`, nothing taken off."""
        return [mine / other for mine, other in zip(self.wall[name], self.wall[than], strict=True)]


def say(text: str) -> None:
    """Tell the one who waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def interleaved(
    contenders: Sequence[Contender],
    *,
    rounds: int = 21,
    calls: int | None = None,
    sustained: bool = False,
    turn_ns: int = ROUND_NS,
) -> Rounds:
    """Time the contenders in turns.

    Args:
        contenders: the bare ones among them.
        rounds: how many turns each gets; 15 and more for a median worth having.
        calls: calls a turn; None fits each contender's number to `turn_ns`.
        sustained: the drain is part of the time. Otherwise it comes after the clock has stopped.
        turn_ns: what a turn should take where `calls` is None.
    """
    numbers = [_warmed(contender, calls, turn_ns) for contender in contenders]
    found = Rounds(contenders)
    turns = list(zip(contenders, numbers, strict=True))
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            first = number % len(turns)
            for contender, n in turns[first:] + turns[:first]:
                wall_ns, cpu_ns = _turn(contender, n, sustained)
                found.wall[contender.name].append(wall_ns / n)
                found.cpu[contender.name].append(cpu_ns / n)
    finally:
        gc.unfreeze()
    return found


def _turn(contender: Contender, n: int, sustained: bool) -> tuple[int, int]:
    contender.enter()
    contender.run(min(n, 100))  # the caches and the specialising interpreter know it again
    contender.drain()
    gc.collect()
    run, drain = contender.run, contender.drain
    cpu, wall = process_time_ns(), perf_counter_ns()
    run(n)
    if sustained:
        drain()
    wall, cpu = perf_counter_ns() - wall, process_time_ns() - cpu
    if not sustained:
        drain()
    return wall, cpu


def _warmed(contender: Contender, calls: int | None, turn_ns: int) -> int:
    """Call it until it is warm; how many calls a turn of it shall make."""
    contender.enter()
    contender.run(200 if calls is None else min(calls, 200))
    contender.drain()
    if calls is not None:
        return calls
    began = perf_counter_ns()
    contender.run(500)
    one_ns = max(1.0, (perf_counter_ns() - began) / 500)
    contender.drain()
    return int(min(contender.at_most, max(200, turn_ns / one_ns)))
