"""What completes a call before any sink sees it? Secrets are removed, and a price that was not known yet is added."""

from __future__ import annotations

from toolweaver_monitor._bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.timeouts import on_event_loop
from toolweaver_monitor._text.redact import escape_surrogates, scrub
from toolweaver_monitor._usage.pricing import PriceBook


class CallEnricher:
    """The last change to a call, made in the drain, off the caller's path.

    Args:
        scrubbing: take secrets out of texts.
        book: knows prices; in the first moments of a program genai-prices is still being loaded.
    """

    def __init__(self, scrubbing: bool, book: PriceBook) -> None:
        self._scrub = scrub if scrubbing else cut
        self._book = book
        self._loops: list[bool] = []
        """One for each event loop that waits for a drain right now; adding and taking away is one step each."""

    def seal(self, call: ToolCall) -> None:
        """Complete a call that something was said of."""
        call._redact(self._scrub)
        details = call._details
        if details is not None and (details.lacks_price or (details.cached and details.cost_source is None)):
            self._price(call, details)
        call._admission = None

    def read(self) -> None:
        """Bring in what has ended, for a reader; one on an event loop does not wait for prices to be loaded."""
        if on_event_loop():
            self._loops.append(True)
            try:
                bus.drain()
            finally:
                self._loops.pop()
        else:
            bus.drain()

    def _price(self, call: ToolCall, details: CallDetails) -> None:
        """Give the call its price, if it is known by now, and tell its budgets."""
        cost = self._book.cost_nanousd(call)
        if cost is None and not self._book.ready:
            self._book.wait(self._pressed)  # a short program reads its totals before the list is there
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

    def _pressed(self) -> bool:
        return bool(self._loops) or len(inbox) > HIGH_WATER // 2


def cut(text: str, limit: int = 256) -> str:
    """Text as it is, to the limit; for `redact=False`."""
    return escape_surrogates(text)[:limit]
