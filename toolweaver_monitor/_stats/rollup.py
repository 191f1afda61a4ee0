"""Usage and cost of a call with everything that ran inside it, by model, tag, outermost call and subtree.

This answers what one receipt, one workflow run or one customer has cost.

Calls arrive closed, mostly the inner before the outer ones, from any number of threads and tasks at once. The usage of
an inner call is added to the call around it, and when that closes, to the next one out, up to the outermost. A call
that ends later than the one around it is added at once, through all calls around it that have closed.

The usage of a call counts for a tag of the nearest call that has the tag, starting with the call itself. So each call
counts once in each breakdown, and all breakdowns have the same total.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import NO_TAGS, TagValue, scrub_tag_value
from toolweaver_monitor._stats.totals import TotalsByName, UsageTotals
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW
from toolweaver_monitor._text.redact import scrub

MAX_OPEN = 50_000
"""Open calls inside which something was counted."""
MAX_CLOSED = 4_096
"""Closed calls that had others inside them, kept for inner calls that end late, and for `of`."""
MAX_ROOTS = 1_000
"""Outermost calls that are listed one by one."""
MAX_KEYS = 64
"""Tag keys that have totals."""
MAX_VALUES = 10_000
"""Values of all tags together."""
MAX_PARTS = 64
"""Sets of tag keys that are kept apart inside one call."""

UnattributedTotals = dict[frozenset[str], UsageTotals]
"""The usage of calls, by the tag keys for which it has already been counted."""

UNCLAIMED: frozenset[str] = frozenset()
OPEN = "(open)"


class Subtree:
    """A call and everything inside it."""

    __slots__ = ("call", "sums")

    def __init__(self, call: ToolCall, sums: UsageTotals) -> None:
        self.call = call
        self.sums = sums


class Rollup:
    """Totals by model, tag, outermost call and single call, in bounded memory. The lock of `StatsAggregator` guards it.

    Args:
        open_calls: returns the calls that are open right now, which have the tags for what ended inside them.
    """

    def __init__(self, open_calls: Callable[[], Iterable[ToolCall]] = tuple) -> None:
        self._open_calls = open_calls
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.by_model = TotalsByName()
        self.unpriced: dict[tuple[str, str], UsageTotals] = {}
        """By tool and model."""
        self.roots: deque[Subtree | ToolCall] = deque(maxlen=MAX_ROOTS)
        """The last outermost calls; the bare call if nothing ran inside it."""
        self._by_root = TotalsByName()
        self._by_tag: dict[str, TotalsByName] = {}
        self._values = 0
        self._waiting: dict[int, UnattributedTotals] = {}
        """The usage of what ended inside open calls, by the serial of the open call."""
        self._families: dict[int, Subtree] = {}
        self._forgotten = 0
        """The greatest serial of a subtree that was removed to make room."""

    # --- counting -------------------------------------------------------------------------------------------------

    def count(self, call: ToolCall) -> None:
        """Count one closed call that has details, or a call around or inside it."""
        details = call._details
        if details is not None:
            if details.model is not None:
                self.by_model.at(details.model).count(call)
            if details.cost_nanousd is None and details.lacks_price:
                self._unpriced(call.tool_name, details.model or "").count(call)
        if call._serial or call._parent_serial in self._families:
            self._count_family(call)
        else:
            self._count_leaf(call)

    def count_plain(self, tool: str, calls: Sequence[ToolCall]) -> None:
        """Count outermost calls of one tool that have `CompactDetails` and are in `roots` already."""
        self._by_root.at(tool).count_plain(calls)

    def _count_leaf(self, call: ToolCall) -> None:
        """Count a call with no call inside it and no closed call around it, which takes half the time."""
        tags = call._details.tags if call._details is not None else NO_TAGS
        if tags:
            for table in self._tables(tags, UNCLAIMED):
                table.count(call)
        if call._parent_serial is None:
            self._by_root.at(call.tool_name).count(call)
            self.roots.append(call)
        else:
            self._part(self._inside(call._parent_serial), self._known(tags)).count(call)

    def _count_family(self, call: ToolCall) -> None:
        parts = self._waiting.pop(call._serial, {})
        self._part(parts, UNCLAIMED).count(call)
        family = Subtree(call, total(parts))
        if call._serial:  # without a serial, nothing can still end inside it
            self._keep(call._serial, family)
        if call._parent_serial is None:
            self.roots.append(family)
        self._rise(call, parts)

    def _rise(self, call: ToolCall, parts: UnattributedTotals) -> None:
        """Add the usage of a closed call to its tags and to the call around it, and so on through all closed calls."""
        while True:
            tags = call._details.tags if call._details is not None else NO_TAGS
            if tags:
                parts = self._claim(tags, parts)
            if call._parent_serial is None:
                self._by_root.at(call.tool_name).add(total(parts))
                return
            around = self._families.get(call._parent_serial)
            if around is None:
                waiting = self._inside(call._parent_serial)
                for claimed, part in parts.items():
                    self._part(waiting, claimed).add(part)
                return
            around.sums.add(total(parts))
            call = around.call

    def _claim(self, tags: Mapping[str, TagValue], parts: UnattributedTotals) -> UnattributedTotals:
        """Count the usage for these tags, except what already counted for the same tag of an inner call."""
        rest: UnattributedTotals = {}
        for claimed, part in parts.items():
            for table in self._tables(tags, claimed):
                table.add(part)
            self._part(rest, claimed | self._known(tags)).add(part)
        return rest

    def _tables(self, tags: Mapping[str, TagValue], claimed: frozenset[str]) -> Iterator[UsageTotals]:
        """Yield the totals of these tags, except of the keys for which the usage was counted already."""
        for key, value in tags.items():
            if key in claimed:
                continue
            table = self._by_tag.get(key)
            if table is None:
                if len(self._by_tag) >= MAX_KEYS:
                    continue
                table = self._by_tag[key] = TotalsByName()
            name = str(value)
            if name not in table:
                if self._values >= MAX_VALUES:
                    name = OVERFLOW
                self._values += 1
            yield table.at(name)

    def _known(self, tags: Mapping[str, TagValue]) -> frozenset[str]:
        """Return the keys of these tags that have totals."""
        return frozenset(tags.keys() & self._by_tag.keys()) if tags else UNCLAIMED

    def _part(self, parts: UnattributedTotals, claimed: frozenset[str]) -> UsageTotals:
        """Return the totals of the usage that was counted for these keys, to be added to."""
        if claimed not in parts and len(parts) >= MAX_PARTS:  # too many different sets: it counts for no further tag
            claimed = frozenset(self._by_tag)
        part = parts.get(claimed)
        if part is None:
            part = parts[claimed] = UsageTotals()
        return part

    def _inside(self, serial: int) -> UnattributedTotals:
        """Return the usage of what ended inside an open call, to be added to."""
        parts = self._waiting.get(serial)
        if parts is None:
            if len(self._waiting) >= MAX_OPEN:
                self._by_root.at(OVERFLOW).add(total(self._waiting.pop(next(iter(self._waiting)))))
            parts = self._waiting[serial] = {}
        return parts

    def _keep(self, serial: int, family: Subtree) -> None:
        if len(self._families) >= MAX_CLOSED:
            oldest = next(iter(self._families))
            self._forgotten = max(self._forgotten, oldest)
            del self._families[oldest]
        self._families[serial] = family

    def _unpriced(self, tool: str, model: str) -> UsageTotals:
        key = (tool, model)
        if key not in self.unpriced and len(self.unpriced) >= MAX_NAMES:
            key = (OVERFLOW, OVERFLOW)
        sums = self.unpriced.get(key)
        if sums is None:
            sums = self.unpriced[key] = UsageTotals()
        return sums

    def absorb(self, other: Rollup) -> None:
        """Add what another roll-up has counted."""
        self.by_model.absorb(other.by_model)
        self._by_root.absorb(other._by_root)
        for key, table in other._by_tag.items():
            if key in self._by_tag or len(self._by_tag) < MAX_KEYS:
                self._by_tag.setdefault(key, TotalsByName()).absorb(table)
        for (tool, model), sums in other.unpriced.items():
            self._unpriced(tool, model).add(sums)
        for serial, family in other._families.items():
            self._keep(serial, family)
        for serial, parts in other._waiting.items():
            waiting = self._inside(serial)
            for claimed, part in parts.items():
                self._part(waiting, claimed).add(part)
        self.roots.extend(other.roots)
        self._forgotten = max(self._forgotten, other._forgotten)

    # --- reading --------------------------------------------------------------------------------------------------

    def of(self, call: ToolCall) -> UsageTotals | None:
        """Return the usage of a call so far with everything inside it, or None if it was dropped to save memory."""
        family = self._families.get(call._serial)
        if family is not None:
            return family.sums
        if call.outcome != "open" and 0 < call._serial <= self._forgotten:
            return None
        sums = UsageTotals.of(call)
        sums.add(total(self._waiting.get(call._serial, {})))
        return sums

    def by_tag(self, key: str) -> TotalsByName:
        """Return totals by the value of a tag. What ended inside open calls counts for their tags of this moment."""
        table = TotalsByName()
        table.absorb(self._by_tag.get(key, {}))
        for around, parts in self._running():
            value = next((call.tags[key] for call in around if key in call.tags), None)
            if value is not None:
                name = str(scrub_tag_value(key, value, scrub))
                for claimed, part in parts.items():
                    if key not in claimed:
                        table.at(name).add(part)
        return table

    def tag_keys(self) -> list[str]:
        """Return the keys of all tags that have totals."""
        return list(self._by_tag)

    def by_root(self) -> TotalsByName:
        """Return totals by the tool of the outermost call, or by `(open)` if that call is not known yet."""
        table = TotalsByName()
        table.absorb(self._by_root)
        for around, parts in self._running():
            known = bool(around) and around[-1]._parent_serial is None
            table.at(around[-1].tool_name if known else OPEN).add(total(parts))
        return table

    def _running(self) -> Iterator[tuple[list[ToolCall], UnattributedTotals]]:
        """Yield the usage of what ended inside each open call, with the calls around it, the innermost first."""
        if not self._waiting:
            return
        known = {call._serial: call for call in self._open_calls() if call._serial}
        for serial, parts in self._waiting.items():
            around: list[ToolCall] = []
            at: int | None = serial
            while at is not None:
                family = self._families.get(at)
                call = known.get(at) or (family.call if family is not None else None)
                if call is None:
                    break
                around.append(call)
                at = call._parent_serial
            yield around, parts


def total(parts: UnattributedTotals) -> UsageTotals:
    """Return all of them together."""
    sums = UsageTotals()
    for part in parts.values():
        sums.add(part)
    return sums
