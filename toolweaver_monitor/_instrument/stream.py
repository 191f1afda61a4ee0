"""The items of a monitored generator: their number, the time of the first, and the usage they report."""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import current
from toolweaver_monitor._instrument import closing
from toolweaver_monitor._instrument.results import handler_for, handlers, unknown_type
from toolweaver_monitor._instrument.shield import report_internal_error
from toolweaver_monitor._usage import StreamUsage, apply_usage

_get_handler = handlers.get


class StreamObserver:
    """Observes the items of one generator call on their way to the consumer.

    Args:
        call: the call of the generator.
        reads: whether the items may be searched for usage.
    """

    __slots__ = ("call", "reads", "usage")

    def __init__(self, call: ToolCall, *, reads: bool = True) -> None:
        self.call = call
        self.reads = reads
        self.usage: StreamUsage | None = None

    def observe(self, item: Any) -> type | None:
        """Record the time of the first item and read the usage of this one.

        Returns:
            The type of the item if no item of this type reports usage, else None. The wrapper counts all items, but
            need not pass on those of the type that was returned last.
        """
        details = self.call._ensure_details()
        if details.first_item_s is None:
            details.first_item_s = monotonic_s() - self.call._opened_at
        kind = type(item)
        if _get_handler(kind, unknown_type) is not None:
            self.read(item)
        return kind if _get_handler(kind, unknown_type) is None else None

    def read(self, item: Any) -> None:
        """Read the usage of an item, or learn that its type carries none."""
        try:
            if _get_handler(type(item), unknown_type) is unknown_type and handler_for(type(item)) is None:
                return
            if self.reads and bus.policy.read_results:
                if self.usage is None:
                    self.usage = StreamUsage()
                if closing.is_already_read(self.call, item) or self.usage.observe(item):
                    closing.mark_read(current.get(), item)  # the consumer's call may return the item
        except Exception as error:  # noqa: BLE001 - the item must reach its consumer in any case
            report_internal_error(error)

    def end(self, items: int) -> None:
        """Store the number of items and their usage in the call, before it closes."""
        call = self.call
        call._ensure_details().items = items
        if self.usage is not None:
            try:
                usage = self.usage.total()
                if usage is not None:
                    apply_usage(call, usage)
            except Exception as error:  # noqa: BLE001 - as above
                report_internal_error(error)
