"""The last change to a call before any sink sees it: secrets are removed, and a missing price is added."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from toolweaver_monitor._bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import ToolKey
from toolweaver_monitor._core.details import CallDetails, CompactDetails, UsageDetails
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.sanitize import MAX_LABEL_CHARS
from toolweaver_monitor._core.timeouts import on_event_loop
from toolweaver_monitor._stats.totals import UsageTotals
from toolweaver_monitor._text.redact import escape_surrogates, scrub
from toolweaver_monitor._usage import clear_usage
from toolweaver_monitor._usage.pricing import PriceBook

MAX_CACHED = 256
"""Texts whose scrubbed form is kept."""
MAX_CACHED_CHARS = 1_024


class CallEnricher:
    """The step that completes calls while the bus is drained, off the caller's path.

    Args:
        scrubbing: remove secrets from texts.
        book: knows prices; in the first moments of a program genai-prices is still being loaded.
    """

    def __init__(self, scrubbing: bool, book: PriceBook) -> None:
        self._scrub = scrub if scrubbing else truncate
        self._book = book
        self.inside: Callable[[ToolCall, Sequence[ToolCall]], tuple[UsageTotals, set[int]] | None] = lambda *_: None
        """Returns what ended inside a call, see `StatsAggregator.inside`."""
        self._shown: defaultdict[int, dict[str, str]] = defaultdict(dict)
        """What was shown of a text, by the most characters to show."""
        self._waiting_loops: list[bool] = []
        """One entry for each event loop that waits for a drain now; to append and to pop are one step each."""

    def enrich(self, calls: Sequence[ToolCall]) -> None:
        """Complete a batch of closed calls. May run again for calls that are complete."""
        models = self._shown[MAX_LABEL_CHARS]
        for call in [call for call in calls if call._details is not None]:
            details: Any = call._details
            kind = type(details)
            if ToolKey.any_declared and call._serial and details.has_cost_of_result:
                bus._guard(self._leave_out_declared, call, details, calls)
            if kind is CompactDetails and call._admission is None:
                continue
            if (
                kind is UsageDetails
                and details.cost_nanousd is not None
                and details.provider is None
                and call._admission is None
            ):
                model = details.model
                if model is None:
                    continue
                shown = models.get(model)
                if shown is not None:
                    details.model = shown
                    continue
            bus._guard(self._complete, call, details)

    def _leave_out_declared(self, call: ToolCall, details: CallDetails, batch: Sequence[ToolCall]) -> None:
        """Leave out the cost that a result tells if it is that of calls inside, some of whose costs are declared.

        Those tell the call around them nothing when they end, which would cost each of them as much again. So of their
        costs nothing is known until they are counted.
        """
        found = self.inside(call, [*takewhile(partial(_overlaps, call), reversed(batch[: batch.index(call)]))])
        if found is None or not hands_on(details, *found):
            return
        FigureNotes.add("handed on", call.tool_name)
        call._details = details = call._ensure_details()
        clear_usage(details)
        declared = call._node.key.cost_nanousd if call._node is not None and call.outcome == "success" else None
        if declared is not None:
            details.cost_nanousd, details.cost_source = declared, "declared"
        elif call.tool_name in self._book.tools:
            self._add_price(call, details)

    def _complete(self, call: ToolCall, details: CallDetails) -> None:
        try:
            call._redact(self._scrub_cached)
            if details.lacks_price or (details.cached and details.cost_source is None):
                self._add_price(call, details)
        finally:  # here and not on the caller's thread: see `Admission`
            admission, call._admission = call._admission, None
            if admission is not None:
                admission.drop()  # at once, also if something that looks at all objects refers to it

    def _scrub_cached(self, text: str, limit: int) -> str:
        """Remove secrets from a text; the same short text is looked at once, not a thousand times."""
        if len(text) > MAX_CACHED_CHARS:
            return self._scrub(text, limit)
        known = self._shown[limit]
        shown = known.get(text)
        if shown is None:
            if len(known) >= MAX_CACHED:
                known.clear()
            shown = known[text] = self._scrub(text, limit)
        return shown

    def drain(self) -> None:
        """Count everything that has ended, for a reader. On an event loop, do not wait for prices to be loaded."""
        if on_event_loop():
            self._waiting_loops.append(True)
            try:
                bus.drain()
            finally:
                self._waiting_loops.pop()
        else:
            bus.drain()

    def _add_price(self, call: ToolCall, details: CallDetails) -> None:
        """Set the cost of a call, if its price is known by now, and charge its budgets."""
        cost = self._book.cost_nanousd(call)
        if cost is None and not self._book.ready:
            self._book.wait(self._is_hurried)  # a short program reads its totals before the list is loaded
            cost = self._book.cost_nanousd(call)
        if cost is None:
            return
        details.cost_source = "priced"
        if details.cached:
            details.saved_nanousd = cost
            return
        details.cost_nanousd = cost
        if call._admission is not None:
            call._admission.charge(cost)

    def _is_hurried(self) -> bool:
        return bool(self._waiting_loops) or len(inbox) > HIGH_WATER // 2


def _overlaps(call: ToolCall, other: ToolCall) -> bool:
    """Return whether another call ended after one had begun."""
    return other._opened_at + other.duration_s >= call._opened_at


def hands_on(details: CallDetails, inside: UsageTotals, declared: set[int]) -> bool:
    """Return whether the cost that a result tells is that of calls inside: of all, or of one that declares it.

    Args:
        details: of the call around, whose cost its result told.
        inside: what all that have ended inside used.
        declared: the declared costs among it, of single calls.
    """
    cost, tokens = details.cost_nanousd, details.tokens
    if not cost or not declared:
        return False
    if tokens or details.model is not None:
        return bool(tokens) and tokens == inside.tokens and cost == inside.cost_nanousd
    return cost in declared or (cost == inside.cost_nanousd and not inside.unpriced)


def truncate(text: str, limit: int = 256) -> str:
    """Return the text cut to `limit` characters, secrets included; for `redact=False`."""
    return escape_surrogates(text)[:limit]
