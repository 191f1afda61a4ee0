"""`Usage`, what one call used, and how it is applied to a call that is closing."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics, nanodollars, plain_text, token_count


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
        if usage.input_audio_tokens or usage.output_audio_tokens:
            input_audio = clamp_part(usage.input_audio_tokens, total_input)
            cached_audio = clamp_part(usage.cached_audio_tokens, min(input_audio, cached))
            # Cached tokens are audio or text, and cached text cannot exceed the text of the input.
            cached_audio = max(cached_audio, input_audio + cached - total_input)
            output_audio = clamp_part(usage.output_audio_tokens, details.output_tokens)
            details.audio_tokens = input_audio, cached_audio, output_audio
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


def clamp_part(tokens: object, whole: int) -> int:
    """Return a token count that is part of `whole`. A part larger than its whole is clamped and counted as invalid."""
    count = token_count(tokens)
    if count > whole:
        Diagnostics.invalid_values += 1
        return whole
    return count
