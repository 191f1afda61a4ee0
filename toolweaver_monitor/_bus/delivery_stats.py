"""Delivery statistics of a sink, and the estimated size of a queued call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from toolweaver_monitor._core.call import ToolCall

CALL_BYTES = 240


def estimate_size(call: ToolCall) -> int:
    """Return about how many bytes a call holds."""
    details, tags = call._details, call._own_tags
    if details is None and not tags:
        return CALL_BYTES
    size = 2 * CALL_BYTES
    if details is not None:
        size += len(details.raw_error) + len(details.arguments or "") + len(details.result or "")
    for key, value in tags.items():
        size += 160 + len(key) + (len(value) if type(value) is str else 0)
    return size


class DeliveryStats(NamedTuple):
    """What happened to the calls of one sink so far: emitted == delivered + failed + dropped + queued."""

    state: str
    emitted: int
    delivered: int
    failed_by: Mapping[str, int]
    dropped_by: Mapping[str, int]
    queued_bytes: int
    last_error: str
    hint: str = ""
    """What to do about the last error; empty if the error has no hint."""

    @property
    def failed(self) -> int:
        """Calls that the sink failed to write until they were abandoned."""
        return sum(self.failed_by.values())

    @property
    def dropped(self) -> int:
        """Calls that never reached the sink, for lack of room or of time."""
        return sum(self.dropped_by.values())

    @property
    def lost(self) -> int:
        """Calls that failed or were dropped."""
        return self.failed + self.dropped

    @property
    def queued(self) -> int:
        """Calls that wait or are in flight."""
        return self.emitted - self.delivered - self.failed - self.dropped

    def as_dict(self) -> dict[str, object]:
        """Return the counts as `health()` shows them. JSON-able."""
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
