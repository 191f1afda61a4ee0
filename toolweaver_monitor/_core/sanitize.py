"""Make amounts, token counts and tags valid, or count them as invalid."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from types import MappingProxyType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

from toolweaver_monitor._core.introspect import mro_of, name_of, vars_of
from toolweaver_monitor._text import names, redact, safe_repr

TagValue = str | int | float | bool
NANO = 1_000_000_000
EXACT = Context(prec=64, traps=[])
"""The decimal context for sums of money, independent of the one that the user's thread has set."""
MAX_TAGS = 64
MAX_TAG_CHARS = 1_024
MAX_TAG_NAME_CHARS = 128
MAX_LABEL_CHARS = 256
"""Characters of the name of a model or provider."""
MAX_ERROR_CHARS = 256
MAX_COUNT = 10**15
"""Tokens or nano-dollars above this in one value are a mistake, not a measurement."""
MAX_FAST = 1_000_000_000
"""CPython compares token counts up to this one in one step; larger ones are compared with `MAX_COUNT` later."""
ROUND = 2.0**52
"""Added to a float from 0 to `MAX_COUNT` and taken away again, it rounds that to a whole number as `round` does, half
to even, in a third of the time: floats from 2**52 to 2**53 are the whole numbers (IEEE 754)."""
MAX_FRACTION_BITS = 1_024
NO_TAGS: Mapping[str, TagValue] = MappingProxyType({})

_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__


class Diagnostics:
    """Counts of what went wrong around calls. None of it raises; `health()` shows the counts as `invalid`."""

    invalid_values = 0
    """Tokens and costs that were negative, NaN, infinite, huge or not numbers, and tags beyond `MAX_TAGS`."""
    late_records = 0
    """Uses of `record()` and `fail()` on a closed call."""
    suppressed_calls = 0
    """Monitored calls made on this library's own threads. They are not monitored, or a sink would feed itself."""
    extractor_errors = 0
    """User functions (`cost`, `usage`, `tool_name`) that raised."""
    internal_errors = 0
    """Errors of this library, caught before they could reach the user's code."""

    @classmethod
    def counts(cls) -> dict[str, int]:
        """Return all of these by name."""
        return {
            name: getattr(cls, name)
            for name in ("invalid_values", "late_records", "suppressed_calls", "extractor_errors", "internal_errors")
        }


def nanodollars(dollars: object) -> int | None:
    """Return dollars as a whole number of nano-dollars, or None if they are no amount of money (counted as invalid)."""
    kind = type(dollars)
    if kind is float or kind is int:
        if 0 <= dollars <= 1e6:  # type: ignore[operator]  # False for NaN, too
            return round(dollars * NANO)  # type: ignore[operator]
    elif kind is Decimal and isinstance(dollars, Decimal) and dollars.is_finite() and 0 <= dollars <= 1_000_000:
        return round_nanodollars(dollars)
    elif dollars is None:
        return None
    elif kind is not Decimal and (number := plain_number(dollars)) is not None:
        return nanodollars(number)
    Diagnostics.invalid_values += 1
    return None


def sum_nanodollars(dollars: Iterable[float]) -> int:
    """Return the sum of valid amounts of dollars, each rounded to whole nano-dollars as `nanodollars` does."""
    rounded = [each * 1e9 + ROUND - ROUND for each in dollars]
    total = sum(rounded)
    return int(total) if total < ROUND else sum(map(int, rounded))  # a float holds a sum below that exactly


def round_nanodollars(dollars: Decimal) -> int:
    """Return a finite amount in nano-dollars, rounded half to even, whatever decimal context the user has set."""
    return int(EXACT.to_integral_value(EXACT.multiply(dollars, NANO)))


def token_count(tokens: object) -> int:
    """Return a number of tokens, or 0 if it is not one (counted as invalid unless it is None)."""
    if type(tokens) is int and 0 <= tokens <= MAX_COUNT:
        return tokens
    if tokens is None:
        return 0
    number = plain_number(tokens)
    if number is not None and 0 <= number <= MAX_COUNT and number == int(number):  # a NaN fails the comparison
        return int(number)
    Diagnostics.invalid_values += 1
    return 0


