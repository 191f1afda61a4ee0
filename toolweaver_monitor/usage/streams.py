"""What did a stream use in all, seen through its items?

Providers send the usage of a stream in its last chunk, or in several that each hold for the stream up to there: of
those the greatest counts. Whole results one after another (a plain dict with a cost, a LangChain chunk, made to be
added up) are summed. Chunks tell by their id where the next response begins.
"""

from __future__ import annotations

from toolweaver_monitor.usage.figures import Usage
from toolweaver_monitor.usage.readers import Reader, reader_for


class StreamUsage:
    """Adds up what the items of one stream say of their usage."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: Usage | None = None

    def see(self, item: object) -> None:
        """Look at the next item: one dict lookup if items of its type carry no usage."""
        kind = type(item)
        reader = _readers.get(kind, _unseen)
        if reader is _unseen:
            reader = _reader(kind)
        if reader is not None:
            usage = reader(item)
            if usage is not None:
                self._seen = usage

    def total(self) -> Usage | None:
        """What the stream has used so far; None while no item has said anything."""
        return self._seen


def _unseen(_: object) -> Usage | None:
    return None


_readers: dict[type, Reader | None] = {}


def _reader(kind: type) -> Reader | None:
    if len(_readers) > 4096:
        _readers.clear()
    reader = _readers[kind] = reader_for(kind)
    return reader
