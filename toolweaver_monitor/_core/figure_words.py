"""Figures among the keywords of `record()` and `track()`: under another name, and misspelt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.sanitize import Diagnostics, plain_number
from toolweaver_monitor._text.names import safe_name, suggest

FIGURES = ("tokens", "input_tokens", "output_tokens", "cached_tokens", "cost", "attempt")
"""The numbers that `ToolCall.record` accepts by name."""
READ_AS_RESULT = frozenset({
    "cost_usd", "total_cost_usd", "response_cost", "prompt_tokens", "completion_tokens", "total_tokens", "tokens_used",
    "usage",
})  # fmt: skip
"""Keywords that mean what they mean as keys of a result."""
has_no_figures = READ_AS_RESULT.isdisjoint
has_only_tags = (READ_AS_RESULT | {"tags"}).isdisjoint
_SYNONYMS = {
    "price": "cost", "usd": "cost", "total_cost": "cost", "costUSD": "cost", "token_count": "tokens",
    "retries": "attempt",
}  # fmt: skip

MAX_CHECKED = 1_024

log = logging.getLogger("toolweaver_monitor")


class FigureReader:
    """How figures are read that are named as in results. `_usage` sets it."""

    read: Callable[[Any, dict[str, Any], Any], None] = staticmethod(lambda _call, _figures, _told: None)


def take_figures(call: Any, keywords: dict[str, Any], told: tuple[Any, ...]) -> dict[str, Any]:
    """Record the figures among the keywords of `record()`, and return the tags.

    Args:
        call: the open call.
        keywords: the keywords.
        told: what the same record says under its own names: tokens, input, output, cached tokens, nano-dollars, model
            and provider; None for what it does not say.
    """
    if has_only_tags(keywords):
        return keywords
    figures, tags = split_keywords(keywords)
    if figures:
        FigureReader.read(call, figures, told)
    return tags


def split_keywords(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures among the keywords, and the tags: the others, and the entries of a mapping named `tags`."""
    figures: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in READ_AS_RESULT:
            figures[name] = value
        elif name == "tags" and isinstance(value, Mapping):
            try:
                tags.update(value)
            except Exception:  # noqa: BLE001 - a mapping of the user's own
                Diagnostics.invalid_values += 1
        else:
            tags[name] = value
    return figures, tags


_innocent: set[str] = set()
"""Names of tags that resemble no figure."""


def warn_of_misspelt(tags: Mapping[str, Any]) -> None:
    """Say once, in the log and in `health()`, that a tag with a number is probably a misspelt figure."""
    for name, value in tags.items():
        if type(value) is str or name in _innocent or plain_number(value) is None:
            continue
        close = [_SYNONYMS[name]] if name in _SYNONYMS else suggest(name, FIGURES, cutoff=0.8)
        close = close or suggest(name, READ_AS_RESULT, cutoff=0.9)  # or `completion_time` would be one
        if not close:
            if len(_innocent) >= MAX_CHECKED:
                _innocent.clear()
            _innocent.add(name)
        elif FigureNotes.add("misspelt", safe_name(name), close[0]):
            log.warning("toolweaver_monitor: %s", misspelt_text(safe_name(name), close[0]))


def misspelt_text(name: str, figure: str) -> str:
    """Return the sentence about a tag that is probably a misspelt figure, with the cure."""
    return f"tag {name!r} holds numbers, which are not counted; did you mean record({figure}=...)?"
