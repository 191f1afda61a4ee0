"""Stores for tests: a path, and calls to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.sinks import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(path)
    yield made
    made.close()


@pytest.fixture
def read(path: Path) -> Iterator[Callable[[], StoreReader]]:
    """Return a reader of the store that is closed at the end of the test."""
    readers: list[StoreReader] = []

    def opened() -> StoreReader:
        readers.append(StoreReader(path))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.close()


@pytest.fixture
def calls_of() -> Callable[..., list[ToolCall]]:
    """Make closed calls of one tool that have ended just now."""

    def make(count: int, tool: str = "ocr", outcome: Any = "success", duration_s: float = 0.001) -> list[ToolCall]:
        return [ToolCall(tool, outcome, duration_s, monotonic_s()) for _ in range(count)]

    return make
