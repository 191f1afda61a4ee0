"""Let the fault tests import `programs` and `opcodes`, and read the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """Return what this library logs during the test, down to DEBUG."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    records: list[logging.LogRecord] = []
    keeper = Keeper()
    logger = logging.getLogger("toolweaver_monitor")
    before, logger.level = logger.level, logging.DEBUG
    logger.addHandler(keeper)
    yield records
    logger.removeHandler(keeper)
    logger.setLevel(before)
