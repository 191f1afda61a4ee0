"""How does a program that is already ending get its W&B run on CPython 3.12.0 and 3.12.1?

Those two refuse every new thread as soon as the main thread is through (gh-113964; from 3.12.2 on they start until the
exit hooks have run), and a W&B run cannot start without. A new process is not refused: one is started, and has the run.

With those versions goes this file, and what names it in `wandb.py`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._wandb import run as runs

REFUSE_THREADS = sys.version_info[:3] in ((3, 12, 0), (3, 12, 1))
OTHER_PROCESS = "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); import {0}; {0}.serve()"
QUIT = "W&B's run ended in the process that had it"


def is_needed(error: RuntimeError) -> bool:
    """Whether this error is those versions' refusal to start a thread."""
    return REFUSE_THREADS and "interpreter shutdown" in str(error)


def begin(**wanted: Any) -> runs.Session:
    """As `runs.begin`, in a process of its own. It finishes the run also when this process is killed.

    Raises:
        SinkUnavailable: what that says over there.
        ConnectionError: the process did not get so far.
    """
    _end_the_half_started()
    run = _Run()
    run.tell(sys.path)
    run.tell(wanted)
    answer = run.answer()
    if "off" in answer:
        raise SinkUnavailable(answer["off"])
    run.url = answer["where"]
    return runs.Session(SimpleNamespace(Table=dict), run, ours=True, note=answer["note"])


def _end_the_half_started() -> None:
    """Have the event loop of a wandb that got only so far come to its end, or asyncio complains of its tasks."""
    if getattr(sys.modules.get("wandb.sdk.wandb_setup"), "_singleton", None) is None:
        for thread in threading.enumerate():
            manager: Any = getattr(getattr(thread, "_target", None), "__self__", None)
            if type(manager).__name__ == "AsyncioManager":
                manager.join()


class _Run:
    """What is asked of a run here, told to the process that has it, a line of JSON each.

    Nothing is buffered: at the interpreter's end a buffer that a daemon thread holds is a fatal error.
    """

    offline = False
    url = ""

    def __init__(self) -> None:
        import subprocess  # which no other program needs for its W&B run

        self.summary = SimpleNamespace(update=lambda row: self.tell(["summarize", row]))
        self._process: Any = subprocess.Popen(  # noqa: S603 - our own Python and our own text
            [sys.executable, "-I", "-c", OTHER_PROCESS.format(__name__)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"},  # ends with this one
            start_new_session=True,  # a Ctrl-C is not for it
        )

    def define_metric(self, name: str, **how: Any) -> None:
        self.tell(["define", name, how])

    def log(self, row: Any) -> None:
        self.tell(["log", row])

    def finish(self) -> None:
        self._process.stdin.close()
        if self._process.wait() != 0:
            raise ConnectionError(QUIT)

    def tell(self, said: Any) -> None:
        line = memoryview(json.dumps(said).encode() + b"\n")
        while line:
            line = line[self._process.stdin.write(line) or 0 :]

    def answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise ConnectionError(QUIT)
        return json.loads(line)


def serve() -> None:
    """Have a run until there is nothing more to read: what the other process does."""
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        wandb = runs.load()
        session = runs.begin(wandb, **json.loads(sys.stdin.readline()))
        answer = {"where": session.where, "note": session.note}
    except SinkUnavailable as error:
        answer = {"off": str(error)}
    print(json.dumps(answer), file=answers, flush=True)
    if "off" in answer:
        return
    run = session.run
    for line in sys.stdin:
        what, *given = json.loads(line)
        if what == "define":
            run.define_metric(given[0], **given[1])
        elif what == "summarize":
            run.summary.update(given[0])
        else:
            run.log(
                {name: wandb.Table(**value) if isinstance(value, dict) else value for name, value in given[0].items()}
            )
    run.finish()
