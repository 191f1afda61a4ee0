"""`Usage`, what one call used, and how it is applied to a call that is closing."""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter

import msgspec

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars, plain_text, token_count
from toolweaver_monitor._usage.parts import PART_NAMES, normalize_tier

COUNT_FIELDS = (
    "tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    *PART_NAMES,
)  # fmt: skip

_parts_of = attrgetter(*PART_NAMES)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one call used: returned by your `usage=` callable, and read from the results of model SDKs.

    Args:
        tokens: tokens that are not split into input and output.
        input_tokens: tokens sent to the model, including cached ones.
        output_tokens: tokens the model produced, including its thinking.
        cached_tokens: the part of `input_tokens` that was read from the provider's cache.
        cache_write_tokens: the part of `input_tokens` that was written to the provider's cache.
        cache_write_1h_tokens: the part of `cache_write_tokens` kept for an hour, which some providers price separately.
        input_audio_tokens: the part of `input_tokens` that is audio, which some providers price separately.
        cached_audio_tokens: the part of `input_audio_tokens` that was read from the provider's cache.
        output_audio_tokens: the part of `output_tokens` that is audio.
        input_image_tokens: the part of `input_tokens` that is images, which a few models price separately.
        cached_image_tokens: the part of `input_image_tokens` that was read from the provider's cache.
        output_image_tokens: the part of `output_tokens` that is images.
        input_video_tokens: the part of `input_tokens` that is video.
        cached_video_tokens: the part of `input_video_tokens` that was read from the provider's cache.
        output_video_tokens: the part of `output_tokens` that is video.
        reasoning_tokens: the part of `output_tokens` that is thinking, which a few models price separately.
        citation_tokens: the part of `output_tokens` that is citations, which a few models price separately.
        web_searches: searches on the web that the provider made and charges by the piece.
        other_units: units other than these that the provider charges; more than 0 makes the cost unknown.
        service_tier: the provider's tier that served the call, for example `"flex"`; None for the default one.
        cost: dollars, if the result itself reports them; None if unknown, never 0.
        model: the model's name, as its price list spells it.
        provider: the provider that served the call, for example `"openai"`.
        cached: whether your own cache answered the whole call.
        increment: in a stream, True if this item adds to the items before it; False if it covers the stream so far.
    """

    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_image_tokens: int = 0
    output_image_tokens: int = 0
    input_video_tokens: int = 0
    cached_video_tokens: int = 0
    output_video_tokens: int = 0
    reasoning_tokens: int = 0
    citation_tokens: int = 0
    web_searches: int = 0
    other_units: int = 0
    service_tier: str | None = None
    cost: float | Decimal | None = None
    model: str | None = None
    provider: str | None = None
    cached: bool = False
    increment: bool = False


def apply_usage(call: ToolCall, usage: Usage) -> None:
    """Apply the usage of a result to the call that returned it. Values given to `record()` take precedence.

    Invalid values (negative, NaN, text) are left out and counted as invalid; nothing is raised.

    Args:
        call: a call that is about to close.
        usage: the usage that its result reports.
    """
    details = call._ensure_details()
    if not details.tokens:
        details.unsplit_tokens = token_count(usage.tokens)
        details.input_tokens = total_input = token_count(usage.input_tokens)
        details.output_tokens = token_count(usage.output_tokens)
        details.cached_tokens = cached = clamp_part(usage.cached_tokens, total_input)
        if usage.cache_write_tokens:
            details.cache_write_tokens = cache_write = clamp_part(usage.cache_write_tokens, total_input - cached)
            details.cache_write_1h_tokens = clamp_part(usage.cache_write_1h_tokens, cache_write)
        if any(_parts_of(usage)):
            parts = _clamp_parts(usage, total_input, cached, details.output_tokens)
            heard, heard_cached = parts.pop("input_audio_tokens", 0), parts.pop("cached_audio_tokens", 0)
            details.audio_tokens = heard, heard_cached, parts.pop("output_audio_tokens", 0)
            details.rare_parts = parts or None
    if usage.service_tier is not None and (tier := normalize_tier(usage.service_tier)) is not None:
        details.service_tier = tier
    if details.cost_source is None and usage.cost is not None:
        nano = nanodollars(usage.cost)
        if nano is not None:
            details.cost_nanousd = nano
            details.cost_source = "reported"
    if details.model is None and usage.model is not None:
        details.model = plain_text(usage.model, 256)
    if details.provider is None and usage.provider is not None:
        details.provider = plain_text(usage.provider, 256)
    if usage.cached is True:
        details.cached = True


def _clamp_parts(usage: Usage, total_input: int, cached: int, total_output: int) -> dict[str, int]:
    """Return the parts of the tokens, none of them larger than what it is a part of."""
    counts: dict[str, int] = {}
    rest_input, rest_cached, rest_output = total_input, cached, total_output
    for kind in ("audio", "image", "video"):
        given = clamp_part(getattr(usage, f"input_{kind}_tokens"), rest_input)
        made = clamp_part(getattr(usage, f"output_{kind}_tokens"), rest_output)
        read = clamp_part(getattr(usage, f"cached_{kind}_tokens"), min(given, rest_cached))
        if kind == "audio":  # cached tokens are audio or text, and cached text cannot exceed the text of the input
            read = max(read, given + cached - total_input)
        rest_input, rest_cached, rest_output = rest_input - given, rest_cached - read, rest_output - made
        counts |= {f"input_{kind}_tokens": given, f"cached_{kind}_tokens": read, f"output_{kind}_tokens": made}
    for name in ("reasoning_tokens", "citation_tokens"):
        counts[name] = clamp_part(getattr(usage, name), rest_output)
        rest_output -= counts[name]
    for name in ("web_searches", "other_units"):
        counts[name] = token_count(getattr(usage, name))
    return {name: count for name, count in counts.items() if count}


def checked(usage: Usage) -> Usage:
    """Return a usage of which every value can be added up. Invalid values are left out and counted as invalid."""
    counts = {name: token_count(getattr(usage, name)) for name in COUNT_FIELDS}
    texts = {
        name: None if value is None else plain_text(value, 256)
        for name in ("model", "provider")
        if type(value := getattr(usage, name)) is not str
    }
    cost = None if usage.cost is None or nanodollars(usage.cost) is None else usage.cost
    tier = None if usage.service_tier is None else normalize_tier(usage.service_tier)
    return msgspec.structs.replace(
        usage, **counts, **texts, cost=cost, service_tier=tier, cached=usage.cached is True,
        increment=usage.increment is True,
    )  # fmt: skip


def clamp_part(tokens: object, whole: int) -> int:
    """Return a token count that is part of `whole`. A part larger than its whole is clamped and counted as invalid."""
    count = token_count(tokens)
    if count > whole:
        Diagnostics.invalid_values += 1
        return whole
    return count
