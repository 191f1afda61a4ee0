"""How much of the tokens is audio? Providers price speech at several times what text costs."""

from __future__ import annotations

from typing import Any, cast

from toolweaver_monitor._usage.fields import View, get, view
from toolweaver_monitor._usage.numbers import INPUT_DETAILS, OUTPUT_DETAILS, first, inside, number


def audio_in(fields: View, *, gemini: bool) -> tuple[int, int, int]:
    """Of the input, of that what came out of the cache, of the output; most say nothing.

    Args:
        fields: what says how many tokens there were.
        gemini: whether it does so in Gemini's words.
    """
    if gemini:
        return (
            _by_modality(fields, "prompt_tokens_details", "promptTokensDetails"),
            _by_modality(fields, "cache_tokens_details", "cacheTokensDetails"),
            _by_modality(
                fields, "candidates_tokens_details", "candidatesTokensDetails", "response_tokens_details",
                "responseTokensDetails",
            ),
        )  # fmt: skip
    given, made = inside(fields, *INPUT_DETAILS), inside(fields, *OUTPUT_DETAILS)
    if not given and not made:  # PydanticAI, if anyone
        return (
            number(fields, "input_audio_tokens") or 0,
            number(fields, "cache_audio_read_tokens") or 0,
            number(fields, "output_audio_tokens") or 0,
        )
    heard = first(given, "audio_tokens", "audio") or 0
    cached = number(inside(given, "cached_tokens_details"), "audio_tokens") if heard else 0
    return heard, cached or 0, first(made, "audio_tokens", "audio") or 0


def _by_modality(fields: View, *names: str) -> int:
    """Gemini's tokens of audio: it has a list of kinds, each with its count."""
    for name in names:
        kinds: Any = get(fields, name)
        if type(kinds) is list:
            for one in kinds[:16]:
                part = view(one)
                if part is not None:
                    kind = get(part, "modality")
                    if issubclass(type(kind), str) and str.__eq__(cast(str, kind), "AUDIO"):  # an enum's member, too
                        return first(part, "token_count", "tokenCount") or 0
            return 0
    return 0
