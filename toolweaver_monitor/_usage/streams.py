"""The usage of a stream, collected from its items.

Providers send the usage of a stream in its last chunk, or in several chunks that each cover the stream so far: of
those, the largest counts. Values at the top level of a plain dict (a cost, tokens) and those of LangChain's chunks are
increments, and add up. A chunk with another id than the one before it begins another response.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from toolweaver_monitor._core.sanitize import EXACT, nanodollars
from toolweaver_monitor._usage.fields import MAX_CACHED_TYPES, get_field, read_fields
from toolweaver_monitor._usage.readers import Reader, reader_for
from toolweaver_monitor._usage.usage import Usage

_COUNT_FIELDS = (
    "tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "input_audio_tokens", "cached_audio_tokens", "output_audio_tokens",
)  # fmt: skip


class StreamUsage:
    """The usage of one stream, collected item by item."""

    __slots__ = ("_completed", "_current", "_response_id")

    def __init__(self) -> None:
        self._completed: Usage | None = None
        """The sum of all increments and of the responses that have ended."""
        self._current: Usage | None = None
        """The largest values of the response that is running."""
        self._response_id: str | None = None

    def observe(self, item: object) -> bool:
        """Add the usage of the next item, and return whether it carries any.

        Costs one dict lookup if items of this type carry no usage.
        """
        kind = type(item)
        reader = _readers.get(kind, _unknown)
        if reader is _unknown:
            reader = _find_reader(kind)
        usage = reader(item) if reader is not None else None
        if usage is None:
            return False
        if usage.increment:
            self._completed = add_usage(self._completed, usage)
            return True
        response_id = _read_response_id(item)
        if response_id is not None and response_id != self._response_id:
            if self._response_id is not None:
                self._completed = add_usage(self._completed, self._current)
                self._current = None
            self._response_id = response_id
        self._current = usage if self._current is None else _combine(self._current, usage, max)
        return True

    def total(self) -> Usage | None:
        """Return the usage of the stream so far, or None if no item has reported any."""
        return add_usage(self._completed, self._current)


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return the sum of both. None stands for no usage."""
    if one is None or other is None:
        return one or other
    return _combine(one, other, lambda first, second: first + second)


def _combine(one: Usage, other: Usage, join: Callable[[int, int], int]) -> Usage:
    counts: dict[str, Any] = {name: join(getattr(one, name), getattr(other, name)) for name in _COUNT_FIELDS}
    first, second = nanodollars(one.cost), nanodollars(other.cost)  # integers join without rounding
    cost = second if first is None else first if second is None else join(first, second)
    return msgspec.structs.replace(
        other,
        model=other.model or one.model,
        provider=other.provider or one.provider,
        cached=other.cached and one.cached,
        cost=None if cost is None else EXACT.scaleb(Decimal(cost), -9),
        **counts,
    )


def _read_response_id(item: object) -> str | None:
    """Return the id of the response that a chunk belongs to, or None."""
    fields = read_fields(item)
    if fields is None:
        return None
    for name in ("message", "response", "data"):
        value = get_field(fields, name)
        inner = read_fields(value) if value is not None else None
        if inner is not None:
            fields = inner
            break
    for name in ("run_id", "id", "response_id", "responseId"):  # run_id first, for a step of an OpenAI assistant's run
        value = get_field(fields, name)
        if type(value) is str and value:
            return value
    return None


def _unknown(_: object) -> Usage | None:
    """Mark a type that was not seen yet."""
    return None


_readers: dict[type, Reader | None] = {}


def _find_reader(kind: type) -> Reader | None:
    if len(_readers) >= MAX_CACHED_TYPES:  # a program may create classes at run time without end
        _readers.clear()
    reader = _readers[kind] = reader_for(kind)
    return reader
