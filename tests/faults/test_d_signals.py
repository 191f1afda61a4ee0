"""D3: signals in the middle of a call, a flush or a setup."""

from __future__ import annotations

import contextvars
import dis
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from opcodes import OURS, interrupted, places_in
from programs import TOOL, run_program

from toolweaver_monitor import current_call, monitored, track
from toolweaver_monitor.testing import ToolRecorder

pytestmark = pytest.mark.system

FAULTS = str(Path(__file__).parent)

PROGRAM = (
    TOOL
    + """
import json, random
try: import genai_prices  # a call without a price waits for this import, once
except ImportError: pass
sys.path.insert(0, sys.argv[4])
from opcodes import interrupted, places_in
from toolweaver_monitor import track

what, how, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
most_s = float(sys.argv[6])
folder = sys.argv[5]

def emit():
    tool()
    with track("block") as call: call.record(tokens=1, cost=0.01, note="x")
    try:
        with track("fails"): raise ValueError("on purpose")
    except ValueError: pass

first = None
def again(): setup(first, FileSink(f"{folder}/second", "second"))
work = {"emit": emit, "flush": lambda: flush(2.0), "setup": again}[what]

def prepared(path):
    global first
    first = FileSink(path)
    setup(first)
    for _ in range(20): tool()

def in_child(place, path, write):
    prepared(path)
    said = {"struck": 0.0}
    def strike():
        said["struck"] = time.monotonic()
        os.write(write, json.dumps({"struck": said["struck"]}).encode() + b"\\n")
        signal.raise_signal({"term": signal.SIGTERM, "int": signal.SIGINT, "user": signal.SIGUSR1}[how])
    def handler(*_):
        tool()
        flush(1.0)
        os.write(write, json.dumps({"handled": time.monotonic() - said["struck"]}).encode() + b"\\n")
    signal.signal(signal.SIGUSR1, handler)
    try:
        interrupted(work, place, strike)
    except KeyboardInterrupt:
        assert how == "int"
    tool()
    began = time.monotonic()
    ok = flush(5.0)
    os.write(write, json.dumps({"flushed": ok, "flush_s": time.monotonic() - began}).encode() + b"\\n")
    if how != "term" and get_monitor() is None:
        setup(first)
    shutdown(2.0)
    os._exit(0)

def lines(path):
    return open(path).read().splitlines() if os.path.exists(path) else []

import warnings; warnings.simplefilter("ignore")
child = os.fork()
read, write = os.pipe()
prepared_child = child
if child == 0:
    prepared(f"{folder}/count")
    n = places_in(work)
    with open(f"{folder}/places", "w") as file: file.write(str(n))
    shutdown()
    os._exit(0)
os.waitpid(child, 0)
places = int(open(f"{folder}/places").read())
chosen = list(range(1, places + 1))
if len(chosen) > most: chosen = sorted(random.Random(1).sample(chosen, most))
lost, slow, wrong = [], [], []
for place in chosen:
    stalls = []
    for attempt in range(5):
        path = f"{folder}/{what}-{how}-{place}-{attempt}"
        read, write = os.pipe()
        child = os.fork()
        if child == 0: in_child(place, path, write)
        os.close(write)
        _, status = os.waitpid(child, 0)
        ended = time.monotonic()
        said = {}
        with os.fdopen(read) as file:
            for line in file: said.update(json.loads(line))
        code = os.waitstatus_to_exitcode(status)
        arrived = sum(line.startswith("tool ") for line in lines(path))
        if "struck" not in said: break  # it came out shorter this time
        if how == "term":
            if code != -signal.SIGTERM: wrong.append((place, "code", code))
            stalls.append(ended - said["struck"])
            if arrived < 20: lost.append((place, arrived))
        else:
            if code != 0: wrong.append((place, "code", code))
            if not said.get("flushed"): wrong.append((place, "not flushed"))
            stalls.append(said["handled"] if how == "user" else said["flush_s"])
            least = 22 if how == "user" else 21
            arrived += sum(line.startswith("tool ") for line in lines(f"{folder}/second"))
            if arrived < least: lost.append((place, arrived))
        if os.path.exists(f"{folder}/second"): os.unlink(f"{folder}/second")
        if stalls[-1] <= most_s: break
    if stalls and min(stalls) > most_s: slow.append((place, round(min(stalls), 3)))
print(json.dumps({"places": places, "tried": len(chosen), "lost": lost, "slow": slow, "wrong": wrong}))
"""
)


