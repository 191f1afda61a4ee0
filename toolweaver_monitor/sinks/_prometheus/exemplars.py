"""Exemplars: for a bucket or a counter, the trace of a call that it has counted lately."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from toolweaver_monitor._core.call import ERROR_OUTCOMES, ToolCall
from toolweaver_monitor._text.names import OVERFLOW

MAX_LOOKED_AT = 10_000
"""The last calls among which exemplars are searched at a scrape."""


class Exemplar(NamedTuple):
    """The trace of one call."""

    trace_id: str
    """32 hexadecimal digits, as W3C writes it."""
    value: float
    """What the call added: seconds, or 1 to a counter."""
    at_s: float
    """When the call ended, in Unix seconds."""


class Exemplars(NamedTuple):
    """The exemplars of one scrape."""

    durations: dict[str, dict[int, Exemplar]]
    """By tool, then by the place of the bucket's upper bound in the list of bounds; one behind it is `+Inf`."""
    failures: dict[tuple[str, str], Exemplar]
    """By tool and type of error."""


def find_exemplars(
    calls: Iterable[ToolCall], errors: Iterable[ToolCall], bounds: Sequence[float], tools: Collection[str]
) -> Exemplars:
    """Return the latest call of each bucket of each tool, and of each type of error.

    Args:
        calls: the last calls, the oldest first.
        errors: the last failures and timeouts, the oldest first.
        bounds: the upper bounds of the buckets in seconds.
        tools: the tools that are shown by name; the others are `__overflow__`.
    """
    latest: dict[tuple[str, int], ToolCall] = {}
    for call in calls:
        if call.outcome != "rejected":
            latest[call.tool_name, bisect_left(bounds, call.duration_s)] = call
    found = Exemplars({}, {})
    for (tool, bucket), call in latest.items():
        of_tool = found.durations.setdefault(tool if tool in tools else OVERFLOW, {})
        of_tool[bucket] = _exemplar(call, call.duration_s)
    failed = {(call.tool_name, call.error_type): call for call in errors if call.outcome in ERROR_OUTCOMES}
    for (tool, kind), call in failed.items():
        if kind is not None:
            found.failures[tool if tool in tools else OVERFLOW, kind] = _exemplar(call, 1.0)
    return found


def _exemplar(call: ToolCall, value: float) -> Exemplar:
    return Exemplar(f"{call.trace_id:032x}", value, call.started_at + call.duration_s)
