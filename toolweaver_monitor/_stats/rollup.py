"""What did a call cost with everything that ran inside it: one receipt, one workflow run, one customer?

Calls arrive closed, mostly the inner before the outer ones, from any number of threads and tasks at once. What an inner
call used is added to the call around it, and when that closes, to the next one out, up to the outermost. A call that
ends later than the one around it is added at once, through all that have closed.

What a call used counts for a tag of the nearest call around it that has the tag, itself first. So each call counts
once in each way of looking at the sums, and all of these come to the same total.
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
"""Open calls with something counted inside them."""
MAX_CLOSED = 4_096
"""Closed calls that had others inside them, kept for those of these that end late, and for `of`."""
MAX_ROOTS = 1_000
"""Outermost calls listed one by one."""
MAX_KEYS = 64
"""Tag keys that are summed up."""
MAX_VALUES = 10_000
"""Values of all tags together."""
MAX_PARTS = 64
"""Sets of tag keys that are told apart inside one call."""

UnattributedTotals = dict[frozenset[str], UsageTotals]
"""What calls used, by the tag keys that have had their share of it."""

UNCLAIMED: frozenset[str] = frozenset()
OPEN = "(open)"


class Subtree:
    """A call and everything inside it."""

    __slots__ = ("call", "sums")

    def __init__(self, call: ToolCall, sums: UsageTotals) -> None:
        self.call = call
        self.sums = sums


class Rollup:
    """Sums by model, tag, outermost call and single call, in bounded memory. Guarded by the lock of `StatsAggregator`.

    Args:
        open_calls: gives the calls that are open right now, which know the tags of what waits inside them.
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
        """The last outermost calls; bare, where nothing ran inside."""
        self._by_root = TotalsByName()
        self._by_tag: dict[str, TotalsByName] = {}
        self._values = 0
        self._waiting: dict[int, UnattributedTotals] = {}
        """What ended inside calls that are open, by their serial."""
        self._families: dict[int, Subtree] = {}
        self._forgotten = 0
        """The greatest serial of a family that had to make room."""

    # --- counting -------------------------------------------------------------------------------------------------

    def count(self, call: ToolCall) -> None:
        """Count one closed call that something was said of, or that has a call around or inside it."""
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
        """As `count`, for outermost calls of one tool whose result said `CompactDetails`; `roots` has them already."""
        self._by_root.at(tool).count_plain(calls)

    def _count_leaf(self, call: ToolCall) -> None:
        """Count a call inside which nothing can have run, and around which nothing has closed: in half the time."""
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
        if call._serial:  # else nothing can end inside it any more
            self._keep(call._serial, family)
        if call._parent_serial is None:
            self.roots.append(family)
        self._rise(call, parts)

    def _rise(self, call: ToolCall, parts: UnattributedTotals) -> None:
        """Give what a closed call used to its tags, to the call around it, and so on as far as all is closed."""
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
        """Count for these tags what has not counted for another value of theirs further in."""
        rest: UnattributedTotals = {}
        for claimed, part in parts.items():
            for table in self._tables(tags, claimed):
                table.add(part)
            self._part(rest, claimed | self._known(tags)).add(part)
        return rest

    def _tables(self, tags: Mapping[str, TagValue], claimed: frozenset[str]) -> Iterator[UsageTotals]:
        """The sums of these tags, but for keys that have had their share."""
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
        """The keys that are summed up."""
        return frozenset(tags.keys() & self._by_tag.keys()) if tags else UNCLAIMED

    def _part(self, parts: UnattributedTotals, claimed: frozenset[str]) -> UsageTotals:
        """The sums of those that have claimed the same, to be added to."""
        if claimed not in parts and len(parts) >= MAX_PARTS:  # so motley that no further tag is given a share
            claimed = frozenset(self._by_tag)
        part = parts.get(claimed)
        if part is None:
            part = parts[claimed] = UsageTotals()
        return part

    def _inside(self, serial: int) -> UnattributedTotals:
        """What ended inside an open call, to be added to."""
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
        """Take over what another roll-up has counted."""
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
        """What a call used so far with everything inside it; None where that was forgotten to keep memory bounded."""
        family = self._families.get(call._serial)
        if family is not None:
            return family.sums
        if call.outcome != "open" and 0 < call._serial <= self._forgotten:
            return None
        sums = UsageTotals.of(call)
        sums.add(total(self._waiting.get(call._serial, {})))
        return sums

    def by_tag(self, key: str) -> TotalsByName:
        """Sums by the values of a tag; what ended inside open calls counts for the tags that these have by now."""
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
        """The keys of all tags seen."""
        return list(self._by_tag)

    def by_root(self) -> TotalsByName:
        """Sums by the tool of the outermost call; `(open)` for what ended inside one that nothing is known of yet."""
        table = TotalsByName()
        table.absorb(self._by_root)
        for around, parts in self._running():
            known = bool(around) and around[-1]._parent_serial is None
            table.at(around[-1].tool_name if known else OPEN).add(total(parts))
        return table

    def _running(self) -> Iterator[tuple[list[ToolCall], UnattributedTotals]]:
        """What ended inside open calls, each time with the calls around it, the innermost first."""
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
    """All of them together."""
    sums = UsageTotals()
    for part in parts.values():
        sums.add(part)
    return sums
