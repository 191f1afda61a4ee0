"""C3: whatever breaks in W&B, the program is not affected, and one line says what happened.

Each program runs in a process of its own, with a hard limit on its time: a hang is a failure.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from helpers import OURS, free_port

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("real_wandb")]

"""The programs run what these tests run."""

PROGRAM = """
import logging, os, signal, subprocess, sys, time
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks._wandb import logger as module
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._wandb.logger import WandBLogger

logging.basicConfig(format="LOG %(message)s")

def calls(count, tool="ocr"):
    return [ToolCall(tool, "success", 0.5, 100.0) for _ in range(count)]

def tried(method, *args):
    began = time.monotonic()
    try:
        method(*args)
        said = "fine"
    except Exception as error:  # what a sink raises, its runner takes
        said = f"{type(error).__name__}: {error}"
    print(f"{method.__name__}|{time.monotonic() - began:.2f}|{said}", flush=True)

def service():
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True)
    lines = [line for line in listed.stdout.splitlines() if "wandb-core" in line and "defunct" not in line]
    return int(lines[0].split()[0])

sink = WandBLogger(init_timeout_s=2.0, finish_timeout_s=1.0)
sink._connect(SetupContext())
"""
KEY = "0123456789" * 4
EXIT_S = 4.0
"""The row's 2.5 s, and what a busy machine adds; one that waits for W&B takes 30 s or never ends."""


class Ended:
    """How a program ended: what it said, how long it took, and what each step of it did."""

    def __init__(self, done: subprocess.CompletedProcess[str], took_s: float) -> None:
        self.took_s = took_s
        self.at = time.time()
        self.out, self.err = done.stdout, done.stderr
        self.logged = [line[4:] for line in done.stderr.splitlines() if line.startswith("LOG ")]
        steps = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
        self.steps = [(name, said) for name, _, said in steps]
        self.seconds = [float(seconds) for _, seconds, _ in steps]

    def exit_s(self) -> float:
        """Seconds to the program's end from when it printed the time."""
        return self.at - next(float(line) for line in self.out.splitlines() if "|" not in line and line[:1].isdigit())


def run_program(code: str, folder: Path, **env: str) -> Ended:
    """Run it with everything wandb writes kept in `folder`; it must end by itself, quietly."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    homes = {name: str(folder / "home") for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM + code],
        env=own | homes | {"PYTHONPATH": OURS, "WANDB_DIR": str(folder)} | env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done, took_s)


def calls_in_runs(folder: Path) -> list[int]:
    """How many calls each run holds; a run that was cut off counts as far as it can be read."""
    found = []
    for file in sorted(folder.glob("wandb/*run-*/run-*.wandb")):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(inspect, capture_output=True, text=True, timeout=60).stdout.splitlines()
        items = [json.loads(line).get("history", {}).get("item", {}) for line in lines]
        found.append(sum("ocr/status" in item for item in items))
    return found


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def unwelcoming() -> Iterator[str]:
    """A server that accepts no key."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"errors":[{"message":"user is not logged in"}]}'
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "absent",
    [
        "sys.modules['wandb'] = None",
        "import types; sys.modules['wandb'] = types.ModuleType('wandb')  # as a folder ./wandb of offline runs looks",
    ],
)
def test_wandb_not_installed_names_the_install(absent: str, tmp_path: Path) -> None:
    """The sink says what to install, looks for it once for all its calls, and its end is quiet.

    Seen red: with `ModuleNotFoundError` not caught apart, and without the look for `wandb.init`, another cure was told;
    with `_unavailable` not set, or `_has_something_to_finish` not looking at it, `close` raised.
    """
    ended = run_program(
        f"""
{absent}
looks, load = [], module.runs.import_wandb
module.runs.import_wandb = lambda: looks.append(1) or load()
tried(sink.write, calls(3))
tried(sink.write, calls(3))
sink.log_summary({{"total_operations": 6}})  # as a monitor does at its end
tried(sink.close)
print("looks:", len(looks))
""",
        tmp_path,
    )
    cure = "SinkUnavailable: wandb is not installed; run `pip install 'toolweaver_monitor[wandb]'`"
    assert ended.steps == [("write", cure), ("write", cure), ("close", "fine")]
    assert "looks: 1\n" in ended.out


