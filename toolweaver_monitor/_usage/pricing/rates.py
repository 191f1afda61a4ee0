"""What do so many tokens cost at these prices? Exact integers, rounded once.

A price of p dollars per million tokens is p * 1,000 nano-dollars a token. All prices of a model are brought to one
denominator when they are read, so that a call costs a few integer operations and no rounding but the last.
"""

from __future__ import annotations

from decimal import Decimal
from math import lcm

import msgspec

from toolweaver_monitor._core.sanitize import NANO


class Rates(msgspec.Struct, frozen=True):
    """The prices of one model, in units of 1/`denominator` nano-dollars a token. None is a price that is not known."""

    denominator: int
    input: int | None
    output: int | None
    cached: int | None
    written: int | None
    written_1h: int | None
    heard: int | None
    heard_cached: int | None
    spoken: int | None
    per_call: int
    only_per_call: bool

    @classmethod
    def of(
        cls,
        *,
        input: Decimal | None = None,  # noqa: A002 - the user's word
        output: Decimal | None = None,
        cached_input: Decimal | None = None,
        cache_write: Decimal | None = None,
        cache_write_1h: Decimal | None = None,
        input_audio: Decimal | None = None,
        cached_audio: Decimal | None = None,
        output_audio: Decimal | None = None,
        per_call: Decimal | None = None,
    ) -> Rates:
        """From dollars per million tokens; `per_call` in dollars.

        What has no price of its own costs as the whole does that it is a part of. Cached audio without one costs as
        cached input does where audio has no price either, else as audio does.
        """
        from fractions import Fraction  # slow, and only where there are prices

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
        a_token = [
            None if price is None else Fraction(price) * 1_000
            for price in (
                input, output, cached_input, cache_write, cache_write_1h,
                input if input_audio is None else input_audio, cached_audio,
                output if output_audio is None else output_audio,
            )
        ]  # fmt: skip
        a_call = Fraction(per_call or 0) * NANO
        denominator = lcm(a_call.denominator, *(rate.denominator for rate in a_token if rate is not None))
        scaled = [None if rate is None else int(rate * denominator) for rate in a_token]
        given, made, cached, written, written_1h, heard, heard_cached, spoken = scaled
        return cls(
            denominator, given, made, cached, written, written_1h, heard, heard_cached, spoken,
            per_call=int(a_call * denominator), only_per_call=given is None and made is None,
        )  # fmt: skip

    @property
    def prices_audio(self) -> bool:
        """Whether audio costs something else than text."""
        return (self.heard, self.heard_cached, self.spoken) != (self.input, self.cached, self.output)

    def cost(
        self, unsplit: int, given: int, made: int, cached: int, written: int = 0, written_1h: int = 0, heard: int = 0,
        heard_cached: int = 0, spoken: int = 0,
    ) -> int | None:  # fmt: skip
        """Nano-dollars, rounded half to even once. None where a price that it takes is not known.

        Args:
            unsplit: tokens of which nobody knows whether they are input or output.
            given: input tokens, cached and written ones included.
            made: output tokens.
            cached: the part of `given` read from the provider's cache.
            written: the part of `given` written to it.
            written_1h: the part of `written` kept for an hour.
            heard: the part of `given` that is audio.
            heard_cached: the part of `heard` that is a part of `cached`, too.
            spoken: the part of `made` that is audio.
        """
        if self.only_per_call:
            return rounded(self.per_call, self.denominator)
        if not (unsplit or given or made):  # a stream that was not asked for its usage, for one: not free, unknown
            return None
        if unsplit:
            if self.output is None:  # an embedding: all is input
                given += unsplit
            elif self.input == self.output:
                made += unsplit
            else:
                return None
        total = self.per_call
        if given:
            if self.input is None:
                return None
            total += self.input * given
            if cached:
                total += (self.cached - self.input) * cached  # type: ignore[operator]
            if written:
                total += (self.written - self.input) * written  # type: ignore[operator]
                total += (self.written_1h - self.written) * written_1h  # type: ignore[operator]
            if heard:
                fresh = min(heard - heard_cached, given - cached - written)  # nothing has a price for audio written
                total += (self.heard - self.input) * fresh  # type: ignore[operator]
                total += (self.heard_cached - self.cached) * heard_cached  # type: ignore[operator]
        if made:
            if self.output is None:
                return None
            total += self.output * made
            if spoken:
                total += (self.spoken - self.output) * spoken  # type: ignore[operator]
        return rounded(total, self.denominator)


def rounded(numerator: int, denominator: int) -> int:
    """The nearest integer, half to even."""
    whole, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and whole & 1):
        whole += 1
    return whole
