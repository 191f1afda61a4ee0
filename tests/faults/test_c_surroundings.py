"""C4 and C5: a wall clock that jumps, and a process that is denied streams, files or threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import TOOL, delivered, run_program

from toolweaver_monitor import setup, track
from toolweaver_monitor._bus import retry
from toolweaver_monitor._core import clock
from toolweaver_monitor.testing.faults import KeepSink, RaiseSink


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The wall clock, and by how many seconds it is off."""
    off = [0.0]
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + off[0])
    yield off
    off[0] = 0.0
    clock.detect_clock_step()


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_c4_a_wall_clock_that_is_set_in_the_middle_of_a_call_changes_no_duration(
    step_s: float, wall: list[float]
) -> None:
    """An hour back or forth: a call's duration is right to a millisecond, and its start is what it was.

    Seen red: with durations from `time.time()`, -3,600 s.
    """
    sink = KeepSink()
    monitor = setup(sink)
    began = time.time()
    with track("slept") as call:
        measured = time.perf_counter()
        time.sleep(0.02)
        wall[0] = step_s
        measured = time.perf_counter() - measured
    assert monitor.flush()
    assert measured <= call.duration_s <= measured + 0.001 * 5
    assert call.started_at == pytest.approx(began, abs=0.2)
    with track("after") as after:
        pass
    monitor.summary()
    assert after.started_at == pytest.approx(began + step_s, abs=1.0)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_c4_a_wall_clock_that_is_set_during_retries_and_flushes_changes_no_deadline(
    step_s: float, wall: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries, flushes and the shutdown keep to the monotonic clock.

    Seen red: with the deadline of `flush` from `time.time()`, it took an hour or no time.
    """
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.05)
    sink = RaiseSink(times=2)
    monitor = setup(sink)
    with track("call"):
        pass
    wall[0] = step_s
    deadline = time.monotonic() + 2.0
    while not sink.calls and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(sink.calls) == 1
    sink.times = None
    with track("call"):
        pass
    wall[0] = 0.0
    stepping = threading.Timer(0.1, lambda: wall.__setitem__(0, step_s))
    stepping.start()
    began = time.monotonic()
    assert monitor.flush(0.3) is False
    stepping.join()
    assert 0.25 <= time.monotonic() - began <= 1.0
    began = time.monotonic()
    assert monitor.shutdown(0.5) is False
    assert time.monotonic() - began <= 1.5


DENIED = {
    "no stdin, stdout, stderr": ("os.close(0); os.close(1); os.close(2)", {}, ()),
    "streams that are None": ("sys.stdin = sys.stdout = sys.stderr = None", {}, ()),
    "a closed stderr": ("sys.stderr.close()", {}, ()),
    "warnings are errors": ("", {"PYTHONWARNINGS": "error"}, ()),
    "no docstrings, no asserts": ("", {}, ("-OO",)),
    "isolated": ("", {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}, ()),
    "no HOME": ("os.environ.pop('HOME', None)", {}, ()),
    "ASCII only": ("", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, ()),
    "a logging handler that raises": (
        """
import logging
class Broken(logging.Handler):
    def handle(self, record): raise OSError("broken")
logging.getLogger().addHandler(Broken())
""",
        {},
        (),
    ),
    "logging that is disabled": ("import logging; logging.disable()", {}, ()),
    "no more open files": ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))", {}, ()),
    "an empty environment": ("os.environ.clear()", {}, ()),
    "a folder that is gone": ("import socket, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)", {}, ()),
}


@pytest.mark.parametrize("what", DENIED)
def test_c5_whatever_the_process_is_denied_the_program_runs(what: str, tmp_path: Path) -> None:
    """No exception, calls are counted and delivered, drops are told to nobody if nobody can be told.

    Seen red: with the last line on what was lost not shielded, `shutdown()` raised where stderr is closed.
    """
    deny, env, options = DENIED[what]
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + deny
        + """
from toolweaver_monitor import track
from toolweaver_monitor.testing.faults import RaiseSink
tiny = RaiseSink(); tiny.max_calls = 1
setup(FileSink(), tiny, "log", "prometheus")
for _ in range(100): tool()
try:
    with track("na\\u00efve \\ud800") as call: raise ValueError("\\u20ac")
except ValueError: pass
get_monitor().health(); get_monitor()._text()
count = get_monitor().summary()["count"]
flushed = flush(0.1)
with open(sys.argv[1] + ".count", "w") as file: file.write(f"{count} {flushed}")
assert shutdown(0.5) is False
""",
        str(out),
        options=options,
        env=env | {"TOOLWEAVER_MONITOR_PROMETHEUS_PORT": "0"},
    )
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err or what == "a logging handler that raises", ended.err
    assert (tmp_path / "calls.count").read_text() == "101 False"
    assert len([name for name, _ in delivered(out) if name == "tool"]) == 100


NO_THREADS = (
    TOOL
    + """
import asyncio, resource  # all before what is denied: a user that is nobody may not read them
from toolweaver_monitor.sinks import PrometheusExporter
for name in ("ascii", "latin-1", "idna"): "x".encode(name)
def refuse(*args, **kwargs): raise RuntimeError("can't start new thread")
import _thread, ipaddress  # which another user may not be able to read from here
if sys.argv[2] == "refused":
    threading._start_new_thread = threading._start_joinable_thread = refuse  # the second from 3.13 on
else:
    os.setgid(65534); os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try: threading.Thread(target=print).start()
    except RuntimeError: pass
    else: print("unlimited"); sys.exit(0)
inner = []
class Calling(FileSink):
    def write(self, calls): tool(); super().write(calls)
monitor = setup(Calling(), "prometheus")
for n in range(20_000): tool()
assert monitor.summary()["count"] == 20_000
began = time.monotonic()
assert flush(5.0), monitor.health()
for n in range(1000): tool()
books = monitor.health()["sinks"]["file"]
assert books["emitted"] == books["delivered"] + books["failed"] + books["dropped"] + books["queued"], books
tool()
async def main():
    tool()
    return await monitor.aflush()
assert asyncio.run(main())
tool()
print("fine", books["dropped"])
"""
)


@pytest.mark.parametrize("how", ["refused", "limited"])
def test_c5_with_no_threads_to_be_had_whoever_comes_first_does_the_work(how: str, tmp_path: Path) -> None:
    """Reads count, `flush()` delivers, and so does the end; nothing raises and nothing feeds itself.

    Seen red: with the queue filled to the brim before the first write, two thirds of the calls were dropped.
    """
    if how == "limited" and os.geteuid() != 0:
        pytest.skip("only root can become a user that may start nothing")
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    out = tmp_path / "calls"
    ended = run_program(
        NO_THREADS, str(out), how, env={"TOOLWEAVER_MONITOR_PROMETHEUS_PORT": "0", "HOME": "/nonexistent"}
    )
    if ended.out.strip() == "unlimited":
        pytest.skip("this machine does not hold a process to RLIMIT_NPROC")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.out.startswith("fine")
    assert len(delivered(out)) + int(ended.out.split()[1]) == 21_003
    assert int(ended.out.split()[1]) == 0
