"""The least code that still does, and counts, what the calls of `shapes` must do.

As in `least`, with the counting: a call has two readings of a clock, its place in the calling-context tree and in the
inbox, the context variable that holds the current call, and values that are checked and exact (nano-dollars, counts). A
batch is counted by node: calls, outcomes, durations as a histogram, tokens and costs, models, the totals of each
outermost call, and the last 10,000 calls. There is no switch, budget, limit of nodes, secret removed, price, late tag,
result that comes again, error's text or exporter, and only one thread records on a call: what is above these in ours is
the library.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from math import floor
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.least import nothing_else
from toolweaver_monitor._core.sanitize import MAX_COUNT, MAX_LABEL_CHARS, NANO, ROUND
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor._stats.histogram import count_into
from toolweaver_monitor._usage.dict_results import SMALL_DICT

BATCH = 1_024


class Place:
    """A place in the calling-context tree, with what was counted there."""

    __slots__ = (
        "buckets", "children", "cost_nanousd", "duration_s", "key", "outcomes", "parent", "used",
    )  # fmt: skip

    def __init__(self, key: tuple[object, ...], cost_nanousd: int | None, parent: Place | None) -> None:
        self.key, self.cost_nanousd, self.parent = key, cost_nanousd, parent
        self.children: dict[tuple[object, ...], Place] = {}
        self.outcomes: Counter[str] = Counter()
        self.buckets: Counter[int] = Counter()
        self.duration_s = 0.0
        self.used: defaultdict[str | None, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])

    def child(self, key: tuple[object, ...], cost_nanousd: int | None = None) -> Place:
        """Return the place of a tool below this one."""
        return self.children.get(key) or self.children.setdefault(key, Place(key, cost_nanousd, self))


class Used(msgspec.Struct, gc=False, eq=False):
    """What a call used."""

    tokens: int = 0
    given: int = 0
    produced: int = 0
    cost_nanousd: int | None = None
    model: str | None = None


class Call(msgspec.Struct, gc=False, eq=False):
    """A call, and a block where it is made by `Block`."""

    place: Place
    opened_at: float = 0.0
    outcome: str = "open"
    duration_s: float = 0.0
    serial: int = 0
    root: int = 0
    used: Used | None = None
    token: Any = None

    def record(
        self,
        *,
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        model: str | None = None,
    ) -> None:
        """Add what the running call used; what is not valid is left out."""
        if self.outcome != "open":
            return
        used = self.used
        if used is None:
            used = self.used = Used()
        if type(tokens) is int and 0 <= tokens <= MAX_COUNT:
            used.tokens += tokens
        if type(input_tokens) is int and 0 <= input_tokens <= MAX_COUNT:
            used.given += input_tokens
        if type(output_tokens) is int and 0 <= output_tokens <= MAX_COUNT:
            used.produced += output_tokens
        if type(cost) is float and 0.0 <= cost <= 1e6:
            used.cost_nanousd = floor(cost * 1e9 + ROUND - ROUND) + (used.cost_nanousd or 0)
        if type(model) is str and len(model) <= MAX_LABEL_CHARS:
            used.model = model


class Block(Call, gc=False, eq=False):
    """A block of code as a call."""

    def __enter__(self) -> Call:
        """Open the call."""
        self.opened_at = perf_counter()
        around = _get()
        if around is not None:
            inside(around, self)
        _put(self)
        self.token = _set(self)
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        """Close it."""
        self.duration_s = perf_counter() - self.opened_at
        _reset(self.token)
        self.token = None
        self.outcome = "success" if error is None else "failure"


_box: deque[Call] = deque()
_current: ContextVar[Call | None] = ContextVar("least", default=None)
_put, _take, _get, _set, _reset = _box.append, _box.popleft, _current.get, _current.set, _current.reset
_serials = count(1)
_top = Place((), None, None)
_last: deque[Call] = deque(maxlen=10_000)
_alone: deque[Call] = deque(maxlen=1_000)
_runs: dict[int, list[int]] = {}
use_plain_setattr(Used())
use_plain_setattr(Call(_top))


def current_call() -> Call:
    """Return the current call."""
    call = _get()
    return Call(_top, outcome="suppressed") if call is None else call


def inside(around: Call, call: Call) -> None:
    """Make a call one of the run of the call around it."""
    if not around.root:
        around.root = around.serial = next(_serials)
    call.root = around.root


def block(name: str, **tags: object) -> Block:
    """Return a block with tags."""
    around = _get()
    key = (name, *tags.items(), *map(type, tags.values()))
    return Block((_top if around is None else around.place).child(key))


def monitored(
    name: str, cost: float | None = None, tags: tuple[tuple[str, str], ...] = ()
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Decorate a function, whose result is read where it is a dict."""
    key = (name, *tags)
    nano = None if cost is None else round(cost * NANO)

    def decorate(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            around = _get()
            if around is None:
                call = Call(_top.children.get(key) or _top.child(key, nano), perf_counter())
            else:
                place = around.place
                call = Call(place.children.get(key) or place.child(key, nano), perf_counter())
                inside(around, call)
            _put(call)
            token = _set(call)
            try:
                result = function(*args, **kwargs)
                call.duration_s = perf_counter() - call.opened_at
                if type(result) is dict:
                    read(call, result)
            except BaseException:
                _reset(token)
                call.outcome = "failure"
                raise
            _reset(token)
            call.outcome = "success"
            return result

        return run

    return decorate


def read(call: Call, result: dict[Any, Any]) -> None:
    """Read tokens and cost of a small dict that reports nothing else."""
    if len(result) <= SMALL_DICT:
        names = {*result}
        if nothing_else(names) and "cost" in names and "tokens_used" in names and call.used is None:
            tokens, cost = result["tokens_used"], result["cost"]
            if type(tokens) is int and type(cost) is float and 0 <= tokens <= MAX_COUNT and 0.0 <= cost <= 1e6:
                call.used = Used(tokens, 0, 0, round(cost * NANO))


def drain() -> None:
    """Count what has closed, a batch at a time."""
    for _ in range(-(-len(_box) // BATCH)):
        batch = [_take() for _ in range(min(BATCH, len(_box)))]
        closed = [call for call in batch if call.outcome != "open"]
        if len(closed) < len(batch):
            _box.extend([call for call in batch if call.outcome == "open"])
        _count(closed)


def _count(calls: list[Call]) -> None:
    groups: defaultdict[Place, list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.place].append(call)
    for place, group in groups.items():
        failed = len([call for call in group if call.outcome == "failure"])
        place.outcomes["failure"] += failed
        place.outcomes["success"] += len(group) - failed
        durations = sorted([call.duration_s for call in group])
        place.duration_s += sum(durations)
        count_into(place.buckets, durations)
        for used in [call.used for call in group if call.used is not None]:
            sums = place.used[used.model]
            nano = used.cost_nanousd
            if nano is not None:
                sums[0] += 1
                sums[1] += nano
            sums[2] += used.tokens
            sums[3] += used.given
            sums[4] += used.produced
        if place.parent is _top:
            _alone.extend([call for call in group if not call.root])
    for call in [call for call in calls if call.root]:
        run = _runs.get(call.root)
        if run is None:
            run = _runs[call.root] = [0, 0, 0]
            if len(_runs) > 1_000:
                del _runs[next(iter(_runs))]
        run[0] += 1
        if call.used is not None:
            run[1] += call.used.cost_nanousd or 0
            run[2] += call.used.tokens + call.used.given + call.used.produced
        elif call.place.cost_nanousd is not None and call.outcome == "success":
            run[1] += call.place.cost_nanousd
    _last.extend(calls)


__all__ = ["block", "current_call", "drain", "monitored"]
