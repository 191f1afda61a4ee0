"""Figures that `record()` and `track()` are given under the names that they have in results."""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.figure_words import FigureReader
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._usage.dict_results import read_dict
from toolweaver_monitor._usage.fields import read_fields
from toolweaver_monitor._usage.readers import find_reader
from toolweaver_monitor._usage.usage import Usage, apply_usage


def read_usage_object(usage: Any) -> Usage | None:
    """Return the usage of an answer as SDKs give it (`response.usage`), of the answer itself, of a dict or a `Usage`.

    No code of the object is run. Returns None if it reports none.
    """
    if type(usage) is Usage:
        return usage
    reader = find_reader(type(usage))
    found = reader(usage) if reader is not None else None
    if found is None and read_fields(usage) is not None:
        found = read_dict({"usage": usage})
    return found


def record_figures(call: ToolCall, figures: dict[str, Any]) -> None:
    """Add figures that are named as in results to what an open call has recorded. Never raises.

    Args:
        call: the open call.
        figures: keywords, among `READ_AS_RESULT`.
    """
    others = dict(figures)
    given = others.pop("usage", None)
    found = [None if given is None else read_usage_object(given), read_dict(others) if others else None]
    if given is not None and found[0] is None:
        Diagnostics.invalid_values += 1
    for usage in found:
        if usage is not None:
            again = ToolCall(call.tool_name)
            apply_usage(again, usage)
            if again._details is not None:
                add_figures(call, again._details)


def add_figures(call: ToolCall, more: CallDetails) -> None:
    """Add figures to those of an open call: tokens, their parts and costs are summed, names overwritten."""
    details = call._ensure_details()  # first: a call without details would take the others as its own
    call._add_used(more)
    _add_parts(details, more)


def _add_parts(details: CallDetails, more: CallDetails) -> None:
    """Add the parts of tokens, and the tier. One thread at a time, since `record` calls this under its lock."""
    for name in ("cache_write_tokens", "cache_write_1h_tokens"):
        setattr(details, name, getattr(details, name) + getattr(more, name))
    one, two = details.audio_tokens, more.audio_tokens
    details.audio_tokens = one[0] + two[0], one[1] + two[1], one[2] + two[2]
    if more.rare_parts:
        parts = dict(details.rare_parts or {})
        for name, count in more.rare_parts.items():
            parts[name] = parts.get(name, 0) + count
        details.rare_parts = parts
    details.service_tier = more.service_tier or details.service_tier


FigureReader.read = staticmethod(record_figures)
