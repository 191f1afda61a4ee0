"""How is a number of tokens taken out of the fields of a result? What can be none is counted as invalid."""

from __future__ import annotations

from toolweaver_monitor._core.sanitize import Invalid, token_count
from toolweaver_monitor._usage.fields import View, get, view

INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")


def number(fields: View, name: str) -> int | None:
    """A number of tokens, or None where there is none. What can be no number of tokens is counted as invalid."""
    value = get(fields, name)
    kind = type(value)
    if kind is int or kind is float:
        return token_count(value)
    if kind is bool or kind is str:
        Invalid.figures += 1
    return None


def first(fields: View, *names: str) -> int | None:
    """The first of these that is there."""
    for name in names:
        found = number(fields, name)
        if found is not None:
            return found
    return None


def inside(fields: View, *names: str) -> View:
    """The fields of the first of these that has any."""
    for name in names:
        inner = get(fields, name)
        if inner is not None and (found := view(inner)) is not None:
            return found
    return {}