def test_a_broken_install_is_told_with_its_cure(tmp_path: Path) -> None:
    """An import that raises anything at all is the sink's trouble only, and told with its cure.

    Seen red: with `except ImportError` for `except Exception` around the import, its RuntimeError came out.
    """
    (tmp_path / "wandb.py").write_text("raise RuntimeError('compiled for another Python')")
    ended = run_program("sys.path.insert(0, os.getcwd())\ntried(sink.write, calls(3))\ntried(sink.close)", tmp_path)
    cure = "SinkUnavailable: wandb cannot be imported (RuntimeError); run `pip install -U wandb`"
    assert ended.steps == [("write", cure), ("close", "fine")]


def test_without_a_temporary_folder_the_cure_is_one(tmp_path: Path) -> None:
    """As in a container with a read-only root: wandb makes a folder there when it is imported.

    Seen red: with the cure of a broken install.
    """
    nowhere = "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
    ended = run_program(nowhere + "tried(sink.write, calls(3))\ntried(sink.close)", tmp_path)
    cure = "set TMPDIR to a folder that can be written"
    says = f"wandb cannot be imported ([Errno 2] No usable temporary directory found in ['/nowhere']); {cure}"
    assert ended.steps == [("write", f"SinkUnavailable: {says}"), ("close", "fine")]


def test_logged_out_says_so_and_never_asks(tmp_path: Path) -> None:
    """No key anywhere: one sentence with the cure, no prompt, no waiting for a network.

    Seen red: without `require_login`, wandb's own words came; with `prompt=True` there, "cannot be used".
    """
    ended = run_program("tried(sink.write, calls(3))\ntried(sink.close)", tmp_path, WANDB_MODE="online")
    cure = "run `wandb login`, or set WANDB_MODE=offline to keep runs on this machine"
    assert ended.steps == [("write", f"SinkUnavailable: W&B is not logged in; {cure}"), ("close", "fine")]
    assert ended.took_s < 20
    assert "key" not in ended.out + ended.err