def plain_number(value: object) -> int | float | Decimal | None:
    """Return a number of any type as an exact `int`, `float` or finite `Decimal`, or None if it is none, or a bool.

    Runs no Python code of its class: subclasses of the built-in numbers are converted by `int` and `float` themselves,
    and numpy's numbers and arrays of no dimension by the slots that numpy implements in C.
    """
    kind = type(value)
    number: Any = value
    if kind is int or kind is float:
        return number  # type: ignore[no-any-return]
    if kind is Decimal:
        return number if Decimal.is_finite(number) else float("nan")  # compared, Decimal's own may raise
    if kind is bool:
        return None
    bases = mro_of(kind)
    if int in bases:
        return int.__index__(number)
    if float in bases:
        return float.__float__(number)
    if Decimal in bases:
        return plain_number(Decimal(number))
    fraction = getattr(sys.modules.get("fractions"), "Fraction", None)
    if fraction is not None and fraction in bases:
        return _plain_fraction(fraction._numerator.__get__(number), fraction._denominator.__get__(number))
    return _read_c_number(number, bases)


def _plain_fraction(numerator: object, denominator: object) -> Decimal | None:
    if type(numerator) is not int or type(denominator) is not int or not denominator:
        return None
    if max(numerator.bit_length(), denominator.bit_length()) > MAX_FRACTION_BITS:
        return None
    return EXACT.divide(Decimal(numerator), Decimal(denominator))


def _read_c_number(value: Any, bases: tuple[type, ...]) -> int | float | None:
    """Return the number that a type implemented in C converts itself to, or None if there is none.

    Of numpy, only numbers and arrays of no dimension; elsewhere only whole numbers.
    """
    owns = [vars_of(base) for base in bases]
    convert: Any = next((own["__index__"] for own in owns if "__index__" in own), None)
    for base, own in zip(bases, owns, strict=True):
        if name_of(base) in ("generic", "ndarray") and _module_of(base) == "numpy":
            if "ndim" in own and "__len__" in own and own["ndim"].__get__(value):
                return None  # converting an array of one element warns
            convert = own["item"]
    if type(convert) is not WrapperDescriptorType and type(convert) is not MethodDescriptorType:
        return None  # no number, or Python code of the user's class
    try:
        number = convert(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if type(number) is int or type(number) is float else None


def plain_text(value: object, limit: int) -> str:
    """Return `value` as an exact `str` of which `limit` characters may be shown.

    Never raises, and runs no user code. The text is cut only where the scrubber stops looking: a text that is cut to
    the limit could end in half a secret, which the scrubber would not recognise.
    """
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)[: limit + redact.AHEAD]
    return safe_repr.render(value, limit, depth=0)[:limit]


def merge_tags(old: Mapping[str, TagValue], new: Mapping[str, object]) -> Mapping[str, TagValue]:
    """Return both, of which the new ones win, up to `MAX_TAGS`, with each value made a text or a number."""
    tags: dict[str, TagValue] = dict(old)
    for key, value in new.items():
        if key not in tags and len(tags) >= MAX_TAGS:
            Diagnostics.invalid_values += 1
            break
        tags[names.safe_name(plain_text(key, MAX_TAG_NAME_CHARS), MAX_TAG_NAME_CHARS)] = tag_value(value)
    return tags


def tag_value(value: object) -> TagValue:
    """Return a number as it is, and anything else as text of which `MAX_TAG_CHARS` may be shown."""
    if type(value) is bool or (type(value) is int and abs(value) < 2**63) or type(value) is float:
        return value
    return plain_text(value, MAX_TAG_CHARS)


def scrub_tags(tags: Mapping[str, TagValue], scrub: Callable[[str, int], str]) -> dict[str, TagValue]:
    """Return the tags without secrets in their names and values."""
    return {names.safe_name(key, MAX_TAG_NAME_CHARS): scrub_tag_value(key, value, scrub) for key, value in tags.items()}


def scrub_tag_value(name: str, value: TagValue, scrub: Callable[[str, int], str]) -> TagValue:
    """Return a tag's value without secrets, and only a mask if the tag is named like a secret."""
    if type(value) is not str:
        return value
    if scrub is redact.scrub and redact.is_secret_name(name):
        return redact.MASK
    return scrub(value, MAX_TAG_CHARS)