def struck(what: str, how: str, most: int, most_s: float, folder: Path) -> None:
    args = (what, how, str(most), FAULTS, str(folder), str(most_s))
    ended = run_program(PROGRAM, *args, timeout_s=580, env={"FAULT_HANG_S": "570"})
    assert ended.code == 0, ended.err[-3000:]
    found = json.loads(ended.out)
    assert (found["lost"], found["slow"], found["wrong"]) == ([], [], [])
    print(f"D3: {how} at {found['tried']} of {found['places']} places of {what}")


@pytest.mark.parametrize("how", ["term", "int", "user"])
@pytest.mark.parametrize("what", ["emit", "flush", "setup"])
def test_d3_a_signal_in_the_middle_stalls_nothing_and_loses_nothing(what: str, how: str, tmp_path: Path) -> None:
    """SIGTERM, Ctrl-C and a signal whose handler calls and flushes, at places all over a call, a flush and a setup.

    What had ended before is delivered, and no caller waits more than 50 ms (0.2 s here, where other tests run at once).

    Seen red: with the gate of the setup not opened after a Ctrl-C, the flush after it wrote nothing.
    """
    struck(what, how, 12, 0.2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["term", "int", "user"])
@pytest.mark.parametrize("what", ["emit", "flush", "setup"])
def test_d3_a_signal_at_any_of_500_places_stalls_nothing_and_loses_nothing(what: str, how: str, tmp_path: Path) -> None:
    """As above, at 500 places each, or at every one where there are fewer.

    Seen red as `test_d3_a_signal_in_the_middle_stalls_nothing_and_loses_nothing`, whose check it shares.
    """
    struck(what, how, 500, 0.05, tmp_path)


def _tool() -> dict[str, int]:
    return {"tokens_used": 1}


def _plain() -> None:
    with track("block"):
        pass


def _recording() -> None:
    with track("block") as call:
        call.record(tokens=1)


def _tagged() -> None:
    with track("block", customer="acme"):
        pass


def _failing() -> None:
    with suppress(ValueError), track("block"):
        raise ValueError("on purpose")


def _inside() -> None:
    with track("outer"):
        _recording()


@pytest.mark.parametrize(
    "work", [monitored("tool")(_tool), _plain, _recording, _tagged, _failing, _inside], ids=lambda work: work.__name__
)
def test_d3_a_ctrl_c_while_a_call_opens_or_closes_leaves_none_open(work: Callable[[], object]) -> None:
    """Wherever it strikes, no call stays open, nor the one that later calls are thought to run in.

    Except at the moment when CPython enters `__exit__`: none of its lines has run then.

    Seen red: with an interrupt in the closing of a block not caught, and with a call not taken back that was made the
    innermost just before its token was stored.
    """

    def interrupt() -> None:
        nonlocal where
        frame = sys._getframe()
        while not frame.f_code.co_filename.startswith(OURS):
            assert frame.f_back is not None
            frame = frame.f_back
        where = f"{frame.f_code.co_name}, line {frame.f_lineno}"
        before = [step.opname for step in dis.get_instructions(frame.f_code) if step.offset < frame.f_lasti]
        if frame.f_code.co_name not in ("__exit__", "_close") or before[-1] != "RESUME":
            raise KeyboardInterrupt

    def struck_at(place: int) -> str:
        with suppress(KeyboardInterrupt):
            interrupted(work, place, interrupt)
        return current_call().tool_name

    where = ""
    with ToolRecorder() as recorder:
        for place in range(1, places_in(work) + 1):
            around = contextvars.copy_context().run(struck_at, place)
            assert (around, recorder.monitor.active()) == ("", []), (place, where)
