"""What does the user's own price table say? Read and checked once, when it is given.

A table is a mapping from a model's name to its prices, in a dict, a JSON file or a TOML file::

    {"gpt-4o": {"input": 2.50, "cached_input": 1.25, "output": 10.00},     # dollars per million tokens
     "page-reader": {"per_call": 0.002},                                   # dollars a call
     "our-model": [{"input": 1, "output": 2},                              # a list: prices that change
                   {"input": 0.5, "output": 1, "from": "2026-07-01"}]}     # hold from that day on, UTC
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from toolweaver_monitor._usage.pricing.place import Key, Place
from toolweaver_monitor._usage.pricing.rates import Rates
from toolweaver_monitor.errors import ConfigurationError

_PRICES = (
    "input", "output", "cached_input", "cache_write", "cache_write_1h", "input_audio", "cached_audio", "output_audio",
    "per_call",
)  # fmt: skip
_OF_INPUT = {"cached_input", "cache_write", "cache_write_1h", "input_audio", "cached_audio"}
_KEYS = (*_PRICES, "from", "provider")
LEAST, MOST = Decimal("1e-9"), 1_000_000
"""Dollars per million tokens, or per call; what is smaller, but not 0, or greater is a slip of the pen."""
MAX_FILE_BYTES = 16 * 2**20


class Entry(msgspec.Struct, frozen=True):
    """The prices of one model, from a moment on."""

    rates: Rates
    since: float
    """Unix seconds; minus infinity where it holds from the beginning."""
    provider: str | None


def load(prices: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, tuple[Entry, ...]]:
    """The entries of each model, the latest first.

    Raises:
        ConfigurationError: the table cannot be read or used; it says where, and what to write instead.
    """
    if isinstance(prices, (str, os.PathLike)):
        place, table = _from_file(prices)
    else:
        place, table = Place("prices"), prices
    if not isinstance(table, Mapping):
        raise place.wrong(
            f"{type(table).__name__} is not a price table",
            'give a dict such as {"gpt-4o": {"input": 2.5, "output": 10}}',
        )
    found = {name: _entries(place, name, said) for name, said in table.items()}
    by_lower: dict[str, str] = {}
    for name in found:
        other = by_lower.setdefault(name.lower(), name)
        if other != name:
            raise place.wrong(
                f"differs from {other!r} only in case, and names are looked up in lower case, too", "keep one", name
            )
    return found


def _from_file(prices: str | os.PathLike[str]) -> tuple[Place, Any]:
    import json  # these three are slow, and only where the table is a file
    import tomllib
    from pathlib import Path

    path = Path(prices)
    place = Place(str(path))
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        raise place.wrong("not a price file", "give the path of a .json or .toml file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise place.wrong("too large for a price file", f"keep it under {MAX_FILE_BYTES // 2**20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise place.wrong(
            f"cannot be read ({error.strerror or type(error).__name__})", "check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise place.wrong("is not UTF-8 text", "save it as UTF-8") from error
    except ValueError as error:  # a NUL in it
        raise place.wrong(f"is not a path ({error})", "give the path of a .json or .toml file") from error
    place.text = text
    try:
        return place, _parsed(place, text, kind)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise place.wrong(f"{where}: {error.msg}", "correct the JSON there") from error
    except tomllib.TOMLDecodeError as error:
        raise place.wrong(str(error), "correct the TOML there") from error
    except ConfigurationError:
        raise
    except (RecursionError, ValueError) as error:  # nested without end; a number of 5,000 digits
        raise place.wrong(f"cannot be read ({error})", "give each model its prices, and no more") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        raise ValueError(f"{text:.40} is not a number") from None


def _parsed(place: Place, text: str, kind: str) -> Any:
    if kind == ".toml":
        import tomllib  # slow, as above

        return tomllib.loads(text, parse_float=_decimal)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
            raise place.twice(twice)
        return found

    import json  # slow, as above

    return json.loads(text, parse_float=_decimal, object_pairs_hook=unique)


def _entries(place: Place, model: Any, said: Any) -> tuple[Entry, ...]:
    if type(model) is not str or not model.strip():
        raise place.wrong(f"{model!r} is not a model's name", "name each model by its text")
    spans = said if isinstance(said, (list, tuple)) else [said]
    if not spans:
        raise place.wrong("has no prices", "give it prices, or take it out", model)
    entries = [_entry(place, span, (model, at) if spans[1:] else (model,)) for at, span in enumerate(spans, 1)]
    starts = [(entry.since, entry.provider) for entry in entries]
    if len(set(starts)) < len(starts):
        raise place.wrong("two prices hold from the same day", 'give each its own "from"', model)
    return tuple(sorted(entries, key=lambda entry: entry.since, reverse=True))


def _entry(place: Place, span: Any, path: tuple[Key, ...]) -> Entry:
    if not isinstance(span, Mapping):
        raise place.wrong(
            f"{span!r:.60} is not a set of prices",
            'write {"input": 2.5, "output": 10}, dollars per million tokens',
            *path,
        )
    unknown = [key for key in span if key not in _KEYS]
    if unknown:
        cure = f"the keys are {', '.join(_KEYS)}"
        if isinstance(span[unknown[0]], Mapping):  # TOML's [gpt-4.1] is a table 1 in a table gpt-4
            cure += '; in TOML a model with a dot in its name stands in quotes, ["gpt-4.1"]'
        raise place.wrong(f"unknown key {unknown[0]!r:.60}", cure, *path, str(unknown[0]))
    prices = {key: _price(place, path, key, span[key]) for key in _PRICES if key in span}
    if not prices:
        raise place.wrong("has no price", "give input and output, or per_call", *path)
    if "input" not in prices and not _OF_INPUT.isdisjoint(prices):
        raise place.wrong("has a price for a part of the input and none for input", "give input as well", *path)
    if "output" not in prices and "output_audio" in prices:
        raise place.wrong("has a price for audio in the output and none for output", "give output as well", *path)
    provider = span.get("provider")
    if provider is not None and (type(provider) is not str or not provider):
        raise place.wrong(f"{provider!r:.60} is not a provider's name", 'write for example "openai"', *path, "provider")
    return Entry(Rates.of(**prices), _since(place, path, span.get("from")), provider)


def _price(place: Place, path: tuple[Key, ...], key: str, value: Any) -> Decimal:
    unit = "dollars a call" if key == "per_call" else "dollars per million tokens"
    cure = f"write {unit}, 0 or more, as a number"
    if type(value) not in (int, float, Decimal):
        raise place.wrong(f"{value!r:.60} is not a price", cure, *path, key)
    price = Decimal(repr(value)) if type(value) is float else Decimal(value)
    if not price.is_finite() or price < 0:
        raise place.wrong(f"{price:.6g} is not a price", cure, *path, key)
    if price > MOST or 0 < price < LEAST:
        raise place.wrong(f"{price:.6g} can be no price in {unit}", "check the unit", *path, key)
    return price


def _since(place: Place, path: tuple[Key, ...], value: Any) -> float:
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
    raise place.wrong(f"{value!r:.60} is not a date", 'write for example "2026-07-01"', *path, "from")
