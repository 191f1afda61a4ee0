"""What may be recorded on a running call? Amounts, counts and tags: each made valid, or counted as invalid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from types import MappingProxyType

from toolweaver_monitor._text import names, redact, safe_repr

TagValue = str | int | float | bool
NANO = 1_000_000_000
EXACT = Context(prec=64, traps=[])
"""For sums of money as decimals: a context of our own, whatever the user's thread computes with."""
MAX_TAGS = 64
MAX_TAG_CHARS = 1_024
MAX_TAG_NAME_CHARS = 128
MAX_LABEL_CHARS = 256
"""Of a model's or a provider's name."""
MAX_ERROR_CHARS = 256
MAX_COUNT = 10**15
"""Tokens or nano-dollars above this in one figure are a mistake, not a measurement."""
NO_TAGS: Mapping[str, TagValue] = MappingProxyType({})


class Diagnostics:
    """How often a running call was given something that could not be counted. Never raised, always countable."""

    invalid_values = 0
    """Negative, NaN, infinite, huge or non-numeric tokens and costs."""
    late_records = 0
    """`record()` or `fail()` on a call that had closed."""
    suppressed_calls = 0
    """Monitored calls made by a sink on a thread of ours; they are not watched, or a sink would feed itself."""
    extractor_errors = 0
    """Functions of the user's (cost, usage, tool_name) that raised."""
    internal_errors = 0
    """Errors of our own, caught before they could reach the user's code."""

    @classmethod
    def counts(cls) -> dict[str, int]:
        """All of these, by name."""
        return {
            name: getattr(cls, name)
            for name in ("invalid_values", "late_records", "suppressed_calls", "extractor_errors", "internal_errors")
        }


def nanodollars(dollars: object) -> int | None:
    """Dollars as an exact integer of nano-dollars, or None if they are not an amount of money (counted as invalid)."""
    kind = type(dollars)
    if kind is float or kind is int:
        if 0 <= dollars <= 1e6:  # type: ignore[operator]  # False for NaN, too
            return round(dollars * NANO)  # type: ignore[operator]
    elif kind is Decimal and isinstance(dollars, Decimal) and dollars.is_finite() and 0 <= dollars <= 1_000_000:
        return round_nanodollars(dollars)
    elif dollars is None:
        return None
    elif issubclass(kind, float):  # numpy.float64 and its like
        return nanodollars(float.__float__(dollars))  # type: ignore[arg-type]
    Diagnostics.invalid_values += 1
    return None


def round_nanodollars(dollars: Decimal) -> int:
    """A finite sum in nano-dollars, half to even; the precision and the traps of the user's context are no matter."""
    return int(EXACT.to_integral_value(EXACT.multiply(dollars, NANO)))


def token_count(tokens: object) -> int:
    """A number of tokens, or 0 for what is none (then counted as invalid)."""
    if type(tokens) is int and 0 <= tokens <= MAX_COUNT:
        return tokens
    if type(tokens) is float and tokens.is_integer() and 0 <= tokens <= MAX_COUNT:
        return int(tokens)
    if tokens is not None:
        Diagnostics.invalid_values += 1
    return 0


def plain_text(value: object, limit: int) -> str:
    """`value` as an exact `str` of which `limit` characters may be shown; never raises and runs no code of the user's.

    It is cut where the scrubber no longer looks: what was cut to the limit could end in half a secret.
    """
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)[: limit + redact.AHEAD]
    return safe_repr.render(value, limit, depth=0)[:limit]


def merge_tags(old: Mapping[str, TagValue], new: Mapping[str, object]) -> Mapping[str, TagValue]:
    """Both, the new ones winning, cut to `MAX_TAGS`, each value made text or number."""
    tags: dict[str, TagValue] = dict(old)
    for key, value in new.items():
        if key not in tags and len(tags) >= MAX_TAGS:
            Diagnostics.invalid_values += 1
            break
        tags[plain_text(key, MAX_TAG_NAME_CHARS)] = tag_value(value)
    return tags


def tag_value(value: object) -> TagValue:
    """A number as it is, anything else as text of which `MAX_TAG_CHARS` may be shown."""
    if type(value) is bool or (type(value) is int and abs(value) < 2**63) or type(value) is float:
        return value
    return plain_text(value, MAX_TAG_CHARS)


def scrub_tags(tags: Mapping[str, TagValue], scrub: Callable[[str, int], str]) -> dict[str, TagValue]:
    """The same tags without secrets: in names, in values, and in the values of what is called like a secret."""
    return {names.safe_name(key, MAX_TAG_NAME_CHARS): scrub_tag_value(key, value, scrub) for key, value in tags.items()}


def scrub_tag_value(name: str, value: TagValue, scrub: Callable[[str, int], str]) -> TagValue:
    """A tag's value without secrets; nothing of it where the tag is called like one."""
    if type(value) is not str:
        return value
    if scrub is redact.scrub and redact.is_secret_name(name):
        return redact.MASK
    return scrub(value, MAX_TAG_CHARS)
