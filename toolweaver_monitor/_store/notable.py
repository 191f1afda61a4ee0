"""Choose the calls that are worth a row: `SQLiteStore(keep="notable")`."""

from __future__ import annotations

from collections.abc import Hashable

from toolweaver_monitor._core import clock, ids
from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._store.schema import MINUTE

MAX_OPEN_ROOTS = 10_000
MAX_RECORDS = 20_000


class NotableFilter:
    """Which calls have a row: errors, new maxima, and one in `one_in` of the other outermost calls with all inside it.

    A new maximum is a call that was slower or more expensive than all before it at its place in its minute. The calls
    around one that is kept are kept as well.

    Args:
        one_in: how many of the other outermost calls there are for each that is kept.
    """

    def __init__(self, one_in: int) -> None:
        self._one_in = one_in
        self._roots: dict[int, bool] = {}
        """The outermost calls that are open, as far as is known, and have a notable call inside."""
        self._records: dict[tuple[Hashable, int], tuple[float, int]] = {}
        """The longest duration, and the highest cost, by place and minute."""

    def weight(self, call: ToolCall) -> int:
        """Return how many calls a row of this call stands for; 0 if it gets no row.

        Args:
            call: a closed call; of a batch in the order in which they ended.
        """
        call._assign_id()
        root = call._root_serial
        is_notable = self._breaks_record(call) or call.outcome in ERROR_OUTCOMES
        has_notable = root in self._roots
        if call._parent_serial is None:
            self._roots.pop(root, None)
        elif is_notable and not has_notable:
            if len(self._roots) >= MAX_OPEN_ROOTS:  # outermost calls that never end
                self._roots.pop(next(iter(self._roots)))
            self._roots[root] = True
        if is_notable or has_notable:
            return 1
        return self._one_in if ids.mix(root) % self._one_in == 0 else 0

    def _breaks_record(self, call: ToolCall) -> bool:
        ended_at = clock.wall_time_s(call._opened_at) + call.duration_s
        key = (call._node or call.tool_name, int(ended_at) // MINUTE)
        record = self._records.get(key)
        cost = call._cost_nanousd or 0
        if record is None:
            if len(self._records) >= MAX_RECORDS:
                self._records.clear()
            self._records[key] = (call.duration_s, cost)
            return True
        if call.duration_s <= record[0] and cost <= record[1]:
            return False
        self._records[key] = (max(call.duration_s, record[0]), max(cost, record[1]))
        return True
