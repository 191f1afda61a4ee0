"""Prices from genai-prices, the optional package with the price lists of many providers, as exact integers.

Importing it takes hundreds of milliseconds, and pricing a call with it some fifty microseconds. It is therefore
imported on its own thread (see `PriceBook.start_loading`) and consulted once for the prices of each model. Those are
verified against its own calculations; from then on the arithmetic is done in `rates`. It never uses the network unless
the user has it update its prices.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._usage.pricing.rates import Rates

HOUR_S = 3_600.0
MINUTE_S = 60.0
MAX_UNKNOWN = 10_000
"""Unknown names that are looked up; genai-prices remembers each for good, and a name may come from anywhere."""

_PRICE_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_audio",
    "output_audio_mtok": "output_audio",
}
_OPENAI_ONLY = ("text-embedding-", "tts-", "whisper-", "gpt-", "dall-e")
_AWS_FAMILIES = (
    "amazon.", "anthropic.", "meta.", "mistral.", "cohere.", "ai21.", "deepseek.", "us.", "eu.",
    "apac.", "global.",
)  # fmt: skip


class Tariff(msgspec.Struct, frozen=True):
    """What one model costs from `since` to `until` (Unix seconds)."""

    since: float
    until: float
    steps: tuple[tuple[int, Rates], ...]
    """Rates, each with the number of input tokens above which they apply, largest first. Empty: no known price."""
    source: str = ""

    def cost(self, details: CallDetails) -> int | None:
        """Return the cost of a call in nano-dollars, or None if it is unknown."""
        input_tokens = details.input_tokens
        for threshold, rates in self.steps:
            if input_tokens > threshold or not threshold:
                return rates.cost(
                    details.unsplit_tokens, input_tokens, details.output_tokens, details.cached_tokens,
                    details.cache_write_tokens, details.cache_write_1h_tokens, *details.audio_tokens,
                )  # fmt: skip
        return None


class GenaiPrices:
    """The imported package. Creating an instance imports it: do so only on a thread that no other one waits for."""

    def __init__(self) -> None:
        import genai_prices
        from genai_prices import data_snapshot

        self._package: Any = genai_prices
        self.version: str = genai_prices.__version__
        providers = data_snapshot.get_snapshot().providers
        self.models = sum(len(provider.models) for provider in providers)
        self.newest = _newest_price(providers)
        self._unknown: set[tuple[str, str | None]] = set()
        self.find_tariff("gpt-4o", "openai", datetime.now(tz=UTC).timestamp())  # it builds its own tables on first use

    def find_tariff(self, model: str, provider: str | None, at: float) -> Tariff:
        """Return the tariff of a model at a point in time; it has no steps if the model is unknown.

        Args:
            model: its name, as the provider spells it.
            provider: the provider that served it, if known.
            at: Unix seconds.
        """
        since = at - at % HOUR_S
        unknown = Tariff(since, since + HOUR_S, ())
        if (model, provider) in self._unknown or len(self._unknown) < MAX_UNKNOWN:
            for name, host in _spellings(model, provider):
                try:
                    answer = self._calculate(name, host, at, self._package.Usage(input_tokens=1, output_tokens=1))
                    steps = _read_steps(answer.model_price)
                    if self._agrees(steps, name, host, at):
                        return _make_tariff(answer.model, at, steps)
                    break
                except LookupError as error:
                    if host is not None and "provider" in str(error) and "model_ref" not in str(error):
                        break  # a provider of the user's own: what others charge for this model name is irrelevant
                except (ValueError, TypeError, AttributeError):  # a price list in another format than the known one
                    break
            self._unknown.add((model, provider))
        return unknown

    def _calculate(self, model: str, provider: str | None, at: float, usage: Any) -> Any:
        when = datetime.fromtimestamp(at, tz=UTC)
        return self._package.calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)

    def _agrees(self, steps: tuple[tuple[int, Rates], ...], model: str, provider: str | None, at: float) -> bool:
        """Return whether these rates yield the same costs as genai-prices in every step."""
        for threshold, rates in steps:
            input_tokens, output_tokens = threshold + 9_000, 700 if rates.output is not None else 0
            for input_audio in (0, 3_000) if rates.prices_audio else (0,):
                output_audio = 300 if input_audio and output_tokens else 0
                audio = {
                    "input_audio_tokens": input_audio,
                    "cache_audio_read_tokens": input_audio // 3,
                    "output_audio_tokens": output_audio,
                }
                usage = self._package.Usage(
                    input_tokens=input_tokens,
                    cache_read_tokens=2_000,
                    output_tokens=output_tokens,
                    **(audio if input_audio else {}),
                )
                expected = self._calculate(model, provider, at, usage).total_price * NANO
                cost = rates.cost(
                    0, input_tokens, output_tokens, 2_000, 0, 0, input_audio, input_audio // 3, output_audio
                )
                if cost != int(expected.to_integral_value()):
                    return False
        return bool(steps)


def _read_steps(price: Any) -> tuple[tuple[int, Rates], ...]:
    listed = {key: value for name, key in _PRICE_KEYS.items() if (value := getattr(price, name, None)) is not None}
    if "input" not in listed:
        return ()
    requests = getattr(price, "requests_kcount", None)
    starts = {0, *(tier.start for value in listed.values() if type(value) is not Decimal for tier in value.tiers)}
    steps = []
    for start in sorted(starts, reverse=True):
        prices = {key: _price_at(value, start) for key, value in listed.items()}
        per_call = None if requests is None else requests / 1_000
        steps.append((start, Rates.from_dollars(**prices, per_call=per_call)))
    return tuple(steps)


def _price_at(value: Any, start: int) -> Decimal:
    """Return the price that applies from the tier with this start on."""
    if type(value) is Decimal:
        return value
    price: Decimal = value.base
    for tier in value.tiers:
        if tier.start <= start and start:
            price = tier.price
    return price


def _make_tariff(model: Any, at: float, steps: tuple[tuple[int, Rates], ...]) -> Tariff:
    """Return a tariff for the current hour (prices start with a day, and the user may update them), or minute."""
    span = HOUR_S
    if type(model.prices) is list and any(
        price.constraint is not None and not hasattr(price.constraint, "start_date") for price in model.prices
    ):  # prices by the time of day
        span = MINUTE_S
    since = at - at % span
    return Tariff(since, since + span, steps, "genai-prices")


def _spellings(model: str, provider: str | None) -> list[tuple[str, str | None]]:
    """Return names to look up: model and provider as given, the model alone, a gateway's "provider/model" split."""
    spellings: list[tuple[str, str | None]] = [(model, provider)]
    if provider is not None:
        spellings.append((model, None))
    elif model.startswith(_OPENAI_ONLY):
        spellings.append((model, "openai"))
    elif model.startswith(_AWS_FAMILIES):
        spellings.append((model, "aws"))
    if "/" in model:
        host, name = model.split("/", 1)
        spellings.append((name, host))
    return spellings


def _newest_price(providers: Any) -> float | None:
    """Return the latest day, not in the future, on which a price in the list starts. The list is no older than that."""
    today = datetime.now(tz=UTC).date()
    newest = None
    for provider in providers:
        for model in provider.models:
            for price in model.prices if type(model.prices) is list else ():
                day = getattr(price.constraint, "start_date", None)
                if day is not None and day <= today and (newest is None or day > newest):
                    newest = day
    return None if newest is None else datetime(newest.year, newest.month, newest.day, tzinfo=UTC).timestamp()
