"""A file of JSON lines, a new one every day."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import Any

from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks._base import file_path

MODE = 0o600
"""Only the user may read it: error texts and tags may be confidential."""


class JsonLinesFile:
    """Appends one line for each value. What an earlier day has written is renamed to a name with that day.

    Args:
        path: the file; its folder must exist. `calls.jsonl` of an earlier day becomes `calls-2026-11-28.jsonl`.

    Raises:
        ConfigurationError: it is no path of a file, or there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = file_path(path, "calls.jsonl")
        self._descriptor: int | None = None
        self._day = ""
        if not self.path.parent.is_dir():
            raise ConfigurationError(
                f"there is no folder {str(self.path.parent)!r} for {self.path.name}",
                hint="make it, or give another path",
            )

    def write(self, values: Iterable[dict[str, Any]]) -> None:
        """Append the values, all or none of them.

        Raises:
            OSError: the file cannot be written, for example since the disk is full.
        """
        text = "".join(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n" for value in values)
        data = text.encode("utf-8", "backslashreplace")
        descriptor = self._open_today()
        before = os.fstat(descriptor).st_size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            os.ftruncate(descriptor, before)  # else the batch, which is tried again, would begin with half a line
            raise

    def flush(self) -> None:
        """Ask the system to write what it holds."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file. A later write opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_today(self) -> int:
        """Return the descriptor of today's file, after giving that of an earlier day its name."""
        day = time.strftime("%Y-%m-%d")
        if self._descriptor is not None and day == self._day:
            return self._descriptor
        self.close()
        try:
            written = time.strftime("%Y-%m-%d", time.localtime(self.path.stat().st_mtime))
        except FileNotFoundError:
            written = day
        if written != day:
            self._rename(written)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        self._day = day
        return self._descriptor

    def _rename(self, day: str) -> None:
        """Give the file the name of a day; a number follows if another process has used that name already."""
        for number in ("", *(f"-{count}" for count in range(2, 1_000))):
            target = self.path.with_name(f"{self.path.stem}-{day}{number}{self.path.suffix}")
            if not target.exists():
                self.path.rename(target)
                return
