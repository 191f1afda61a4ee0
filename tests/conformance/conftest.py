"""Fixtures of the conformance rows, which are written against `peers.Peer` so that they run with any library.

`pytest tests/conformance --decorator prometheus_client` runs one library; `python tests/conformance` runs all, and
writes the table in the docs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

import peers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--decorator", help=f"whose decorator: {', '.join(peers.KNOWN)}, or module:Class of an adapter of your own"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("decorator", None):
        os.environ[peers.ENVIRONMENT] = config.getoption("decorator")


@pytest.fixture(autouse=True)
def no_row_hangs() -> Iterator[None]:
    """End a row that hangs, so that the others still run."""

    def stop(*_: object) -> None:
        raise TimeoutError("the row hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60 if peers.chosen().distribution == "toolweaver_monitor" else 10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def peer() -> Iterator[peers.Peer]:
    """The library under test, recording, with nothing recorded yet."""
    peer = peers.chosen()
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def watched(peer: peers.Peer) -> Callable[[str], Callable[[Any], Any]]:
    """The decorator under test, which is given the tool's name."""
    return peer.decorate


@pytest.fixture
def the_call(peer: peers.Peer) -> Callable[..., peers.Seen]:
    """Return the one call that was recorded under a name, by default `tool`."""

    def the_call(name: str = "tool") -> peers.Seen:
        (call,) = [call for call in peer.seen() if call.name == name]
        return call

    return the_call


class Stopwatch:
    """Lets time pass, and knows how long that took by the clock that calls are measured with."""

    def __init__(self) -> None:
        self.spans: list[float] = []
        self.made = time.perf_counter()

    def spend(self) -> None:
        """Let a little time pass."""
        started = time.perf_counter()
        while time.perf_counter() - started < 0.002:
            pass
        self.spans.append(time.perf_counter() - started)

    def assert_covers(self, seconds: float | None) -> None:
        """All that was spent lies within what was measured, and that within the time since this was made."""
        assert seconds is not None
        assert sum(self.spans) - 1e-6 <= seconds <= time.perf_counter() - self.made + 1e-6


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()
