"""The items of a monitored generator: their number, the time of the first, and the usage they report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core import known_results
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import current
from toolweaver_monitor._instrument import closing
from toolweaver_monitor._instrument.results import handler_for, handlers, may_hold_answers, unknown_type
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._instrument.tool import ToolSpec
from toolweaver_monitor._usage import (
    MAX_ELEMENTS,
    MESSAGES_KEY,
    StreamUsage,
    answers_in,
    apply_usage,
    id_of,
    is_counted,
    messages_in,
)

_get_handler = handlers.get


class StreamObserver:
    """Observes the items of one generator call on their way to the consumer.

    Args:
        call: the call of the generator. If it is not open, its items are not read.
        tool: its tool, whose `usage`, `cost` and `failed` callables get each item.
        is_charged: the items come from a provider: if they report no usage, the cost is unknown and not 0.
    """

    __slots__ = (
        "again", "call", "cost", "cost_nanousd", "failed", "has_extractors", "has_started", "is_charged",
        "is_unknown", "last_id", "reader", "usage",
    )  # fmt: skip

    def __init__(self, call: ToolCall, tool: ToolSpec, *, is_charged: bool = False) -> None:
        is_open = call.outcome == "open"
        self.call = call
        self.reader: Any = tool.usage if is_open else False
        """The `usage` of the tool: a callable, None to read the items as usual, or False."""
        self.cost = tool.cost if is_open else None
        self.failed = tool.failed if is_open else None
        self.has_extractors = self.cost is not None or callable(self.reader) or self.failed is not None
        self.cost_nanousd: int | None = None
        """The sum of what the `cost` callable has returned."""
        self.is_unknown = False
        """Whether the `usage` callable has failed for an item."""
        self.usage: StreamUsage | None = None
        self.again: StreamUsage | None = None
        """What items told that had been counted before."""
        self.last_id = 0
        """The `id` of the last item that reported usage."""
        self.has_started = False
        self.is_charged = is_charged and self.reader is not False and bus.policy.read_results

    def resume(self) -> None:
        """Make the call the current one again: the first item was requested of a generator that it had returned."""
        self.has_started = True
        self.call._token = current.set(self.call)

    def observe(self, item: Any) -> type | None:
        """Record the time of the first item and read the usage of this one.

        Returns:
            The type of the item if no item of this type reports usage, else None. The wrapper counts all items, but
            need not pass on those of the type that was returned last.
        """
        details = self.call._ensure_details()
        if details.first_item_s is None:
            details.first_item_s = monotonic_s() - self.call._opened_at
        if self.has_extractors:
            self.extract(item)
            return None
        kind = type(item)
        if _get_handler(kind, unknown_type) is not None:
            self.read(item)
        return kind if _get_handler(kind, unknown_type) is None else None

    def extract(self, item: Any) -> None:
        """Give an item to the callables of the tool. One that the `usage` callable finds nothing in is read as usual.

        An item of which the `cost` callable raises, or returns no amount, leaves the cost of the stream unknown.
        """
        if self.failed is not None and self.call.error_type is None:
            closing.ask_failed(self.failed, self.call, item)
        if self.cost is not None:
            amount = closing.ask_cost(self.cost, item)
            if amount is closing.UNREAD:
                self.cost, self.cost_nanousd = _ignore, None
            elif amount is not None:
                self.cost_nanousd = (self.cost_nanousd or 0) + amount
        if not callable(self.reader):
            self.read(item)
        elif not self.was_counted(item):
            token = current.set(self.call)  # the consumer's is the current one
            usage = closing.ask_usage(self.reader, item)
            current.reset(token)
            if usage is None:
                self.read(item)
            elif usage is closing.UNREAD:
                self.is_unknown = True
            else:
                self.usage = self.usage or StreamUsage()
                self.usage.add(usage, is_last=self.is_last(item))
                self.mark(item)

    def read(self, item: Any) -> None:
        """Read the usage of an item, or learn that its type carries none."""
        try:
            if _get_handler(type(item), unknown_type) is unknown_type and handler_for(type(item)) is None:
                return
            if self.reader is not False and bus.policy.read_results:
                if self.usage is None:
                    self.usage = StreamUsage()
                kind = type(item)
                if kind is tuple or kind is list:
                    self.read_parts(item)
                elif not self.read_usage(item) and kind is dict:
                    self.read_each(answers_in(item))
                    self.read_state(item)
        except Exception as error:  # noqa: BLE001 - the item must reach its consumer in any case
            report_internal_error(error)

    def read_parts(self, item: Any) -> None:
        """Read the answers in a tuple or list: an answer beside other values, or as a graph yields them, in a pair."""
        if may_hold_answers(item):
            self.read_each(answers_in(item))
        if len(item) <= MAX_ELEMENTS:
            for part in item:
                if type(part) is tuple:  # of several modes of a graph at once: the mode, and what it yields
                    self.read_each(answers_in(part))
                elif type(part) is dict:
                    self.read_state(part)

    def read_state(self, state: Any) -> None:
        """Read the answers in the state of a graph that no call has counted."""
        states = (state, *state.values()) if len(state) <= MAX_ELEMENTS else (state,)  # or a state for each node
        has_inner = self.call._details is not None and self.call._details.inside is not None
        for each in states:
            if type(each) is dict and MESSAGES_KEY in each:
                for answer in closing.new_messages(self.call, messages_in(each), has_inner=has_inner):
                    if not is_counted(id_of(answer)):
                        self.read_each((answer,))

    def read_each(self, answers: Iterable[Any]) -> None:
        """Read the usage of the answers that one item holds."""
        for answer in answers:
            self.read_usage(answer)

    def read_usage(self, item: Any) -> bool:
        """Read the usage of an item, and return whether it carries any."""
        if self.was_counted(item):
            closing.mark_read(current.get(), item)
            return True
        has_usage = self.usage is not None and self.usage.observe(item, is_last=self.is_last(item))
        if has_usage:
            self.mark(item)
        return has_usage

    def is_last(self, item: Any) -> bool:
        """Return whether an item is the very object whose usage was read last."""
        return id(item) == self.last_id and known_results.is_known(item)

    def was_counted(self, item: Any) -> bool:
        """Return whether the figures of an item were counted before it came out of this generator.

        A generator may change one object and yield it again: figures that changed are new ones.
        """
        if id(item) == self.last_id or not known_results.is_known(item):
            return False
        closing.note_known(self.call, item)
        self.again = self.again or StreamUsage()
        self.again.observe(item)
        return True

    def mark(self, item: Any) -> None:
        """Remember an item as counted. The consumer's call may return it."""
        self.last_id = id(item)
        closing.mark_read(current.get(), item)

    def end(self, items: int, token: Any) -> None:
        """Store in the call the token with which it closes, the number of items, and what they used and cost."""
        call = self.call
        call._token = token
        details = call._ensure_details()
        details.items = items
        if self.usage is not None:
            try:
                usage = self.usage.total()
                if usage is not None:
                    recorded = closing.is_told(call)
                    apply_usage(call, usage)
                    details.is_repeat &= not closing.has_figures(call)  # else some of it is new
                    closing.leave_out_handed_on(call, *recorded)
            except Exception as error:  # noqa: BLE001 - as above
                report_internal_error(error)
        if self.cost_nanousd is not None and details.cost_nanousd is None:
            details.cost_nanousd, details.cost_source = self.cost_nanousd, "declared"
        has_told = details.tokens or details.is_repeat or details.inside is not None
        is_unknown = self.is_unknown or (self.cost is _ignore and not details.lacks_price)
        if (self.is_charged and items and not has_told) or (is_unknown and details.cost_nanousd is None):
            closing.note_unknown_cost(call)
        if details.is_repeat and self.again is not None:
            details.is_repeat = self.again.total() or True


def _ignore(item: object) -> None:
    """Stand in for a `cost` callable that has failed: what the other items cost is not the cost of all."""
