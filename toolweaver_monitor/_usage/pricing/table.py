"""The user's own price table, parsed and validated once, when it is given.

A table is a mapping from a model's name to its prices, in a dict, a JSON file or a TOML file::

    {"gpt-4o": {"input": 2.50, "cached_input": 1.25, "output": 10.00},     # dollars per million tokens
     "page-reader": {"per_call": 0.002},                                   # dollars per call
     "our-model": [{"input": 1, "output": 2},                              # a list: prices that change
                   {"input": 0.5, "output": 1, "from": "2026-07-01"}]}     # apply from that day on, UTC
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from toolweaver_monitor._core.sanitize import plain_number
from toolweaver_monitor._usage.parts import normalize_tier
from toolweaver_monitor._usage.pricing.rates import EXTRA, Rates
from toolweaver_monitor.errors import ConfigurationError

_PRICE_NAMES = (
    "input", "output", "cached_input", "cache_write", "cache_write_1h", "input_audio", "cached_audio", "output_audio",
    *EXTRA, "web_search", "per_call",
)  # fmt: skip
_PARTS_OF = {
    "input": {
        "cached_input", "cache_write", "cache_write_1h", "input_audio", "cached_audio", "input_image", "cached_image",
        "input_video", "cached_video",
    },
    "output": {"output_audio", "output_image", "output_video", "reasoning", "citation"},
}  # fmt: skip
_UNITS = {"per_call": "dollars per call", "web_search": "dollars per search"}
_TABLE_KEYS = (*_PRICE_NAMES, "from", "provider", "service_tier")
MIN_PRICE, MAX_PRICE = Decimal("1e-9"), 1_000_000
"""Dollars per million tokens, or per call. Anything smaller, other than 0, or larger is taken for a typing error."""
MAX_FILE_MIB = 16


class PricePeriod(msgspec.Struct, frozen=True):
    """The prices of one model from a point in time on."""

    rates: Rates
    since: float
    """Unix seconds; minus infinity if the prices have no start."""
    provider: str | None
    tier: str | None = None
    """The service tier; None is the default one."""


class TableLocation(msgspec.Struct, frozen=True):
    """A place in the user's table, named in errors by the keys that lead to it."""

    source: str
    """The file, or the argument of `setup()`."""
    path: tuple[str, ...] = ()

    def at(self, key: str) -> TableLocation:
        """Return the location of a key below this one."""
        return TableLocation(self.source, (*self.path, key))

    def error(self, message: str, hint: str) -> ConfigurationError:
        """Return the error to raise for this location."""
        path = f"{' > '.join(self.path)}: " if self.path else ""
        return ConfigurationError(f"{self.source}: {path}{message}", hint=hint)


class DuplicateKey(msgspec.Struct, frozen=True):
    """An object of a JSON file in which a key occurs twice."""

    key: str


def load(prices: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, tuple[PricePeriod, ...]]:
    """Return the price periods of each model, the latest first.

    Raises:
        ConfigurationError: the table cannot be read or used; the message names the place and what to write instead.
    """
    if isinstance(prices, (str, os.PathLike)):
        location, table = _read_file(prices)
    else:
        location, table = TableLocation("prices"), prices
    _reject_duplicate_key(location, table)
    if not isinstance(table, Mapping):
        raise location.error(
            f"{type(table).__name__} is not a price table",
            'give a dict such as {"gpt-4o": {"input": 2.5, "output": 10}}',
        )
    periods = {name: _parse_model(location, name, value) for name, value in table.items()}
    by_lower: dict[str, str] = {}
    for name in periods:
        other = by_lower.setdefault(name.lower(), name)
        if other != name:
            raise location.at(name).error(
                f"differs from {other!r} only in case, and names are also looked up in lower case", "keep one of them"
            )
    return periods


