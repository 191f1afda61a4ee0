"""The parts of input and output that may have prices of their own, and the service tier that prices hold for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from toolweaver_monitor._usage.fields import (
    Fields,
    get_field,
    has_none_of,
    read_count,
    read_fields,
    read_first_count,
    read_first_fields,
    read_positive_count,
)

INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")

PART_NAMES = (
    "input_audio_tokens", "cached_audio_tokens", "output_audio_tokens", "input_image_tokens", "cached_image_tokens",
    "output_image_tokens", "input_video_tokens", "cached_video_tokens", "output_video_tokens", "reasoning_tokens",
    "citation_tokens", "web_searches", "other_units",
)  # fmt: skip
"""Fields of `Usage`. All tokens among them are included in `input_tokens` and `output_tokens`."""

_DEFAULT_TIERS = frozenset({
    "", "auto", "default", "standard", "standard_only", "on_demand", "ondemand", "traffic_type_unspecified",
    "unspecified",
})  # fmt: skip
_PREFIXES = ("on_demand_", "service_tier_")

TokenParts = dict[str, int]
"""Counts above 0, by the name of the field of `Usage`."""

_MODALITIES = ("audio", "image", "video")
_GEMINI_LISTS = (
    ("input_{}_tokens", ("prompt_tokens_details", "promptTokensDetails")),
    ("cached_{}_tokens", ("cache_tokens_details", "cacheTokensDetails")),
    (
        "output_{}_tokens",
        (
            "candidates_tokens_details", "candidatesTokensDetails", "response_tokens_details", "responseTokensDetails",
        ),
    ),
)  # fmt: skip
_INPUT_NAMES = {
    name: f"input_{modality}_tokens" for modality in _MODALITIES for name in (f"{modality}_tokens", modality)
}
_OUTPUT_NAMES = {
    **{name: f"output_{modality}_tokens" for modality in _MODALITIES for name in (f"{modality}_tokens", modality)},
    "reasoning_tokens": "reasoning_tokens", "reasoning": "reasoning_tokens",
}  # fmt: skip
_CACHED_NAMES = {f"{modality}_tokens": f"cached_{modality}_tokens" for modality in _MODALITIES}
_TOP_NAMES = {
    "reasoning_tokens": "reasoning_tokens", "citation_tokens": "citation_tokens",
    "num_search_queries": "web_searches", "prompt_audio_seconds": "other_units",
}  # fmt: skip
_PLAIN_NAMES = {
    "input_audio_tokens": "input_audio_tokens", "cache_audio_read_tokens": "cached_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}  # fmt: skip
_TOP = frozenset({"server_tool_use", "billed_units", *_TOP_NAMES, *_PLAIN_NAMES})
_MAX_FIELDS = 64
_BILLED_UNITS = ("search_units", "images", "classifications")
"""Units other than tokens in which Cohere bills an answer; no price here is for them."""

NO_COUNTS: Mapping[str, int] = MappingProxyType({})


def normalize_tier(tier: object) -> str | None:
    """Return the name of a tier in lower case, or None for the default one or what is not a name."""
    if type(tier) is str and tier in _DEFAULT_TIERS:
        return None
    if not issubclass(type(tier), str):
        return None
    name = str.lower(tier).replace("-", "_").replace(" ", "_")[:64]  # type: ignore[arg-type]
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return None if name in _DEFAULT_TIERS else name


def read_parts(fields: Fields, *, gemini: bool) -> TokenParts:
    """Return the parts that these fields report. Most results report none.

    Args:
        fields: the fields that contain the token counts.
        gemini: whether they are in Gemini's format.
    """
    parts: TokenParts = {}
    if gemini:
        for part, names in _GEMINI_LISTS:
            _read_modalities(fields, part, names, parts)
        return parts
    input_details = read_first_fields(fields, *INPUT_DETAILS)
    output_details = read_first_fields(fields, *OUTPUT_DETAILS)
    if input_details:
        _read_named(input_details, _INPUT_NAMES, parts)
        if parts:
            _read_named(read_first_fields(input_details, "cached_tokens_details"), _CACHED_NAMES, parts)
    if output_details:
        _read_named(output_details, _OUTPUT_NAMES, parts)
    if has_none_of(fields, _TOP):
        return parts
    if not input_details and not output_details:  # PydanticAI reports audio beside the other counts
        _read_named(fields, _PLAIN_NAMES, parts)
    _read_named(fields, _TOP_NAMES, parts)
    _read_named(read_first_fields(fields, "server_tool_use"), {"web_search_requests": "web_searches"}, parts)
    if read_positive_count(read_first_fields(fields, "billed_units"), *_BILLED_UNITS):
        parts["other_units"] = 1
    return parts


def _read_named(fields: Fields, names: dict[str, str], parts: TokenParts) -> None:
    """Read the counts of these names that are not 0; of several for one part, the first."""
    if dict.__len__(fields) > _MAX_FIELDS:
        return
    for name, value in dict.items(fields):
        if type(name) is str and value is not None and (part := names.get(name)) is not None and part not in parts:
            count = value if type(value) is int and not value else read_count(fields, name)
            if count:
                parts[part] = count


def _put(parts: TokenParts, name: str, count: int | None) -> None:
    if count:
        parts[name] = count


def _read_modalities(fields: Fields, part: str, names: tuple[str, ...], parts: TokenParts) -> None:
    """Read Gemini's counts from the first of these lists of modalities."""
    for name in names:
        modalities: Any = get_field(fields, name)
        if type(modalities) is list:
            for item in modalities[:16]:
                entry = read_fields(item)
                if entry is not None:
                    modality = get_field(entry, "modality")  # a text, or a member of an enum of texts
                    if issubclass(type(modality), str):
                        kind = str.lower(cast(str, modality))
                        if kind in _MODALITIES:
                            _put(parts, part.format(kind), read_first_count(entry, "token_count", "tokenCount"))
            return
