"""What of an answer last changed when, so that a poll sends only what is newer."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

encode = msgspec.json.encode


class Versions:
    """The parts and the rows of an answer, each with the version at which it last changed.

    A cursor names what its holder has seen. One of anything else, such as an earlier run of the program, has seen
    nothing.
    """

    def __init__(self) -> None:
        self._boot = os.urandom(4).hex()
        self.version = 0
        self.parts: dict[str, bytes] = {}
        """Each part as JSON."""
        self._parts: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    def note(self, parts: Mapping[str, bytes], rows: Collection[str]) -> None:
        """Note the parts, and the names of the rows that have changed."""
        different = [name for name, value in parts.items() if self.parts.get(name) != value]
        if different or rows:
            self.version += 1
            self.parts |= parts
            self._parts |= dict.fromkeys(different, self.version)
            self._rows |= dict.fromkeys(rows, self.version)

    @property
    def cursor(self) -> str:
        """The name of what there is now."""
        return f"{self._boot}.{self.version}"

    def seen(self, cursor: str) -> int:
        """Return the version that a cursor has seen; -1 for none."""
        boot, _, rest = cursor[:60].partition(".")
        version = rest.partition(".")[0]
        return int(version) if boot == self._boot and version.isdecimal() else -1

    def newer(self, seen: int) -> dict[str, Any]:
        """Return the start of an answer with the parts that are newer than a version; the caller adds the rows."""
        newer = {name: msgspec.Raw(self.parts[name]) for name, version in self._parts.items() if version > seen}
        return {"v": self.cursor, "full": seen < 0, "now": round(time.time(), 3), **newer}

    def newer_rows(self, seen: int) -> list[str]:
        """Return the names of the rows that are newer than a version."""
        return [name for name, version in self._rows.items() if version > seen]


class Shown:
    """An answer whose rows are made whole each time; a poll gets those that differ from what it has seen."""

    def __init__(self) -> None:
        self._versions = Versions()
        self._rows: dict[str, bytes] = {}

    def update(self, parts: Mapping[str, bytes], rows: Mapping[str, bytes] | None = None) -> None:
        """Take the parts, and all rows by name if they are made again; as JSON."""
        if rows is None:
            self._versions.note(parts, ())
            return
        length = "period_s"
        if self._rows.keys() - rows.keys() or self._versions.parts.get(length) != parts.get(length):
            # A row that is gone is not sent, and periods of another length do not continue those before: all is new.
            self._versions, self._rows = Versions(), {}
        self._versions.note(parts, [name for name, row in rows.items() if self._rows.get(name) != row])
        self._rows = dict(rows)

    def poll(self, cursor: str, now: float | None = None) -> tuple[str, bytes | None]:
        """Return the new cursor and what has changed since an old one, as JSON; None if nothing has.

        Args:
            cursor: of an earlier answer.
            now: the moment that the answer is of, in Unix seconds. Default: this one.
        """
        versions = self._versions
        seen = versions.seen(cursor)
        if seen == versions.version:
            return cursor, None
        answer = versions.newer(seen) | ({"now": now} if now else {})
        answer["tools"] = [msgspec.Raw(self._rows[name]) for name in versions.newer_rows(seen)]
        return versions.cursor, encode(answer)
