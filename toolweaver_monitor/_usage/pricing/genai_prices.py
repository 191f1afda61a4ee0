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
from toolweaver_monitor._usage.parts import NO_COUNTS
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
    "input_image_mtok": "input_image",
    "cache_image_read_mtok": "cached_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
    "cache_video_read_mtok": "cached_video",
    "output_video_mtok": "output_video",
    "output_reasoning_mtok": "reasoning",
    "output_citation_mtok": "citation",
}
_TIER_CONTEXTS = ("service_tier", "processing", "speed")
"""Where genai-prices has the prices of a tier: batches are a kind of processing, and Anthropic's fast mode a speed."""
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
                    parts=details.rare_parts or NO_COUNTS,
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
        self._unknown: set[tuple[str, str | None, str | None]] = set()
        self.find_tariff("gpt-4o", "openai", datetime.now(tz=UTC).timestamp())  # it builds its own tables on first use

    def find_tariff(self, model: str, provider: str | None, at: float, tier: str | None = None) -> Tariff:
        """Return the tariff of a model at a point in time; it has no steps if the model is unknown.

        Args:
            model: its name, as the provider spells it.
            provider: the provider that served it, if known.
            at: Unix seconds.
            tier: the provider's service tier; None for the default one.
        """
        since = at - at % HOUR_S
        unknown = Tariff(since, since + HOUR_S, ())
        if (model, provider, tier) in self._unknown or len(self._unknown) < MAX_UNKNOWN:
            for name, host in _spellings(model, provider):
                try:
                    answer = self._calculate(name, host, at, self._package.Usage(input_tokens=1, output_tokens=1), tier)
                    if tier is not None and not _has_tier(answer.model, at, tier):
                        break
                    steps = _read_steps(answer.model_price)
                    if self._agrees(steps, name, host, at, tier):
                        return _make_tariff(answer.model, at, steps)
                    break
                except LookupError as error:
                    if host is not None and "provider" in str(error) and "model_ref" not in str(error):
                        break  # a provider of the user's own: what others charge for this model name is irrelevant
                except (ValueError, TypeError, AttributeError):  # a price list in another format than the known one
                    break
            self._unknown.add((model, provider, tier))
        return unknown

    def _calculate(self, model: str, provider: str | None, at: float, usage: Any, tier: str | None) -> Any:
        when = datetime.fromtimestamp(at, tz=UTC)
        context = {} if tier is None else {"price_context": dict.fromkeys(_TIER_CONTEXTS, tier)}
        return self._package.calc_price(usage, model, provider_id=provider, genai_request_timestamp=when, **context)

    def _agrees(
        self, steps: tuple[tuple[int, Rates], ...], model: str, provider: str | None, at: float, tier: str | None
    ) -> bool:
        """Return whether these rates yield the same costs as genai-prices in every step."""
        for threshold, rates in steps:
            whole = {
                "input_tokens": threshold + 9_000,
                "cached_tokens": 2_000,
                "output_tokens": 700 if rates.output is not None else 0,
            }
            for parts in _samples(rates):
                theirs = {_THEIR_NAMES.get(name, name): count for name, count in (whole | parts).items()}
                expected = self._calculate(model, provider, at, self._package.Usage(**theirs), tier).total_price * NANO
                audio = [parts.get(f"{part}_audio_tokens", 0) for part in ("input", "cached", "output")]
                rest = {name: count for name, count in parts.items() if "audio" not in name}
                cost = rates.cost(
                    0,
                    whole["input_tokens"],
                    whole["output_tokens"],
                    2_000,
                    0,
                    0,
                    audio[0],
                    audio[1],
                    audio[2],
                    parts=rest,
                )
                if cost != int(expected.to_integral_value()):
                    return False
        return bool(steps)


_THEIR_NAMES = {
    "cached_tokens": "cache_read_tokens",
    "cached_audio_tokens": "cache_audio_read_tokens",
    "cached_image_tokens": "cache_image_read_tokens",
    "cached_video_tokens": "cache_video_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "citation_tokens": "output_citation_tokens",
}


def _samples(rates: Rates) -> list[dict[str, int]]:
    """Return parts of 9,000 input tokens, of which 2,000 are cached, and of 700 output tokens, to compare sums with."""
    samples: list[dict[str, int]] = [{}]
    for kind in ("audio", "image", "video"):
        fields = [f"{part}_{kind}_tokens" for part in ("input", "cached", "output")]
        if rates.prices_audio if kind == "audio" else not rates.extra.keys().isdisjoint(fields):
            counts = 3_000, 1_000, 300 if rates.output is not None else 0
            samples.append({name: count for name, count in zip(fields, counts, strict=True) if count})
    rest = ("reasoning_tokens", "citation_tokens", "web_searches")
    return samples + [{name: 200} for name in rest if name in rates.extra]


def _has_tier(model: Any, at: float, tier: str) -> bool:
    """Return whether the list has prices of a model for this tier, at this point in time."""
    when = datetime.fromtimestamp(at, tz=UTC)
    return any(
        all(key in _TIER_CONTEXTS and value == tier for key, value in variant.when.items())
        and (variant.constraint is None or variant.constraint.active(when))
        for variant in model.price_variants or ()
    )


def _read_steps(price: Any) -> tuple[tuple[int, Rates], ...]:
    listed = {key: value for name, key in _PRICE_KEYS.items() if (value := getattr(price, name, None)) is not None}
    if "input" not in listed:
        return ()
    requests, searches = getattr(price, "requests_kcount", None), getattr(price, "web_searches_kcount", None)
    starts = {0, *(tier.start for value in listed.values() if type(value) is not Decimal for tier in value.tiers)}
    steps = []
    for start in sorted(starts, reverse=True):
        prices = {key: _price_at(value, start) for key, value in listed.items()}
        per_call = None if requests is None else requests / 1_000
        search = None if searches is None else searches / 1_000
        steps.append((start, Rates.from_dollars(**prices, per_call=per_call, web_search=search)))
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
