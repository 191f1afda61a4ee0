"""The run that this process belongs to: its head, and where its folder is.

The head is the process whose workers are counted together. It is known by its id and its start.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import SinkUnavailable

HEADS = frozenset({
    "gunicorn", "uvicorn", "hypercorn", "granian", "daphne", "fastapi", "celery", "celeryd", "rq", "dramatiq",
})  # fmt: skip
"""Programs that start workers, by their command or their package."""
MAX_ANCESTORS = 32
PROC = Path("/proc")
FOLDER_NAME = "toolweaver_monitor"
MEMORY_DISK = "/dev/shm"  # noqa: S108 - only as a place for a folder of this user's own
CURE = "set TOOLWEAVER_MONITOR_SHARED to a folder that the workers can write"
_WITH_VALUE = ("-X", "-W")


class Process(NamedTuple):
    """A process of this machine.

    Attributes:
        pid: its id, which another process may have had before it.
        started: when it started, in the words of the system, and in which pid namespace; with the id it names one
            process, though each container has a process 1.
        parent: the id of the process that started it.
        command: the words of its command line.
    """

    pid: int
    started: str
    parent: int = 0
    command: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        found = describe(self.pid)
        return found is not None and found.started == self.started


def find_head() -> Process:
    """Return the head of the run that this process belongs to.

    It is the server that has started this process, if there is one: gunicorn, uvicorn, Celery and others are known by
    their command lines. Else it is the parent of a child of `multiprocessing`, and else this process.
    """
    server = next((each for each in _ancestors() if _command_name(each.command) in HEADS), None)
    if server is not None:
        return server
    parent = _multiprocessing_parent()
    head = describe(parent) if parent else None
    return head or describe(os.getpid()) or Process(os.getpid(), "")


def _multiprocessing_parent() -> int:
    module = sys.modules.get("multiprocessing.process")
    parent = module.parent_process() if module is not None else None
    return parent.pid or 0 if parent is not None else 0


def _ancestors() -> Iterator[Process]:
    pid = os.getppid()
    for _ in range(MAX_ANCESTORS):
        found = describe(pid) if pid > 0 else None
        if found is None:
            return
        yield found
        pid = found.parent


def describe(pid: int) -> Process | None:
    """Return a process that runs; None if there is none of this id, or the system does not tell."""
    if not PROC.joinpath("self").exists():
        return _ask_ps(pid)
    try:
        state, parent, *rest = PROC.joinpath(f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        words = PROC.joinpath(f"{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else Process(pid, f"{rest[17]}-{namespace()}", int(parent), tuple(words))


def namespace() -> str:
    """Return the number of this process's pid namespace, such as a container has; empty if the system has none."""
    try:
        return PROC.joinpath("self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return ""


def _ask_ps(pid: int) -> Process | None:
    command = ["ps", "-o", "stat=", "-o", "ppid=", "-o", "lstart=", "-o", "command=", "-p", str(pid)]
    try:
        found = subprocess.run(  # noqa: S603 - no words of others
            command, capture_output=True, text=True, errors="replace", timeout=5, check=True
        )
        state, parent, *words = found.stdout.split()
        return None if state.startswith("Z") else Process(pid, "-".join(words[:5]), int(parent), tuple(words[5:]))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _command_name(words: Sequence[str]) -> str:
    """Return the command that runs: `uvicorn` for `python -m uvicorn`, and for `uvicorn: worker`, too."""
    left = list(words)
    if left and Path(left[0]).name.startswith(("python", "pypy")):
        del left[0]
        while left and left[0].startswith("-"):
            option = left.pop(0)
            if option == "-m":
                return left[0].partition(".")[0] if left else ""
            if option in _WITH_VALUE and left:
                del left[0]
    if not left:
        return ""
    path = Path(left[0].strip("[]:"))
    return path.parent.name if path.name == "__main__.py" else path.name.removesuffix(".exe")


def default_folder(head: Process) -> Path:
    """Return the folder of a run, named after its head; the folder around it is made.

    Raises:
        SinkUnavailable: there is no place for it, or the place is another user's.
    """
    for around in (os.environ.get("XDG_RUNTIME_DIR", ""), _temporary(), MEMORY_DISK):
        if around and Path(around).is_absolute() and os.access(around, os.W_OK | os.X_OK):
            break
    else:
        raise SinkUnavailable("there is no folder for files of a run: none can be written", hint=CURE)
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = Path(around) / f"{FOLDER_NAME}-{user}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.lstat()
    except OSError as error:
        raise SinkUnavailable(f"{escape(str(base))} cannot be made ({error.strerror})", hint=CURE) from None
    is_private = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not stat.S_IMODE(found.st_mode) & 0o077
    if not is_private and os.name == "posix":
        raise SinkUnavailable(f"{escape(str(base))} can be used by others, or is another user's", hint=CURE)
    return base / f"run-{head.pid}-{head.started or 0}"


def _temporary() -> str:
    try:
        found = tempfile.gettempdir()
    except OSError:
        return ""
    return "" if Path(found) == Path.cwd() else found  # where it ends up if there is no other
