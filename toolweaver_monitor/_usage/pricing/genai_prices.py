"""What does genai-prices say? The optional package with the price lists of many providers, in exact integers.

It takes hundreds of milliseconds to import and some fifty microseconds to price a call. So it is imported on a thread
(see `PriceBook.start_loading`) and asked once for each model's prices; those are put to the test against its own sums,
and from then on we reckon ourselves. It never goes to the network unless the user has it update its prices.
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
"""Unknown names that are asked for; genai-prices remembers each for good, and a name may come from anywhere."""

_UNITS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_audio",
    "output_audio_mtok": "output_audio",
}
_OPENAI_ALONE = ("text-embedding-", "tts-", "whisper-", "gpt-", "dall-e")
_AWS_FAMILIES = (
    "amazon.", "anthropic.", "meta.", "mistral.", "cohere.", "ai21.", "deepseek.", "us.", "eu.",
    "apac.", "global.",
)  # fmt: skip


class Tariff(msgspec.Struct, frozen=True):
    """What one model costs from `since` to `until` (Unix seconds)."""

    since: float
    until: float
    steps: tuple[tuple[int, Rates], ...]
    """Rates by the least number of input tokens beyond which they hold, greatest first. Empty: nobody knows."""
    source: str = ""

    def cost(self, details: CallDetails) -> int | None:
        """Nano-dollars of a call, or None where they are not known."""
        given = details.input_tokens
        for beyond, rates in self.steps:
            if given > beyond or not beyond:
                return rates.cost(
                    details.unsplit_tokens, given, details.output_tokens, details.cached_tokens,
                    details.cache_write_tokens, details.cache_write_1h_tokens, *details.audio_tokens,
                )  # fmt: skip
        return None


class GenaiPrices:
    """The imported package. Making one imports it: never do so on a thread that anyone waits for."""

    def __init__(self) -> None:
        import genai_prices
        from genai_prices import data_snapshot

        self._package: Any = genai_prices
        self.version: str = genai_prices.__version__
        providers = data_snapshot.get_snapshot().providers
        self.models = sum(len(provider.models) for provider in providers)
        self.newest = _newest(providers)
        self._unknown: set[tuple[str, str | None]] = set()
        self.tariff("gpt-4o", "openai", datetime.now(tz=UTC).timestamp())  # it builds its own tables on first use

    def tariff(self, model: str, provider: str | None, at: float) -> Tariff:
        """What a model costs at a moment; with no steps where it is not known.

        Args:
            model: its name, as the provider spells it.
            provider: who served it, if that is known.
            at: Unix seconds.
        """
        since = at - at % HOUR_S
        unknown = Tariff(since, since + HOUR_S, ())
        if (model, provider) in self._unknown or len(self._unknown) < MAX_UNKNOWN:
            for name, host in _spellings(model, provider):
                try:
                    answer = self._ask(name, host, at, self._package.Usage(input_tokens=1, output_tokens=1))
                    steps = _steps(answer.model_price)
                    if self._agrees(steps, name, host, at):
                        return _span(answer.model, at, steps)
                    break
                except LookupError as error:
                    if host is not None and "provider" in str(error) and "model_ref" not in str(error):
                        break  # a provider of the user's own: what others charge for a model of that name says nothing
                except (ValueError, TypeError, AttributeError):  # a price list that is not as we know it
                    break
            self._unknown.add((model, provider))
        return unknown

    def _ask(self, model: str, provider: str | None, at: float, usage: Any) -> Any:
        when = datetime.fromtimestamp(at, tz=UTC)
        return self._package.calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)

    def _agrees(self, steps: tuple[tuple[int, Rates], ...], model: str, provider: str | None, at: float) -> bool:
        """Whether our sums are genai-prices' own, in every step."""
        for beyond, rates in steps:
            made = 700 if rates.output is not None else 0
            for heard, spoken in ((0, 0), (3_000, 300 if made else 0)) if rates.prices_audio else ((0, 0),):
                audio = {
                    "input_audio_tokens": heard,
                    "cache_audio_read_tokens": heard // 3,
                    "output_audio_tokens": spoken,
                }
                usage = self._package.Usage(
                    input_tokens=beyond + 9_000, cache_read_tokens=2_000, output_tokens=made, **(audio if heard else {})
                )
                theirs = self._ask(model, provider, at, usage).total_price * NANO
                ours = rates.cost(0, beyond + 9_000, made, 2_000, 0, 0, heard, heard // 3, spoken)
                if ours != int(theirs.to_integral_value()):
                    return False
        return bool(steps)


def _steps(price: Any) -> tuple[tuple[int, Rates], ...]:
    listed = {ours: value for theirs, ours in _UNITS.items() if (value := getattr(price, theirs, None)) is not None}
    if "input" not in listed:
        return ()
    requests = getattr(price, "requests_kcount", None)
    starts = {0, *(tier.start for value in listed.values() if type(value) is not Decimal for tier in value.tiers)}
    steps = []
    for start in sorted(starts, reverse=True):
        prices = {name: _at_step(value, start) for name, value in listed.items()}
        steps.append((start, Rates.of(**prices, per_call=None if requests is None else requests / 1_000)))
    return tuple(steps)


def _at_step(value: Any, start: int) -> Decimal:
    if type(value) is Decimal:
        return value
    price: Decimal = value.base
    for tier in value.tiers:
        if tier.start <= start and start:
            price = tier.price
    return price


def _span(model: Any, at: float, steps: tuple[tuple[int, Rates], ...]) -> Tariff:
    """Prices hold until the next hour (they begin with a day, and the user may have them updated), or minute."""
    span = HOUR_S
    if type(model.prices) is list and any(
        price.constraint is not None and not hasattr(price.constraint, "start_date") for price in model.prices
    ):  # prices by the time of day
        span = MINUTE_S
    since = at - at % span
    return Tariff(since, since + span, steps, "genai-prices")


def _spellings(model: str, provider: str | None) -> list[tuple[str, str | None]]:
    """The model and provider as they stand; the model alone; a gateway's "provider/model"."""
    found: list[tuple[str, str | None]] = [(model, provider)]
    if provider is not None:
        found.append((model, None))
    elif model.startswith(_OPENAI_ALONE):
        found.append((model, "openai"))
    elif model.startswith(_AWS_FAMILIES):
        found.append((model, "aws"))
    if "/" in model:
        host, name = model.split("/", 1)
        found.append((name, host))
    return found


def _newest(providers: Any) -> float | None:
    """The latest day, not in the future, from which a price in the list holds: the list is no older than that."""
    today = datetime.now(tz=UTC).date()
    newest = None
    for provider in providers:
        for model in provider.models:
            for price in model.prices if type(model.prices) is list else ():
                day = getattr(price.constraint, "start_date", None)
                if day is not None and day <= today and (newest is None or day > newest):
                    newest = day
    return None if newest is None else datetime(newest.year, newest.month, newest.day, tzinfo=UTC).timestamp()