def _read_file(prices: str | os.PathLike[str]) -> tuple[TableLocation, Any]:
    import json  # these three are slow to import, and needed only if the table is a file
    import tomllib
    from pathlib import Path

    path = Path(prices)
    location = TableLocation(str(path))
    suffix = path.suffix.lower()
    if suffix not in (".json", ".toml"):
        raise location.error("not a price file", "give the path of a .json or .toml file")
    try:
        if path.stat().st_size > MAX_FILE_MIB * 2**20:
            raise location.error("too large for a price file", f"keep it under {MAX_FILE_MIB} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise location.error(f"cannot be read ({reason})", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise location.error("is not UTF-8 text", "save it as UTF-8") from error
    except ValueError as error:  # a path with a NUL
        if isinstance(error, ConfigurationError):
            raise
        raise location.error(f"is not a path ({error})", "give the path of a .json or .toml file") from error
    try:
        if suffix == ".toml":
            return location, tomllib.loads(text, parse_float=_parse_decimal)
        return location, json.loads(text, parse_float=_parse_decimal, object_pairs_hook=_make_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise location.error(f"{where}: {error.msg}", "correct the JSON there") from error
    except tomllib.TOMLDecodeError as error:
        raise location.error(str(error), "correct the TOML there") from error
    except (RecursionError, ValueError) as error:  # unlimited nesting; a number of 5,000 digits
        raise location.error(f"cannot be read ({error})", "write only the prices of each model") from error


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        raise ValueError(f"{text:.40} is not a number") from None


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | DuplicateKey:
    """Return a JSON object as a dict, or its duplicate key; `json` itself silently keeps the last of two equal keys."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            return DuplicateKey(key)
        values[key] = value
    return values


def _reject_duplicate_key(location: TableLocation, value: Any) -> None:
    if isinstance(value, DuplicateKey):
        raise location.at(value.key).error("this key occurs twice", "keep one of them")


def _parse_model(location: TableLocation, name: Any, value: Any) -> tuple[PricePeriod, ...]:
    if type(name) is not str or not name.strip():
        raise location.error(f"{name!r} is not a model's name", "use the name of a model as the key")
    location = location.at(name)
    spans = value if isinstance(value, (list, tuple)) else [value]
    if not spans:
        raise location.error("has no prices", "add prices, or remove the model")
    locations = [location] if len(spans) == 1 else [location.at(f"#{number}") for number in range(1, len(spans) + 1)]
    periods = [_parse_period(*pair) for pair in zip(locations, spans, strict=True)]
    if len({(period.since, period.provider, period.tier) for period in periods}) < len(periods):
        raise location.error("two prices start on the same day", 'give each its own "from"')
    return tuple(sorted(periods, key=lambda period: period.since, reverse=True))


def _parse_period(location: TableLocation, span: Any) -> PricePeriod:
    _reject_duplicate_key(location, span)
    if not isinstance(span, Mapping):
        hint = 'write {"input": 2.5, "output": 10}, in dollars per million tokens'
        raise location.error(f"{span!r:.60} is not a set of prices", hint)
    for key in span:
        if key not in _TABLE_KEYS:
            hint = f"the keys are {', '.join(_TABLE_KEYS)}"
            if isinstance(span[key], Mapping):  # TOML reads [gpt-4.1] as a table "1" inside a table "gpt-4"
                hint += '; in TOML, quote the name of a model that contains a dot: ["gpt-4.1"]'
            raise location.at(str(key)).error(f"unknown key {key!r:.60}", hint)
    prices = {name: _parse_price(location.at(name), span[name]) for name in _PRICE_NAMES if name in span}
    if not prices:
        raise location.error("has no price", "add input and output, or per_call")
    for whole, parts in _PARTS_OF.items():
        if whole not in prices and not parts.isdisjoint(prices):
            raise location.error(f"has a price for a part of the {whole} and none for {whole}", f"add {whole} as well")
    provider = span.get("provider")
    if provider is not None and (type(provider) is not str or not provider):
        raise location.at("provider").error(f"{provider!r:.60} is not a provider's name", 'write for example "openai"')
    tier = span.get("service_tier")
    if tier is not None and (type(tier) is not str or not tier):
        raise location.at("service_tier").error(f"{tier!r:.60} is not a service tier", 'write for example "flex"')
    since = _parse_start(location.at("from"), span.get("from"))
    return PricePeriod(Rates.from_dollars(**prices), since, provider, normalize_tier(tier))


def _parse_price(location: TableLocation, value: Any) -> Decimal:
    unit = _UNITS.get(location.path[-1], "dollars per million tokens")
    number = plain_number(value)
    if number is None:
        raise location.error(f"{value!r:.60} is not a price", f"write {unit} as a number, 0 or more")
    price = Decimal(repr(number)) if type(number) is float else Decimal(number)
    if not price.is_finite() or price < 0:
        raise location.error(f"{price:.6g} is not a price", f"write {unit} as a number, 0 or more")
    if price > MAX_PRICE or 0 < price < MIN_PRICE:
        raise location.error(
            f"price {float(price):g} is out of range ({MIN_PRICE:g} to {MAX_PRICE:,} {unit})", "check the unit"
        )
    return price


def _parse_start(location: TableLocation, value: Any) -> float:
    """Return the start of a period in Unix seconds. A date without a time zone is UTC."""
    if value is None:
        return float("-inf")
    try:
        if type(value) is str:
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        pass
    raise location.error(f"{value!r:.60} is not a date", 'write for example "2026-07-01"')
