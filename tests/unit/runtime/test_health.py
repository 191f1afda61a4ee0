"""`health()`: whether all is well, and if not, what to do."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS

from toolweaver_monitor import Health, Monitor, ToolCall, setup, track
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._runtime.health import _INVALID_CURES
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import LogSink, PrometheusExporter


class Sink:
    """A sink with the given `write` and `status()`."""

    def __init__(self, name: str = "mine", write: Callable[..., object] = lambda calls: None, **status: Any) -> None:
        self.name = name
        self.write = write
        self.said = status

    def status(self) -> dict[str, Any]:
        return self.said

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def call_once(**said: Any) -> None:
    with track("tool") as call:
        call.record(**said)


def until(monitor: Monitor, holds: Callable[[Health], object], deadline_s: float = 10.0) -> Health:
    """The first health of which that holds."""
    end = time.monotonic() + deadline_s
    while True:
        health = monitor.health()
        if holds(health) or time.monotonic() > end:
            return health
        time.sleep(0.005)


def off(_: Sequence[ToolCall]) -> None:
    raise SinkUnavailable("the service is logged out", hint="run `service login`")


def broken(_: Sequence[ToolCall]) -> None:
    raise ConnectionError("refused")


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_all_is_well_only_if_there_is_nothing_to_do() -> None:
    """Nothing wrong, nothing to note; and all of it is JSON."""
    monitor = setup(LogSink(), Sink(rows=3))
    call_once(cost=0.1)
    assert monitor.flush()
    health = monitor.health()
    assert (health["ok"], health["problems"], health["dropped"]) == (True, [], {})
    assert health["sinks"]["mine"]["rows"] == 3
    assert (health["sinks"]["mine"]["delivered"], health["sinks"]["mine"]["queued"]) == (1, 0)
    assert json.loads(json.dumps(health)) == health


def test_every_promised_field_is_there_and_documented() -> None:
    """What `Health` lists is what one gets."""
    health = setup(Sink()).health()
    said = Health.__doc__ or ""
    assert health.keys() == Health.__annotations__.keys()
    assert [field for field in health if f"    {field}: " not in said] == []
    assert [field for field in health["invalid"] if f"`{field}`" not in said] == []
    assert {"state", "emitted", "failed_by", "dropped_by", "last_error", "cure"} <= health["sinks"]["mine"].keys()


def test_what_the_environment_refused_at_setup_is_a_problem_with_its_cure(taken_port: int) -> None:
    """A port that is taken stops no program; `health()` says what to do."""
    health = setup(PrometheusExporter(port=taken_port)).health()
    assert health["ok"] is False
    assert health["sinks"]["prometheus"]["state"] == "unavailable"
    assert health["sinks"]["prometheus"]["cure"].startswith("stop what uses the port")
    assert f"127.0.0.1:{taken_port}" in health["problems"][0]
    assert "waiting for the port" in health["problems"][0]


def test_a_sink_that_gave_up_says_why_and_what_it_dropped() -> None:
    """Unavailable until it is set up again; the calls are counted by reason."""
    monitor = setup(Sink("service", off))
    call_once()
    health = until(monitor, lambda health: health["dropped"])
    assert health["ok"] is False
    assert health["problems"] == ["service: the service is logged out; run `service login`"]
    assert health["sinks"]["service"]["cure"] == "run `service login`"
    assert health["dropped"] == {"unavailable": 1}


def test_a_sink_that_gave_up_without_a_hint_has_its_error_for_a_cure() -> None:
    """A semicolon in the text of a user's own sink means nothing."""

    def refuse(_: Sequence[ToolCall]) -> None:
        raise SinkUnavailable("no table `calls`; the database is empty")

    monitor = setup(Sink("database", refuse))
    call_once()
    health = until(monitor, lambda health: health["dropped"])
    assert health["sinks"]["database"]["cure"] == "no table `calls`; the database is empty"
    assert "hint" not in health["sinks"]["database"]


