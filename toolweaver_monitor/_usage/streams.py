"""What did a stream use in all, seen through its items?

Providers send the usage of a stream in its last chunk, or in several that each hold for the stream up to there: of
those the greatest counts. What stands in a plain dict itself (a cost, tokens) and what LangChain's chunks say is made
to be added up, and is. A chunk with another id than the one before begins another response.
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

_TOKENS = (
    "tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "input_audio_tokens", "cached_audio_tokens", "output_audio_tokens",
)  # fmt: skip


class StreamUsage:
    """Adds up what the items of one stream say of their usage."""

    __slots__ = ("_ended", "_id", "_running")

    def __init__(self) -> None:
        self._ended: Usage | None = None
        """The sum of the responses that are over."""
        self._running: Usage | None = None
        """What the chunks of the present response say at most."""
        self._id: str | None = None

    def observe(self, item: object) -> bool:
        """Look at the next item, in one dict lookup if items of its type carry no usage. Whether this one does."""
        kind = type(item)
        reader = _readers.get(kind, _unseen)
        if reader is _unseen:
            reader = _met(kind)
        usage = reader(item) if reader is not None else None
        if usage is None:
            return False
        if usage.increment:
            self._ended = added(self._ended, usage)
            return True
        response = _response_id(item)
        if response is not None and response != self._id:
            if self._id is not None:
                self._ended = added(self._ended, self._running)
                self._running = None
            self._id = response
        self._running = greatest(self._running, usage)
        return True

    def total(self) -> Usage | None:
        """What the stream has used so far; None while no item has said anything."""
        return added(self._ended, self._running)


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both together."""
    if one is None or other is None:
        return one or other
    return _joined(one, other, lambda mine, more: mine + more)


def greatest(one: Usage | None, other: Usage) -> Usage:
    """The greater figure of each kind."""
    if one is None:
        return other
    return _joined(one, other, max)


def _joined(one: Usage, other: Usage, join: Callable[[int, int], int]) -> Usage:
    figures: dict[str, Any] = {name: join(getattr(one, name), getattr(other, name)) for name in _TOKENS}
    mine, more = nanodollars(one.cost), nanodollars(other.cost)  # joined as integers: exact
    cost = more if mine is None else mine if more is None else join(mine, more)
    return msgspec.structs.replace(
        other,
        model=other.model or one.model,
        provider=other.provider or one.provider,
        cached=other.cached and one.cached,
        cost=None if cost is None else EXACT.scaleb(Decimal(cost), -9),
        **figures,
    )


def _response_id(item: object) -> str | None:
    """The id of the response that a chunk belongs to, where it has one."""
    fields = read_fields(item)
    if fields is None:
        return None
    for holder in ("message", "response", "data"):
        inner = get_field(fields, holder)
        held = read_fields(inner) if inner is not None else None
        if held is not None:
            fields = held
            break
    for name in ("run_id", "id", "response_id", "responseId"):  # the first: a step of a run of OpenAI's assistants
        found = get_field(fields, name)
        if type(found) is str and found:
            return found
    return None


def _unseen(_: object) -> Usage | None:
    return None


_readers: dict[type, Reader | None] = {}


def _met(kind: type) -> Reader | None:
    if len(_readers) >= MAX_CACHED_TYPES:  # classes made at run time, without end
        _readers.clear()
    reader = _readers[kind] = reader_for(kind)
    return reader
