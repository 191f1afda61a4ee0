"""The page of a program that writes to a store: its history, and the calls of other processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_until

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor._page.feed import Feed
from toolweaver_monitor._runtime.page import _feed_of
from toolweaver_monitor.sinks import SQLiteStore

OTHER = """
import sys
from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import SQLiteStore
with setup(SQLiteStore(sys.argv[1])):
    for _ in range(3):
        with track("history_other", customer="globex") as call:
            call.record(cost=0.02, model="large")
"""


def ask(feed: Feed, cursor: str = "", **view: str) -> dict[str, Any]:
    """Poll until the store has been read."""
    deadline = time.monotonic() + 20
    while True:
        answer: dict[str, Any] = json.loads(feed.poll(cursor, **view)[1] or b"{}")
        if not answer.get("pending"):
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(found: Any) -> Any:
    """Ask for a detail until the store has been read."""
    deadline = time.monotonic() + 20
    while (answer := found()) == {"pending": True}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def monitor(path: Path) -> Iterator[Monitor]:
    subprocess.run([sys.executable, "-c", OTHER, str(path)], check=True)
    with setup(SQLiteStore(path)) as running:
        for number in range(4):
            with track("history_mine", customer="acme") as call:
                call.record(cost=0.01)
                if number == 3:
                    call.fail("out of paper")
        running.flush()
        yield running


def test_a_period_has_the_calls_of_every_process(monitor: Monitor) -> None:
    """Without one the page shows this program. Seen red: with the period ignored."""
    feed = _feed_of(monitor._components)
    own = ask(feed)
    assert [row["name"] for row in own["tools"]] == ["history_mine"]
    assert own["about"]["store"] == "history.db"
    for period in ("3600", "86400", "604800", "all"):
        answer = ask(feed, period=period)
        assert {row["name"]: row["calls"] for row in answer["tools"]} == {"history_mine": 4, "history_other": 3}
        assert answer["stored"]["runs"] == 2
        assert answer["total"]["calls"] == sum(part[1] for part in answer["over_time"]) == 7
        assert answer["total"]["cost"] == pytest.approx(0.1)
        assert answer["facets"] == ["tool", "model", "run", "tag:customer"]
        assert answer["errors"][0]["count"] == 1
        assert "budgets" in answer, "of this program"


def test_the_rows_of_a_period_can_be_programs_models_and_customers(monitor: Monitor) -> None:
    """From the sums of the store, so that they are of all calls."""
    feed = _feed_of(monitor._components)
    by_customer = {row["name"]: row for row in ask(feed, period="all", by="tag:customer")["tools"]}
    assert {name: row["calls"] for name, row in by_customer.items()} == {"acme": 4, "globex": 3}
    assert by_customer["acme"]["last"]["text"] == "out of paper"
    assert [row["name"] for row in ask(feed, period="all", by="model")["tools"]] == ["large"]
    programs = ask(feed, period="all", by="run")["tools"]
    assert sorted(row["calls"] for row in programs) == [3, 4]
    for row in programs:
        detail = wait_for(lambda name=row["name"]: feed.row(name, period="all", by="run"))
        assert len(detail["slowest"]) == row["calls"]
        assert sum(cell[2] for cell in detail["strip"]) == row["calls"]


def test_a_row_of_a_period_opens_down_to_a_call(monitor: Monitor) -> None:
    """Also one of another process, which no memory here has."""
    feed = _feed_of(monitor._components)
    detail = wait_for(lambda: feed.row("history_other", period="3600"))
    assert [call["cost"] for call in detail["slowest"]] == [0.02] * 3
    assert detail["models"][0]["name"] == "large"
    chosen = detail["slowest"][0]["id"]
    trace = wait_for(lambda: feed.trace(chosen))
    assert [call["id"] for call in trace["calls"]] == [chosen]
    assert trace["calls"][0]["tags"] == {"customer": "globex"}
    assert wait_for(lambda: feed.trace("0" * 16)) is None


def test_a_call_reads_the_same_from_memory_and_from_the_store(monitor: Monitor) -> None:
    """Every field of a call that the page shows has the same name and value in both."""
    feed = _feed_of(monitor._components)
    live = feed.row("history_mine")
    assert live is not None
    chosen = live["failed"][0]["id"]
    from_memory = wait_for(lambda: feed.trace(chosen))["calls"][0]
    from_store = wait_for(lambda: feed.trace(chosen, period="all"))["calls"][0]
    assert from_memory.keys() == from_store.keys()
    for name, value in from_memory.items():
        assert from_store[name] == (pytest.approx(value, abs=0.01) if name in ("started", "at") else value), name


def test_what_has_not_changed_in_the_store_is_not_sent(monitor: Monitor) -> None:
    """Neither rows nor parts."""
    feed = _feed_of(monitor._components)
    cursor = ask(feed, period="all")["v"]
    assert feed.poll(cursor, period="all")[1] is None
    with track("history_mine", customer="acme"):
        pass
    monitor.flush()
    later = json.loads(wait_until(lambda: feed.poll(cursor, period="all")[1]) or b"")
    while not later["tools"]:
        later = ask(feed, later["v"], period="all")
    assert [row["name"] for row in later["tools"]] == ["history_mine"]
    assert not later["full"]


def test_a_store_that_cannot_be_read_is_one_sentence(monitor: Monitor, path: Path) -> None:
    """And the figures of the program itself go on."""
    feed = _feed_of(monitor._components)
    assert "no call has a tag 'nothing'" in ask(feed, period="all", by="tag:nothing")["problem"]
    monitor.shutdown()
    for name in path.parent.glob(f"{path.name}*"):
        name.unlink()
    assert "there is no file" in ask(feed, period="3600")["problem"]
    assert ask(feed)["total"]["calls"] == 4
