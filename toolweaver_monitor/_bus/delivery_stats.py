"""How much does a call weigh while it waits, and what do the accounts of a sink say?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from toolweaver_monitor._core.call import ToolCall

CALL_BYTES = 240


def estimate_size(call: ToolCall) -> int:
    """About how many bytes a call holds on to."""
    if call._details is None:
        return CALL_BYTES
    details = call._details
    size = 2 * CALL_BYTES + len(details.raw_error) + len(details.arguments or "") + len(details.result or "")
    for key, value in details.tags.items():
        size += 160 + len(key) + (len(value) if type(value) is str else 0)
    return size


class DeliveryStats(NamedTuple):
    """The accounts of one sink at one moment: emitted == delivered + failed + dropped + queued."""

    state: str
    emitted: int
    delivered: int
    failed_by: Mapping[str, int]
    dropped_by: Mapping[str, int]
    queued_bytes: int
    last_error: str

    @property
    def failed(self) -> int:
        """Calls that the sink refused until they were given up."""
        return sum(self.failed_by.values())

    @property
    def dropped(self) -> int:
        """Calls that the sink never was to see: no room, no time left."""
        return sum(self.dropped_by.values())

    @property
    def lost(self) -> int:
        """Failed and dropped."""
        return self.failed + self.dropped

    @property
    def queued(self) -> int:
        """Calls that wait, or that the sink is being given right now."""
        return self.emitted - self.delivered - self.failed - self.dropped

    def told(self) -> dict[str, object]:
        """For `health()`; JSON-able."""
        return {
            "state": self.state,
            "emitted": self.emitted,
            "delivered": self.delivered,
            "failed": self.failed,
            "failed_by": dict(self.failed_by),
            "dropped": self.dropped,
            "dropped_by": dict(self.dropped_by),
            "queued": self.queued,
            "queued_bytes": self.queued_bytes,
            "last_error": self.last_error,
        }
