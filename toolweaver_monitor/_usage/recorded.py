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


def record_figures(call: ToolCall, figures: dict[str, Any], told: tuple[Any, ...]) -> None:
    """Add figures that are named as in results to what an open call has recorded. Never raises.

    Of a figure that one record tells twice, its own name counts, then `usage=`, then the other names. If they agree,
    the one with the most detail counts.

    Args:
        call: the open call.
        figures: keywords, among `READ_AS_RESULT`.
        told: what the same record has added under its own names, see `take_figures`.
    """
    unsplit, given, produced, cached, nanousd, model, provider = told
    others = dict(figures)
    response = others.pop("usage", None)
    found = [None if response is None else read_usage_object(response), read_dict(others) if others else None]
    if response is not None and found[0] is None:
        Diagnostics.invalid_values += 1
    more = CallDetails(unsplit or 0, given or 0, produced or 0, cached or 0, nanousd, model=model, provider=provider)
    record = ToolCall(call.tool_name, _details=more)
    has_untold = True
    for usage in found:
        if usage is not None:
            has_untold = has_untold and not _add_untold(more, usage)
            apply_usage(record, usage)
    more.unsplit_tokens -= unsplit or 0  # those are added already
    more.input_tokens -= given or 0
    more.output_tokens -= produced or 0
    more.cached_tokens = 0 if cached else more.cached_tokens
    more.cost_nanousd = None if nanousd is not None else more.cost_nanousd
    add_figures(call, more)


def _add_untold(more: CallDetails, usage: Usage) -> bool:
    """Make room for the tokens of a usage if they are those told before, else add the input or output not told yet.

    Returns whether it has any.
    """
    record = ToolCall("")
    apply_usage(record, usage)
    if (
        more.unsplit_tokens in (0, record.tokens)
        and more.input_tokens in (0, record.input_tokens)
        and more.output_tokens in (0, record.output_tokens)
    ):
        more.unsplit_tokens = more.input_tokens = more.output_tokens = 0
    elif not more.unsplit_tokens:
        more.input_tokens = more.input_tokens or record.input_tokens
        more.output_tokens = more.output_tokens or record.output_tokens
    return record.tokens > 0


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