@pytest.mark.parametrize("kind", ["refused", "black_hole"])
def test_a_dead_server_costs_a_bounded_time_and_no_call(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The run is kept offline instead; one line says so and how to upload it, and the exit does not wait.

    Seen red: with no second `init("offline")`, the sink was off; with the limits not handed to wandb, the first write
    gave up; without `disable_error_reports`, the program took 22 s to exit.
    """
    url = request.getfixturevalue(kind)
    ended = run_program(
        "tried(sink.write, calls(300))\nprint(sink.status())\ntried(sink.close)\nprint(time.time())",
        tmp_path,
        WANDB_MODE="online",
        WANDB_BASE_URL=url,
        WANDB_API_KEY=KEY,
    )
    assert ended.steps == [("write", "fine"), ("close", "fine")]
    assert ended.seconds[0] < 25
    (line,) = ended.logged
    assert f"W&B at {url.removeprefix('http://')} did not accept the run" in line
    assert "it is kept offline" in line
    assert "`wandb sync " in line
    assert ended.exit_s() < EXIT_S
    assert 300 in calls_in_runs(tmp_path)
    assert KEY not in ended.out + ended.err


def test_an_exit_while_the_server_is_waited_for_does_not_wait(black_hole: str, tmp_path: Path) -> None:
    """A program that ends while W&B is still being started ends at once, whatever still waits.

    Seen red: with neither `_at_exit` registered nor the service process killed if a start fails, 31 s.
    """
    ended = run_program(
        """
import contextlib, threading
sink._init_timeout_s = 30.0
def write():  # and print nothing: a thread that prints while Python ends takes the program with it
    with contextlib.suppress(Exception): sink.write(calls(3))
threading.Thread(target=write, daemon=True).start()
time.sleep(4)
print(time.time())
""",
        tmp_path,
        WANDB_MODE="online",
        WANDB_BASE_URL=black_hole,
        WANDB_API_KEY=KEY,
    )
    assert ended.exit_s() < EXIT_S


def test_a_refused_key_costs_no_call(unwelcoming: str, tmp_path: Path) -> None:
    """The server's answer is reported, and the run is kept until it can be uploaded.

    Seen red: with `CommError` among the errors that turn the sink off; with what the server said not in the note.
    """
    ended = run_program(
        "tried(sink.write, calls(3))\ntried(sink.close)",
        tmp_path,
        WANDB_MODE="online",
        WANDB_BASE_URL=unwelcoming,
        WANDB_API_KEY=KEY,
    )
    assert ended.steps == [("write", "fine"), ("close", "fine")]
    (line,) = ended.logged
    assert "user is not logged in" in line
    assert "`wandb sync " in line
    assert 3 in calls_in_runs(tmp_path)
    assert KEY not in ended.out + ended.err


def test_a_killed_service_process_costs_no_batch(tmp_path: Path) -> None:
    """The batch fails once, a new run takes it, and the program ends as if nothing had been.

    Seen red: with the dead run kept, or `kill_service` left out of `_give_up`, the batch failed again; with
    a row taken from the waiting ones before it was logged, 399 of the 400 arrived.
    """
    ended = run_program(
        """
tried(sink.write, calls(20))
os.kill(service(), signal.SIGKILL)
time.sleep(0.5)
batch = calls(400)
tried(sink.write, batch)
tried(sink.write, batch)
tried(sink.close)
print(time.time())
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    died = "ConnectionError: W&B's service process died"
    assert [said for _, said in ended.steps] == ["fine", f"{died}; a new run goes on", "fine", "fine"]
    assert ended.logged == ["sink 'wandb': W&B's service process died; a new run goes on"]
    assert 400 in calls_in_runs(tmp_path)
    assert ended.exit_s() < EXIT_S


def test_a_service_process_that_dies_under_the_programs_run_is_named_with_its_cure(tmp_path: Path) -> None:
    """Only the program may end its run, so no other can start; `health()` says what happened and what to do.

    Seen red: without the notes, the problem said "fix what the error names".
    """
    ended = run_program(
        """
import atexit, wandb
from toolweaver_monitor import setup, track
monitor = setup(WandBLogger())
run = wandb.init(settings=wandb.Settings(silent=True))
def call():
    with track("ocr"):
        pass
    monitor.flush(30)
    print(*monitor.health()["problems"], sep="\\n")
call()
os.kill(service(), signal.SIGKILL)
time.sleep(0.5)
call()
tried(run.finish)
call()
sys.stdout.flush()
os._exit(0)  # wandb's own exit hook prints a traceback, for a run that is not ours
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    problems = [line for line in ended.out.splitlines() if line.startswith("wandb: ")]
    assert "the program's own W&B run takes no more rows" in problems[0]
    told = [line for line in problems if "fix what write() raises" not in line]
    assert [line for line in told if "restart the program" not in line] == []
    assert any("W&B's service process has died; restart the program" in line for line in problems)


def test_a_service_process_killed_before_the_end_costs_no_traceback(tmp_path: Path) -> None:
    """What was not written is reported as failed, and wandb's own exit hook prints nothing.

    Seen red: with the service process dropped only where it hangs, that hook printed 30 lines of a traceback.
    """
    ended = run_program(
        """
tried(sink.write, calls(20))
os.kill(service(), signal.SIGKILL)
time.sleep(0.5)
tried(sink.close)
print(time.time())
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    assert [name for name, _ in ended.steps] == ["write", "close"]
    assert ended.steps[1][1] != "fine"
    assert ended.exit_s() < EXIT_S


def test_a_stopped_service_process_is_waited_for_only_so_long(tmp_path: Path) -> None:
    """Writing and closing come back with an error, and the exit does not hang on what no longer answers.

    Seen red: with no limit on the wait for an answer, the write hung; without `kill_service` in `_release`, the exit.
    """
    ended = run_program(
        """
module.ANSWER_S = 0.5
tried(sink.write, calls(20))
os.kill(service(), signal.SIGSTOP)
tried(sink.write, calls(2000))
tried(sink.write, calls(2000))
tried(sink.close)
print(time.time())
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    hangs = "TimeoutError: W&B's service process does not answer"
    assert [said for _, said in ended.steps] == ["fine", hangs, hangs, hangs]
    assert all(seconds < 5 for seconds in ended.seconds[1:])
    assert ended.exit_s() < EXIT_S


@pytest.mark.parametrize("end", ["tried(sink.close)", "pass"])
def test_a_batch_held_up_by_the_service_process_arrives_once(end: str, tmp_path: Path) -> None:
    """What timed out and came through after all is not written again, and the service is not ended before its time.

    Seen red: with the late answer not taken for the batch's own, 4,020 calls; with the sink left troubled after it, the
    exit of a program that closes nothing ended the service process, which may not have written all rows yet.
    """
    ended = run_program(
        f"""
module.ANSWER_S = 0.5
module.internals.kill_service = lambda: print("ended|0|the service process")
tried(sink.write, calls(20))
pid = service()
os.kill(pid, signal.SIGSTOP)
batch = calls(2000)
tried(sink.write, batch)
os.kill(pid, signal.SIGCONT)
module.ANSWER_S = 10.0
tried(sink.write, batch)
{end}
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    assert "ended|" not in ended.out
    said = [said for _, said in ended.steps]
    assert said == ["fine", "TimeoutError: W&B's service process does not answer", "fine"] + ["fine"] * ("close" in end)
    assert calls_in_runs(tmp_path) == [2020]


def test_a_hanging_end_is_cut_short_at_the_exit(tmp_path: Path) -> None:
    """A program that closes nothing still ends, though the service process hangs, and says where its run is.

    Seen red: with `_at_exit` doing nothing, or without `kill_service` in `_release`, it did not end.
    """
    ended = run_program(
        """
module.ANSWER_S = 0.5
tried(sink.write, calls(20))
os.kill(service(), signal.SIGSTOP)
tried(sink.write, calls(2000))
print(time.time())
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    assert ended.exit_s() < EXIT_S
    assert any("wandb sync" in line for line in ended.logged)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_forked_child_logs_nothing_and_ends_nothing(whose: str, tmp_path: Path) -> None:
    """The child reports why, and its parent's run goes on.

    Seen red: without `_check_process` in `write`, and without the look at `_init_pid`, the parent's run had the
    child's calls; without the one at `_pid` in `close` and in `run`; without the hook `_in_child`, wandb's raised.
    """
    ended = run_program(
        f"""
if {whose!r} == "theirs":
    import wandb
    theirs = wandb.init(project="theirs", settings=wandb.Settings(silent=True))
tried(sink.write, calls(1))
if os.fork() == 0:
    tried(sink.write, calls(5))
    tried(WandBLogger().write, calls(5)) if {whose!r} == "theirs" else None
    tried(sink.close)
    print("run of the child:", sink.run, flush=True)
    os._exit(0) if {whose!r} == "theirs" else sys.exit(0)  # wandb's own exit hook in a child is not our affair
os.wait()
tried(sink.write, calls(2))
tried(sink.close)
theirs.finish() if {whose!r} == "theirs" else None
""",
        tmp_path,
        WANDB_MODE="offline",
    )
    told = [said for name, said in ended.steps if said != "fine"]
    assert told
    assert all(said.startswith("SinkUnavailable: ") and "process" in said for said in told)
    assert len(ended.steps) == (6 if whose == "theirs" else 5)
    assert "run of the child: None" in ended.out
    assert calls_in_runs(tmp_path) == [3]


def test_a_table_that_cannot_be_written_does_not_cost_the_run_its_end(tmp_path: Path) -> None:
    """With no folder for W&B's artifacts the errors stay in the log's one line, and the run is finished.

    Seen red: with the error of `_log_errors` not caught, `close` raised and the run was not finished.
    """
    (tmp_path / "file").write_text("not a folder")
    ended = run_program(
        """
tried(sink.write, [ToolCall("ocr", "failure", 0.5, 100.0)])
tried(sink.close)
""",
        tmp_path,
        WANDB_MODE="offline",
        WANDB_DATA_DIR=str(tmp_path / "file" / "below"),
    )
    assert ended.steps == [("write", "fine"), ("close", "fine")]
    assert any("table of errors" in line for line in ended.logged)
    assert calls_in_runs(tmp_path) == [1]
