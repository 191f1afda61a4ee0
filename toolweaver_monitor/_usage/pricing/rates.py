"""Exact price arithmetic on integers, rounded once.

A price of p dollars per million tokens is p * 1,000 nano-dollars per token. The prices of a model are brought to one
denominator when they are read, so that a call takes a few integer operations and only the last one rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import lcm

import msgspec

from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._usage.parts import NO_COUNTS

EXTRA = {
    "input_image": ("input_image_tokens", "input"),
    "cached_image": ("cached_image_tokens", "cached_input"),
    "output_image": ("output_image_tokens", "output"),
    "input_video": ("input_video_tokens", "input"),
    "cached_video": ("cached_video_tokens", "cached_input"),
    "output_video": ("output_video_tokens", "output"),
    "reasoning": ("reasoning_tokens", "output"),
    "citation": ("citation_tokens", "output"),
}
"""Names of prices per token of rarer parts, each with its field of `Usage` and the price that holds without it."""


class Rates(msgspec.Struct, frozen=True):
    """The prices of one model, in units of 1/`denominator` nano-dollars per token. None is an unknown price."""

    denominator: int
    input: int | None
    output: int | None
    cached_input: int | None
    cache_write: int | None
    cache_write_1h: int | None
    input_audio: int | None
    cached_audio: int | None
    output_audio: int | None
    per_call: int
    is_per_call_only: bool
    extra: dict[str, int] = {}
    """For each part with a price of its own, how much more a token of it costs than one of the whole; of `web_searches`
    the price. By the name of the field of `Usage`.
    """

    @classmethod
    def from_dollars(
        cls,
        *,
        input: Decimal | None = None,  # noqa: A002 - the key in the user's table
        output: Decimal | None = None,
        cached_input: Decimal | None = None,
        cache_write: Decimal | None = None,
        cache_write_1h: Decimal | None = None,
        input_audio: Decimal | None = None,
        cached_audio: Decimal | None = None,
        output_audio: Decimal | None = None,
        per_call: Decimal | None = None,
        **parts: Decimal | None,
    ) -> Rates:
        """Return the rates for prices in dollars per million tokens, and `per_call` in dollars.

        A part without a price of its own costs as the whole that it belongs to. Cached audio without one costs as
        cached input if audio has no price either, else as audio; images and video likewise. `parts` are the prices of
        rarer parts by the names of `EXTRA`, and `web_search` in dollars per search.
        """
        from fractions import Fraction  # slow to import, and needed only if there are prices

        if cached_audio is None:
            cached_audio = cached_input if input_audio is None else input_audio
        if cached_input is None:
            cached_input = input
        if cached_audio is None:
            cached_audio = input
        if cache_write is None:
            cache_write = input
        if cache_write_1h is None:
            cache_write_1h = cache_write
        prices = {
            "input": input,
            "output": output,
            "cached_input": cached_input,
            "cache_write": cache_write,
            "cache_write_1h": cache_write_1h,
            "input_audio": input if input_audio is None else input_audio,
            "cached_audio": cached_audio,
            "output_audio": output if output_audio is None else output_audio,
        }
        per_token = {name: None if price is None else Fraction(price) * 1_000 for name, price in prices.items()}
        call = Fraction(per_call or 0) * NANO
        extra: dict[str, Fraction] = {}
        for kind in ("image", "video"):
            if parts.get(f"input_{kind}") is not None and parts.get(f"cached_{kind}") is None:
                parts[f"cached_{kind}"] = parts[f"input_{kind}"]
        for name, (field, whole) in EXTRA.items():
            price = parts.pop(name, None)
            if price is not None:
                extra[field] = Fraction(price) * 1_000 - (per_token[whole] or 0)
        search = parts.pop("web_search", None)
        if search is not None:
            extra["web_searches"] = Fraction(search) * NANO
        if parts:
            raise TypeError(f"{next(iter(parts))} is not the name of a price")
        exact = (*extra.values(), *(rate for rate in per_token.values() if rate is not None))
        denominator = lcm(call.denominator, *(rate.denominator for rate in exact))
        return cls(
            denominator=denominator,
            **{name: None if rate is None else int(rate * denominator) for name, rate in per_token.items()},
            per_call=int(call * denominator),
            is_per_call_only=input is None and output is None,
            extra={name: int(rate * denominator) for name, rate in extra.items()},
        )

    @property
    def prices_audio(self) -> bool:
        """Whether audio has another price than text."""
        return (self.input_audio, self.cached_audio, self.output_audio) != (self.input, self.cached_input, self.output)

    def cost(
        self, unsplit: int, input_tokens: int, output_tokens: int, cached: int, cache_write: int = 0,
        cache_write_1h: int = 0, input_audio: int = 0, cached_audio: int = 0, output_audio: int = 0,
        parts: Mapping[str, int] = NO_COUNTS,
    ) -> int | None:  # fmt: skip
        """Return the cost in nano-dollars, rounded once, half to even; None if a price that it needs is unknown.

        Args:
            unsplit: tokens not known to be input or output.
            input_tokens: input tokens, including those read from the provider's cache or written to it.
            output_tokens: output tokens.
            cached: the part of `input_tokens` read from the provider's cache.
            cache_write: the part of `input_tokens` written to it.
            cache_write_1h: the part of `cache_write` kept for an hour.
            input_audio: the part of `input_tokens` that is audio.
            cached_audio: the part of `input_audio` that is also part of `cached`.
            output_audio: the part of `output_tokens` that is audio.
            parts: the rarer parts, see `CallDetails.rare_parts`.
        """
        if self.is_per_call_only:
            return divide_half_even(self.per_call, self.denominator)
        extra = self._price_parts(parts, input_tokens - cached - cache_write - input_audio + cached_audio)
        if extra is None or not (unsplit or input_tokens or output_tokens):
            return None  # a piece without a price, or a stream without usage: unknown, not free
        if unsplit:
            if self.output is None:  # an embedding: all tokens are input
                input_tokens += unsplit
            elif self.input == self.output:
                output_tokens += unsplit
            else:
                return None
        total = self.per_call + extra
        if input_tokens:
            if self.input is None:
                return None
            total += self.input * input_tokens
            if cached:
                total += (self.cached_input - self.input) * cached  # type: ignore[operator]
            if cache_write:
                total += (self.cache_write - self.input) * cache_write  # type: ignore[operator]
                total += (self.cache_write_1h - self.cache_write) * cache_write_1h  # type: ignore[operator]
            if input_audio:
                # No provider has a price for audio written to the cache: such tokens cost as a cache write only.
                uncached_audio = min(input_audio - cached_audio, input_tokens - cached - cache_write)
                total += (self.input_audio - self.input) * uncached_audio  # type: ignore[operator]
                total += (self.cached_audio - self.cached_input) * cached_audio  # type: ignore[operator]
        if output_tokens:
            if self.output is None:
                return None
            total += self.output * output_tokens
            if output_audio:
                total += (self.output_audio - self.output) * output_audio  # type: ignore[operator]
        return divide_half_even(total, self.denominator)

    def _price_parts(self, parts: Mapping[str, int], uncached_input: int) -> int | None:
        """Return what these parts cost more than the input and output that they belong to; None if it is unknown."""
        extra, total = self.extra, 0
        for name, count in parts.items():
            if name == "other_units" or (name == "web_searches" and name not in extra):
                return None  # it is charged by the piece, which costs what no token tells
            if name.startswith("input_"):  # images and video written to the cache cost as a cache write only
                count = max(0, min(count - parts.get(name.replace("input_", "cached_"), 0), uncached_input))
                uncached_input -= count
            total += extra.get(name, 0) * count
        return total


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return the quotient, rounded half to even."""
    whole, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and whole & 1):
        whole += 1
    return whole