def test_the_cure_of_a_sink_that_gave_up_outlives_a_flush(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, and not hidden by an error of a later flush."""
    sink = Sink("service", off)
    sink.flush = lambda: off(())  # type: ignore[method-assign]
    monitor = setup(sink)
    call_once()
    assert monitor.flush() is False
    until(monitor, lambda health: health["dropped"])
    assert monitor.shutdown() is False
    assert monitor.health()["sinks"]["service"]["cure"] == "run `service login`"
    assert [record.getMessage() for record in caplog.records if " failed (" in record.getMessage()] == []


def test_a_sink_that_fails_is_a_problem_until_it_has_recovered() -> None:
    """The state, the error and what happens next."""
    well = threading.Event()
    monitor = setup(Sink("flappy", lambda calls: None if well.is_set() else broken(calls)))
    call_once()
    health = until(monitor, lambda health: not health["ok"])
    assert health["sinks"]["flappy"]["state"] == "degraded"
    assert "ConnectionError" in health["problems"][0]
    assert health["problems"][0].endswith(health["sinks"]["flappy"]["cure"])
    well.set()
    monitor.flush(10)
    assert monitor.health()["problems"] == []


def test_what_a_sink_raised_is_shown_with_its_text_on_one_line_and_without_secrets() -> None:
    """A store in a folder of another user's is `PermissionError`, and the cure says to fix what the error names.

    Seen red: with only the name of the class.
    """

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/srv/api_key=sk-aaaabbbbccccdddd0123\n/runs.db")

    monitor = setup(Sink("store", refuse))
    call_once()
    error = until(monitor, lambda health: not health["ok"])["sinks"]["store"]["last_error"]
    assert error.startswith("PermissionError in store: [Errno 13] Permission denied: '/srv/api_key=")
    assert "sk-aaaa" not in error
    assert "\n" not in error


def test_calls_that_had_no_room_are_a_problem_for_good() -> None:
    """What was lost stays said, though the sink is well again."""
    going = threading.Event()
    monitor = setup(Sink("slow", lambda calls: going.wait(30)))
    for _ in range(12_000):
        with track("tool"):
            pass
    health = until(monitor, lambda health: health["dropped"])
    dropped = health["dropped"]["queue_full"]
    assert any(f"slow: {dropped:,} calls dropped (queue_full)" in problem for problem in health["problems"])
    going.set()
    assert monitor.flush(10)
    assert monitor.health()["dropped"] == {"queue_full": dropped}
    assert monitor.health()["ok"] is False


def test_two_sinks_of_one_name_keep_what_each_says_of_itself() -> None:
    """`mine` and `mine-2`."""
    sinks = setup(Sink(rows=1), Sink(rows=2)).health()["sinks"]
    assert (sinks["mine"]["rows"], sinks["mine-2"]["rows"]) == (1, 2)


def test_a_status_that_raises_is_told_and_breaks_nothing() -> None:
    """A sink's own word on itself is the sink's affair."""

    class Odd(Sink):
        def status(self) -> dict[str, Any]:
            raise RuntimeError("no")

    assert setup(Odd()).health()["sinks"]["mine"]["last_error"] == "RuntimeError in status()"


def test_health_is_json_whatever_a_sink_says_of_itself() -> None:
    """What JSON cannot hold is shown by the name of its class, and no status of a sink changes its counts."""
    loop: list[Any] = []
    loop.append(loop)
    odd = {
        "object": object(), "path": Path("/runs"), "nan": float("nan"), "huge": 10**5_000, "loop": loop,
        "since": datetime(2026, 1, 2, tzinfo=UTC), "names": {"ocr"}, "by": {1: {"a": threading.Lock()}}, 7: "seven",
        "half": "\ud800",
        "emitted": -1, "dropped_by": "x", "state": [], "last_error": 5,
    }  # fmt: skip

    class Odd(Sink):
        def status(self) -> dict[Any, Any]:
            return odd

    health = setup(Odd(), tags={"half": "\ud800"}).health()
    assert json.loads(json.dumps(health, allow_nan=False)) == health
    told = health["sinks"]["mine"]
    assert (told["object"], told["nan"], told["since"]) == ("<object>", None, "2026-01-02T00:00:00Z")
    assert (told["names"], told["by"], told["7"]) == (["ocr"], {"1": {"a": "<lock>"}}, "seven")
    assert (told["emitted"], told["dropped_by"], told["state"], told["last_error"]) == (0, {}, "ok", "")
    assert health["ok"] is True


def test_a_sink_may_say_itself_that_it_is_not_well() -> None:
    """As long as its books know of no trouble."""

    class Ill(Sink):
        def status(self) -> dict[str, Any]:
            return {"state": "degraded", "last_error": "the disk is nearly full"}

    assert setup(Ill()).health()["problems"][0].startswith("mine: degraded, the disk is nearly full; it failed")
    assert setup(Ill("mine", off)).health()["ok"] is False


def test_unknown_costs_are_noted_and_are_no_fault() -> None:
    """Tokens with no price: the sum is not whole, and the way to make it so is said."""
    monitor = setup(prices=None)
    call_once(tokens=5)
    health = monitor.health()
    assert health["ok"] is True
    assert any(note.startswith("the cost of 1 call that") for note in health["notes"])


@pytest.mark.parametrize(
    ("said", "figure"),
    [
        ({"token": 3}, "tokens"), ({"input_token": 3}, "input_tokens"), ({"costs": 0.5}, "cost"),
        ({"price": 0.5}, "cost"), ({"attempts": 2}, "attempt"),
        ({"token": "abc"}, None), ({"token_limit": 4096}, None), ({"customer": 7}, None), ({"mode": 2}, None),
        ({"cost_usd": 0.5}, None), ({"prompt_tokens": 3}, None), ({"tokens": 3}, None), ({"token": True}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["record", "track"])
def test_a_misspelt_figure_is_a_problem_and_a_warning(
    said: dict[str, Any], figure: str | None, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`record(token=3)` is a tag, and its tokens are lost: one line in the log, and `health()` is not ok.

    Seen red: without `warn_of_misspelt` in `record`, and without it in `_find_key`.
    """
    monitor = setup(prices={"ocr": {"input": 1, "output": 1}})
    for _ in range(2):
        if way == "track":
            with track("ocr", **said):
                pass
        else:
            call_once(**said)
    health = monitor.health()
    assert health["ok"] is (figure is None)
    texts = [problem for problem in health["problems"] if problem.startswith("tag ")]
    assert len(texts) == (figure is not None)
    assert not texts or texts[0].endswith(f"did you mean record({figure}=...)?")
    logged = [record for record in caplog.records if record.levelname == "WARNING" and "tag " in record.message]
    assert len(logged) == len(texts)


def test_figures_that_cannot_be_counted_are_noted_with_the_cure() -> None:
    """Seen red: "see `invalid` in the reference of health()", which a pip install does not have."""
    monitor = setup()
    with track("ocr") as call:
        call.record(cost="0.25")  # type: ignore[arg-type]
    (note,) = (note for note in monitor.health()["notes"] if "invalid_values" in note)
    assert re.fullmatch(
        r"not counted, of what calls recorded: [\d,]+ invalid_values; give tokens and costs as numbers from 0 up, .*",
        note,
    )
    assert "reference" not in "".join(_INVALID_CURES.values())
    assert _INVALID_CURES.keys() == Diagnostics.counts().keys()


def test_a_variable_that_no_setting_reads_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that is not there for a slip of the pen. Seen red: only the doctor said so."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_BUDGET", "5")
    monkeypatch.setenv("TOOLWEAVER_MONITOR_COLOUR", "red")
    notes = [note for note in setup().health()["notes"] if note.startswith("no setting reads")]
    assert notes == [
        "no setting reads TOOLWEAVER_MONITOR_BUDGET; write TOOLWEAVER_MONITOR_BUDGET_USD, or unset it",
        "no setting reads TOOLWEAVER_MONITOR_COLOUR; unset it",
    ]


def test_a_setup_that_has_ended_or_is_off_is_not_well() -> None:
    """`health()` says that nothing is monitored, and how to monitor again."""
    monitor = setup()
    monitor.shutdown()
    assert monitor.health()["problems"] == ["this setup has ended; call setup() again"]
    assert "monitoring is off" in setup(enabled=False).health()["problems"][0]


FORKED = """
import os, sys
from toolweaver_monitor import setup
from toolweaver_monitor.sinks import PrometheusExporter

monitor = setup(PrometheusExporter(port=0))
child = os.fork()
if child == 0:
    print(*monitor.health()["problems"], monitor.health()["sinks"]["prometheus"]["cure"], sep="\\n")
    print(*setup(PrometheusExporter(port=0)).health()["problems"], sep="\\n", flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(*monitor.health()["problems"], sep="\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_worker_that_nobody_can_scrape_says_so() -> None:
    """The endpoint stays with the parent; a setup() of its own mends it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        env=os.environ | {"PYTHONPATH": OURS},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split("\n") == [
        (
            "prometheus: this process is a fork of the one that serves the metrics; "
            "call setup() in it, with a port of its own"
        ),
        "call setup() in it, with a port of its own",
        "",
        "",
        "",
    ], done.stderr
