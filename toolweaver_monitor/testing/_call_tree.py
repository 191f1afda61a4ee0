"""Calls as text, each below the call inside which it ran, for the messages of assertions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.display import escape

SHOWN = 20
"""The most calls that a message lists."""
DEEPEST = 20
"""The most levels that are indented."""


def format_calls(
    ended: Sequence[ToolCall], running: Iterable[ToolCall] = (), only: Sequence[ToolCall] | None = None
) -> list[str]:
    """Return a line for each call, in the order in which they started, indented below the call around it.

    Args:
        ended: the calls that have ended.
        running: those that have not.
        only: show no more than these and the calls around them; None for all.
    """
    calls = sorted([*ended, *running], key=lambda call: call._opened_at)
    by_serial = {call._serial: call for call in calls if call._serial}
    if only is not None:
        kept: set[int] = set()
        for each in only:
            at: ToolCall | None = each
            while at is not None and id(at) not in kept:
                kept.add(id(at))
                at = by_serial.get(at._parent_serial or 0)
        calls = [call for call in calls if id(call) in kept]
    inside: dict[int, list[ToolCall]] = {}
    for call in calls:
        parent = call._parent_serial or 0
        inside.setdefault(parent if parent in by_serial else 0, []).append(call)
    lines: list[str] = []
    left = [(0, call) for call in reversed(inside.get(0, ()))]
    while left and len(lines) < SHOWN:
        depth, call = left.pop()
        lines.append("  " * min(depth + 1, DEEPEST) + _describe(call))
        if call._serial:
            left += [(depth + 1, child) for child in reversed(inside.get(call._serial, ()))]
    if len(calls) > SHOWN:
        lines.append(f"  and {len(calls) - SHOWN:,} more")
    return lines


def _describe(call: ToolCall) -> str:
    """Return a call as one line."""
    if call.outcome == "open":
        return f"{escape(call.tool_name)}  still running"
    parts = [escape(call.tool_name), call.outcome, f"{call.duration_s:.3f} s"]
    if call.cost_usd is not None:
        parts.append(f"${call.cost_usd:.6g}")
    if call.tokens:
        parts.append(f"{call.tokens:,} tokens")
    if call.tags:
        parts.append(escape(str(dict(call.tags))))
    if call.error_type is not None:
        parts.append(f"{escape(call.error_type)}: {escape(call.error)}")
    return "  ".join(parts)
