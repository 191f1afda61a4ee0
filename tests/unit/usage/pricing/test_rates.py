"""A call's cost equals the exact sum in fractions, whatever the prices and tokens."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor._usage.pricing.rates import Rates

price = st.decimals(min_value=Decimal("0.000001"), max_value=1_000, places=6)
tokens = st.integers(0, 10**9)


@given(price, price, st.none() | price, st.none() | price, st.none() | price, tokens, tokens, tokens, tokens, tokens)
def test_each_token_is_priced_once_and_the_sum_is_rounded_once(
    input_price: Decimal, output_price: Decimal, cached_price: Decimal | None, write_price: Decimal | None,
    hour_price: Decimal | None, plain: int, output: int, cached: int, written: int, hour: int,
) -> None:  # fmt: skip
    """Input is plain, cached, or written (for minutes or an hour); what has no price of its own costs as input does."""
    rates = Rates.from_dollars(
        input=input_price, output=output_price, cached_input=cached_price, cache_write=write_price,
        cache_write_1h=hour_price,
    )  # fmt: skip
    write = input_price if write_price is None else write_price
    parts = [
        (plain, input_price), (output, output_price), (cached, input_price if cached_price is None else cached_price),
        (written, write), (hour, write if hour_price is None else hour_price),
    ]  # fmt: skip
    exact = sum(Fraction(one) * count * 1_000 for count, one in parts)
    found = rates.cost(0, plain + cached + written + hour, output, cached, written + hour, hour)
    assert found == (round(exact) if any(count for count, _ in parts) else None)


@given(st.tuples(*[price] * 6), tokens, tokens, tokens, tokens, tokens, tokens)
def test_audio_is_a_part_of_input_and_output_and_priced_once(
    prices: tuple[Decimal, ...],
    text: int,
    input_audio: int,
    text_cached: int,
    cached_audio: int,
    output: int,
    output_audio: int,
) -> None:
    """Text and audio, plain and cached, each at its own price; without one, audio costs as text does."""
    input_price, output_price, cached_price, audio_price, cached_audio_price, output_audio_price = prices
    parts = [
        (text, input_price), (input_audio, audio_price), (text_cached, cached_price),
        (cached_audio, cached_audio_price), (output, output_price), (output_audio, output_audio_price),
    ]  # fmt: skip
    rates = Rates.from_dollars(
        input=input_price, output=output_price, cached_input=cached_price, input_audio=audio_price,
        cached_audio=cached_audio_price, output_audio=output_audio_price,
    )  # fmt: skip
    counts = (
        text + input_audio + text_cached + cached_audio, output + output_audio, text_cached + cached_audio, 0, 0,
        input_audio + cached_audio, cached_audio, output_audio,
    )  # fmt: skip
    exact = sum(Fraction(one) * count * 1_000 for count, one in parts)
    assert rates.cost(0, *counts) == (round(exact) if any(count for count, _ in parts) else None)
    plain = Rates.from_dollars(input=input_price, output=output_price, cached_input=cached_price)
    assert plain.cost(0, *counts) == plain.cost(0, *counts[:5])


@given(st.tuples(*[price] * 4), tokens, tokens, tokens, tokens)
def test_audio_that_was_written_to_the_cache_is_priced_once(
    prices: tuple[Decimal, ...], text: int, input_audio: int, text_write: int, audio_write: int
) -> None:
    """No list has a price for writing audio: what was written costs that, and no token has two prices, or less than 0.

    Seen red: both were taken for surcharges on the same token, and where both are less than input costs it cost -1.
    """
    input_price, output_price, write_price, audio_price = prices
    rates = Rates.from_dollars(input=input_price, output=output_price, cache_write=write_price, input_audio=audio_price)
    written, audio = text_write + audio_write, input_audio + audio_write
    whole = text + input_audio + written
    fresh = min(audio, whole - written)
    parts = [(whole - written - fresh, input_price), (written, write_price), (fresh, audio_price)]
    exact = sum(Fraction(one) * count * 1_000 for count, one in parts)
    assert rates.cost(0, whole, 0, 0, written, 0, audio) == (round(exact) if whole else None)


@given(price, price, st.integers(1, 10**9))
def test_tokens_that_are_not_split_have_a_price_only_if_both_are_the_same(
    input_price: Decimal, output_price: Decimal, unsplit: int
) -> None:
    """It is unknown which of them were input: a guess would be a wrong number that looks right."""
    found = Rates.from_dollars(input=input_price, output=output_price).cost(unsplit, 0, 0, 0)
    assert found == (round(Fraction(input_price) * unsplit * 1_000) if input_price == output_price else None)
    embedding = Rates.from_dollars(input=input_price)
    assert embedding.cost(unsplit, 0, 0, 0) == embedding.cost(0, unsplit, 0, 0)


def test_a_price_that_is_not_known_makes_the_cost_unknown() -> None:
    """Half a cost is no cost."""
    assert Rates.from_dollars(input=Decimal(1)).cost(0, 10, 5, 0) is None
    assert Rates.from_dollars(output=Decimal(1)).cost(0, 10, 5, 0) is None
    assert Rates.from_dollars(output=Decimal(1)).cost(0, 0, 5, 0) == 5_000
    assert Rates.from_dollars(input=Decimal(1), output=Decimal(1)).cost(0, 0, 0, 0) is None
    assert Rates.from_dollars(per_call=Decimal("0.002")).cost(0, 0, 0, 0) == 2_000_000
