"""What ended inside outermost calls and inside each of the recent ones, for `costs.of()` and `costs.roots()`.

Closed calls are kept as they come. They are sorted by their outermost call, and added up, only for a reader or if that
call lasts long: most outermost calls are forgotten before they are read. Calls arrive in any order, mostly the inner
before the outer ones; one that ends later than the call around it is added through all that have closed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import NamedTuple

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import Node, ToolKey
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._stats.totals import UsageTotals

MAX_ROOTS = 1_000
"""Outermost calls that are listed one by one."""
MAX_OPEN = 50_000
"""Open calls with something counted inside them."""
MAX_CLOSED = 4_096
"""Closed calls that had others inside them, kept for those of these that end late, and for `of`."""
MAX_UNSORTED = 10_000
"""Calls kept as they came. `StatsAggregator` lists as many, so they take no more memory."""
FOLD_AT = 64
"""Calls kept as they came inside one open outermost call."""
FOLD_CLOSED_AT = 16
"""The same inside one that has closed."""

MAX_PARTS = 10_000
"""Parts that are looked up; beyond, all are forgotten, and calls that are alike may be in several parts."""

Part = tuple[Node, frozenset[str]]
"""Calls that are alike but for tags decided further in, whose keys are given: a node of one of them stands for all."""
Parts = dict[Part, UsageTotals]
Shift = Callable[[str, TagValue | None, TagValue, UsageTotals], None]
"""Moves totals from one value of a tag to another: key, old value or None, new value, totals."""

_root_serial = attrgetter("_root_serial")


class Batch(NamedTuple):
    """Closed calls as they came."""

    calls: list[ToolCall]
    roots: list[int]
    alone: list[ToolCall]


class Run:
    """An outermost call and what ended inside it.

    Attributes:
        root: the outermost call once it has closed.
        calls: closed calls that are not added up yet, the outermost one included.
        totals: of the calls that were added up; None if none were.
        has_late_tags: whether a closed call of it was given tags after it could have others inside it.
    """

    __slots__ = ("calls", "has_late_tags", "root", "serial", "totals")

    def __init__(self, serial: int, calls: list[ToolCall]) -> None:
        self.serial = serial
        self.root: ToolCall | None = None
        self.calls = calls
        self.totals: UsageTotals | None = None
        self.has_late_tags = False

    @property
    def outermost(self) -> ToolCall:
        """The outermost call, which has closed."""
        if self.root is None:
            raise LookupError("the outermost call is still open")
        return self.root

    def total(self) -> UsageTotals:
        """Return the totals of all calls so far."""
        totals = UsageTotals.of(*self.calls)
        if self.totals is not None:
            totals.add(self.totals)
        return totals


class Family:
    """A call that had others inside it: what has ended in it so far, itself included once it has closed."""

    __slots__ = ("call", "parts")

    def __init__(self) -> None:
        self.call: ToolCall | None = None
        self.parts: Parts = {}

    def add(self, parts: Mapping[Part, UsageTotals]) -> None:
        """Add what ended inside."""
        for part, totals in parts.items():
            mine = self.parts.get(part)
            if mine is None:
                mine = self.parts[part] = UsageTotals()
            mine.add(totals)


class Runs:
    """The recent outermost calls, in bounded memory. Guarded by the lock of `StatsAggregator`.

    Args:
        shift: called when a call that was given tags late has closed, for what had ended inside it before.
    """

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._unsorted: deque[Batch] = deque()
        self._unsorted_calls = 0
        self._unsorted_roots: set[int] = set()
        """The serials of the outermost calls among the unsorted ones that have others inside them."""
        self._lone_roots = 0
        self._roots: deque[Run | ToolCall] = deque(maxlen=MAX_ROOTS)
        """The last outermost calls; bare, if nothing ran inside."""
        self._runs: dict[int, Run] = {}
        self._ended: deque[Run] = deque()
        self._open: dict[int, Family] = {}
        self._closed: dict[int, Family] = {}
        self._parts: dict[tuple[object, ...], Part] = {}
        self._forgotten = 0
        """The greatest serial of an outermost call, or of a family, that had to make room."""

    # --- counting -------------------------------------------------------------------------------------------------

    def add(self, calls: list[ToolCall], alone: list[ToolCall]) -> None:
        """Add a batch of closed calls.

        Args:
            calls: those that have a call around or inside them.
            alone: outermost calls that have none, but a cost or details.
        """
        roots = [call._serial for call in calls if call._parent_serial is None]
        self._unsorted.append(Batch(calls, roots, alone))
        self._unsorted_calls += len(calls) + len(alone)
        self._unsorted_roots.update(roots)
        self._lone_roots += len(alone)
        if ToolKey.any_late:  # tags may have come late, and belong to what is unsorted
            self.sort()
        while self._unsorted_calls > MAX_UNSORTED:
            self._sort_oldest()

    def sort(self) -> None:
        """Sort what is unsorted by outermost calls."""
        while self._unsorted:
            self._sort_oldest()

    def _sort_oldest(self) -> None:
        """Sort the oldest batch, without the outermost calls that are over and will not be listed any more."""
        calls, roots, alone = self._unsorted.popleft()
        self._unsorted_calls -= len(calls) + len(alone)
        self._lone_roots -= len(alone)
        over = len(self._unsorted_roots) - len(roots) + self._lone_roots >= MAX_ROOTS
        if over and not ToolKey.any_late:
            ended, known, alone = self._unsorted_roots, self._runs, []
            serials = {call._root_serial for call in calls}
            wanted = (serials - ended) | (serials & known.keys())
            calls = [call for call in calls if call._root_serial in wanted] if wanted else []
            self._forgotten = max(self._forgotten, max(roots, default=0))
        self._unsorted_roots.difference_update(roots)
        self._roots.extend(alone)
        self._sort(calls)

    def _sort(self, calls: Iterable[ToolCall]) -> None:
        runs = self._runs
        for serial, group in groupby(calls, _root_serial):
            run = runs.get(serial)
            if run is None:
                if len(runs) >= MAX_OPEN:
                    self._forget(next(iter(runs.values())))
                run = runs[serial] = Run(serial, list(group))
            else:
                run.calls += group
            if run.root is None:
                last = run.calls[-1]  # mostly the outermost call
                if last._parent_serial is None:
                    self._end(run, last)
                else:
                    self._find_root(run)
            if ToolKey.any_late and not run.has_late_tags:
                run.has_late_tags = any(map(_is_late, run.calls))
            many = len(run.calls) > FOLD_CLOSED_AT
            if run.has_late_tags or (many and (len(run.calls) > FOLD_AT or run.root or len(runs) > 2 * MAX_ROOTS)):
                self.fold(run)

    def _find_root(self, run: Run) -> None:
        for call in run.calls:
            if call._parent_serial is None:
                self._end(run, call)
                return

    def _end(self, run: Run, root: ToolCall) -> None:
        """Note that the outermost call has closed."""
        run.root = root
        self._roots.append(run)
        self._ended.append(run)
        if len(self._ended) > MAX_ROOTS:
            self._forget(self._ended.popleft())

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.serial, None)
        self._forgotten = max(self._forgotten, run.serial)

    def fold(self, run: Run) -> None:
        """Add up the calls of a run, each for the calls around it."""
        calls, run.calls = run.calls, []
        totals = UsageTotals.of(*calls)
        if run.totals is not None:
            totals.add(run.totals)
        run.totals = totals
        leaves: defaultdict[tuple[int | None, Node], list[ToolCall]] = defaultdict(list)
        around: list[ToolCall] = []
        for call in calls:
            if call._serial:
                around.append(call)
            else:
                leaves[call._parent_serial, call._node].append(call)  # type: ignore[index]
        for (parent, node), group in leaves.items():
            self._rise(parent, {self._part(node, frozenset(node.key.tags)): UsageTotals.of(*group)})
        for call in around:
            self._close(call)

    def _close(self, call: ToolCall) -> None:
        family = self._open.pop(call._serial, None) or Family()
        family.call = call
        family.parts = self._decide(call, family.parts, self._shift)
        family.add({self._part(call._node, frozenset(call._own_tags)): UsageTotals.of(call)})  # type: ignore[arg-type]
        if len(self._closed) >= MAX_CLOSED:
            oldest = next(iter(self._closed))
            self._forgotten = max(self._forgotten, oldest)
            del self._closed[oldest]
        self._closed[call._serial] = family
        self._rise(call._parent_serial, family.parts)

    def _rise(self, serial: int | None, parts: Parts) -> None:
        """Add what ended to the call around it, and further out as far as all is closed."""
        while serial is not None:
            family = self._closed.get(serial) or self._open.get(serial)
            if family is None:
                if len(self._open) >= MAX_OPEN:
                    del self._open[next(iter(self._open))]
                family = self._open[serial] = Family()
            call = family.call
            if call is not None:
                parts = self._decide(call, parts, self._shift)
            family.add(parts)
            if call is None:
                return
            serial = call._parent_serial

    def _part(self, node: Node, decided: frozenset[str]) -> Part:
        """Return the part to which calls of a node belong.

        It is that of all nodes with the same declared cost and the same tags that are not decided yet, so that a deep
        run has few parts, not one for each call in it.
        """
        part = self._parts.get((node, decided))
        if part is None:
            if len(self._parts) >= MAX_PARTS:
                self._parts.clear()
            left = [(key, id(value)) for key, value in node.tags.items() if key not in decided]
            part = self._parts.setdefault((decided, node.key.cost_nanousd, *left), (node, decided))
            self._parts[node, decided] = part
        return part

    def _decide(self, call: ToolCall, parts: Parts, shift: Shift) -> Parts:
        """Count what ended inside a call for the call's own tags, unless a call further in has decided on them.

        Calls are counted for the tags that the calls around them had when they were opened. So there is something to
        move only if a tag came later.

        Returns:
            The same parts, with the keys of these tags as decided.
        """
        tags = call._own_tags
        if not tags:
            return parts
        found: Parts = {}
        for (at, decided), totals in parts.items():
            for key, value in tags.items():
                if key not in decided and at.tags.get(key) is not value:
                    shift(key, at.tags.get(key), value, totals)
            part = self._part(at, decided.union(tags))
            if part in found:  # new totals, since those given belong to others as well
                merged = UsageTotals()
                merged.add(found[part])
                merged.add(totals)
                totals = merged
            found[part] = totals
        return found

    def merge(self, other: Runs) -> None:
        """Take over what was added elsewhere."""
        self.sort()
        other.sort()
        self._runs |= other._runs
        self._open |= other._open
        self._closed |= other._closed
        self._ended.extend(other._ended)
        self._roots.extend(other._roots)
        self._forgotten = max(self._forgotten, other._forgotten)

    # --- reading --------------------------------------------------------------------------------------------------

    def of(self, call: ToolCall, open_calls: Iterable[ToolCall]) -> UsageTotals | None:
        """Return what a call used so far with everything inside it, or None if that was forgotten.

        Args:
            call: the call.
            open_calls: the calls that are open right now; what has ended inside these has not reached the calls around.
        """
        self.sort()
        run = self._runs.get(call._root_serial) if call._root_serial else None
        totals = UsageTotals() if call.outcome != "open" else UsageTotals.of(call)
        if run is None:
            nested = call._serial not in (0, call._root_serial)
            if call.outcome != "open" and (nested or 0 < call._serial <= self._forgotten):
                return None
            return UsageTotals.of(call)
        if call._serial == call._root_serial:
            if run.root is None and call.outcome != "open":  # it was alone when it closed
                if call._serial <= self._forgotten:
                    return None
                totals = UsageTotals.of(call)
            totals.add(run.total())
            return totals
        if not call._serial:
            return UsageTotals.of(call)
        self.fold(run)
        family = self._closed.get(call._serial) or self._open.get(call._serial)
        if family is None and call.outcome != "open" and call._serial <= self._forgotten:
            return None
        if family is None and call.outcome != "open":  # nothing ran inside
            totals = UsageTotals.of(call)
        families = [] if family is None else [family]
        around = {serial: closed.call._parent_serial for serial, closed in self._closed.items() if closed.call}
        around |= {each._serial: each._parent_serial for each in open_calls if each._root_serial == call._root_serial}
        for serial, each in self._open.items():
            if each is not family and serial in around and _leads_to(call._serial, serial, around):
                families.append(each)
        for part in chain.from_iterable(each.parts.values() for each in families):
            totals.add(part)
        return totals

    def inside(self, call: ToolCall, before: Sequence[ToolCall]) -> Parts:
        """Return what ended inside a call that has closed and is not added yet.

        Args:
            call: the call.
            before: calls that closed before it and are not added yet either.
        """
        self.sort()
        run = self._runs.get(call._root_serial)
        if run is not None:
            self.fold(run)
        before = [other for other in before if other._root_serial == call._root_serial]
        around = {other._serial: other._parent_serial for other in before if other._serial}
        found = Family()
        for serial in (call._serial, *around):
            family = self._open.get(serial)
            if family is not None and _leads_to(call._serial, serial, around):
                found.add(family.parts)
        for other in before:
            if _leads_to(call._serial, other._parent_serial, around):
                found.add({(other._node, _NO_KEYS): UsageTotals.of(other)})  # type: ignore[dict-item]
        return found.parts

    def latest(self) -> list[Run | ToolCall]:
        """Return the last outermost calls, the last to end at the end."""
        self.sort()
        return sorted(self._roots, key=_ended_at)

    def open_shifts(self, open_calls: Iterable[ToolCall], shift: Shift) -> None:
        """Report what moves to tags that came late, for what ended inside open calls, as if these closed now."""
        if not ToolKey.any_late:
            return
        self.sort()
        known = {call._serial: call for call in open_calls if call._serial}
        late = {call._root_serial for call in known.values() if _is_late(call)}
        for run in self._runs.values():
            if run.has_late_tags or run.serial in late:
                self.fold(run)
        for serial, family in self._open.items():
            parts, at = family.parts, known.get(serial)
            while at is not None:
                parts = self._decide(at, parts, shift)
                outer = at._parent_serial
                at = None if outer is None else known.get(outer) or self._closed_call(outer)

    def _closed_call(self, serial: int) -> ToolCall | None:
        family = self._closed.get(serial)
        return None if family is None else family.call


_NO_KEYS: frozenset[str] = frozenset()


def _leads_to(outer: int, serial: int | None, around: Mapping[int, int | None]) -> bool:
    """Return whether a call, or one around it, has the serial `outer`."""
    while serial is not None and serial != outer:
        serial = around.get(serial)
    return serial is not None


def _is_late(call: ToolCall) -> bool:
    return call._node is not None and call._node.key.is_late


def _ended_at(root: Run | ToolCall) -> float:
    call = root.outermost if isinstance(root, Run) else root
    return call._opened_at + call.duration_s
