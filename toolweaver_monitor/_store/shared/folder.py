"""The folder of a run: one file for each living worker, and one for all that are gone.

A worker holds the lock of its own file, so the kernel tells whether it lives. A process that looks at the files holds
the lock of the folder. The files of the dead are then added to the departed tally, in one step: the new tally and the
names of the files that it has come by one rename, and the files are deleted after that. A process that dies in
between leaves files which the tally names, and which are deleted without being counted again.
"""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from toolweaver_monitor._core import locks
from toolweaver_monitor._store import files, lock_file
from toolweaver_monitor._store.lock_file import NOFOLLOW, LockFile
from toolweaver_monitor._store.shared.run import Process, namespace
from toolweaver_monitor._store.shared.worker_file import OtherVersion, UnreadableFile, WorkerFile, read_payload
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import SinkUnavailable

LOCK_WAIT_FOLDER_S = 2.0
REJOIN_S = 1.0
"""How long the workers have to come back to a folder whose files were deleted, before anything is added up again."""
KEPT_PORTS = 16
RUN_VERSION = 1
OTHER_VERSION = "is used by another version of toolweaver_monitor, whose counts are not read"
ONE_VERSION = "restart all workers with one version, or set TOOLWEAVER_MONITOR_SHARED to another folder for each"
DELETED = "were deleted or damaged while workers ran, and are made again"
KEEP = "keep what deletes files away from it, or set TOOLWEAVER_MONITOR_SHARED to another folder"
WORKER = re.compile(r"worker-[0-9a-f]{16}")
RUN_FOLDER = re.compile(r"run-\d+-[\w:-]+")
MANY_HEADS = 32
"""In a file of more, those that are gone make room."""
KEPT_ELSEWHERE_S = 86_400.0
"""How long the folder of a run in another container is left alone, whose head cannot be seen from here."""
NOBODY = Process(0, "")
"""Is the head of no run, since it never lives."""
_FILES_OF_RUN = re.compile(r"worker-[0-9a-f]{16}|departed(\.new|\.damaged)?|port(\.new)?|budgets(\.new|\.lock)?")
"""What is deleted when a run ends. Other files in the folder stay."""


class Found(NamedTuple):
    """A worker's file.

    Attributes:
        name: of the file.
        payload: what it holds; None if that cannot be read.
        descriptor: holds the lock of a file whose worker is gone; None for that of a living one.
    """

    name: str
    payload: bytes | None
    descriptor: int | None = None


class Departed(msgspec.Struct, array_like=True):
    """The file of a run: since when it runs, who its heads are, and what the workers that are gone have counted.

    Programs that share a folder have a head each. Not every worker can see whether the head of another one lives: in a
    container there are only its own processes.
    """

    started_at: float
    heads: list[tuple[int, str]]
    folded: list[str] = []
    """The files that are in the payload."""
    payload: bytes = b""
    folds: int = 0
    """How often the dead were added."""
    remade_at: float = 0.0
    """When it was made again by a worker, since it was deleted or damaged, in Unix seconds; 0.0 if it never was."""


Fold = Callable[[bytes, list[Found], list[Found]], bytes | None]
"""Is given the departed payload, the files of the living but for this worker, and those of the dead. Returns the
departed payload with the dead in it, or None if nothing changes; that is only for when there are no dead."""


class SharedFolder:
    """The folder of a run, for one worker of it, or for a process that only reads it.

    Args:
        path: the folder; it is made if it is missing.
        head: the head of this worker; None for a reader, which has no file and keeps no run going.
    """

    def __init__(self, path: Path, head: Process | None) -> None:
        self.path = path
        self.started_at = 0.0
        """When the run started, in Unix seconds; 0.0 before `join()`."""
        self.remade_at = 0.0
        """When files of the run were last found deleted or damaged, and made again, in Unix seconds; 0.0 if never."""
        self._is_reader = head is None
        self._head = head or NOBODY
        self._lock = LockFile(path / "lock")
        self._own: WorkerFile | None = None
        self._writing = locks.new_rlock("a worker's file")
        self._is_sealed = False
        self._has_joined = self._has_other_version = False
        self._seen: Departed | None = None
        """The departed as this worker saw them last, should their file be deleted."""
        locks.after_fork_in_child_weak(self, SharedFolder._in_child)

    def _in_child(self) -> None:
        self._own, self._is_sealed = None, False  # closed by `lock_file`: the lock is the parent's

    # --- this worker ------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Make this worker's file, in the present run or a new one; for a reader, only the folder.

        Raises:
            SinkUnavailable: the folder cannot be used; its `hint` names the fix.
            OSError: it cannot be written, or another process keeps its lock.
        """
        files.create_folder(self.path / "lock")
        with self._lock.held(LOCK_WAIT_FOLDER_S):
            if not self.has_file:  # another thread may have joined meanwhile
                self._enter()

    def _enter(self) -> None:
        self.leave()
        run = self._read_departed()
        has_living = self._has_living()
        if self._is_lost(run) or (run is None and has_living):
            run = self._remake()
        # A child goes on with the run of its parent, which may be gone already: it never begins a new one.
        if not self._has_joined and not has_living and not _has_head(run):
            self._delete_files()
            run = None
        run = run or Departed(time.time(), [])
        head = self._head[:2]
        if head not in run.heads:
            others = run.heads
            if len(others) >= MANY_HEADS:
                others = [each for each in others if Process(*each).is_alive]
            run = self._write_departed(msgspec.structs.replace(run, heads=[*others, head]))
        self._own = WorkerFile(self.path / f"worker-{os.urandom(8).hex()}")
        self.started_at, self.remade_at, self._seen, self._has_joined = run.started_at, run.remade_at, run, True

    def _is_lost(self, run: Departed | None) -> bool:
        """Return True if the file of the run is gone, or was made again by a worker that knew less than this one."""
        return self._seen is not None and (run is None or run.folds < self._seen.folds)

    def _remake(self) -> Departed:
        """Write the file of the run again, as this worker saw it last. What others have added since is lost."""
        run = self._seen or Departed(self.started_at or time.time(), [self._head[:2]])
        return self._write_departed(msgspec.structs.replace(run, remade_at=time.time()))

    def publish(self, payload: bytes, *, is_last: bool = False) -> None:
        """Show the others what this worker has counted; joins first if the worker's file is gone.

        A reader has nothing to show.

        Args:
            payload: the counts.
            is_last: whether nothing is written afterwards, not even by another thread that has begun before.

        Raises:
            SinkUnavailable: the folder cannot be used.
            OSError: it cannot be written.
        """
        if self._is_reader:
            return
        if not self.has_file:
            self.join()
        with self._writing:
            if self._own is not None and not self._is_sealed:
                self._is_sealed = is_last
                self._own.write(payload)

    @property
    def has_file(self) -> bool:
        """Whether this worker's file is there; always True for a reader, which has none."""
        own = self._own  # another thread may join again meanwhile
        return self._is_reader or (own is not None and own.is_there)

    @property
    def is_incomplete(self) -> bool:
        """Whether files were deleted a moment ago, and not all workers have come back yet."""
        return 0 <= time.time() - self.remade_at < REJOIN_S

    @property
    def fault(self) -> str:
        """What is not counted, or may be lost since files were deleted, and the cure; empty if nothing is."""
        if self._has_other_version:
            return f"{escape(str(self.path))} {OTHER_VERSION}; {ONE_VERSION}"
        if not self.remade_at:
            return ""
        at = f"{datetime.fromtimestamp(self.remade_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"files of {escape(str(self.path))} {DELETED} ({at}): /metrics and budgets go on from what the living "
            f"workers knew, and may miss what others had counted; {KEEP}"
        )

    def leave(self) -> None:
        """Let this worker's lock go: what it has counted stays, as that of a worker that is gone."""
        own, self._own = self._own, None
        if own is not None:
            own.release()

    # --- all workers ------------------------------------------------------------------------------------------------

    def exchange(self, fold: Fold, wait_s: float = LOCK_WAIT_FOLDER_S) -> None:
        """Look at what all workers have counted, and add the dead to the departed.

        Args:
            fold: does it.
            wait_s: how many seconds to wait for other processes.

        Raises:
            OSError: the folder cannot be read or written, or another process keeps its lock.
        """
        with self._lock.held(wait_s):
            found: list[Found] = []
            try:
                self._exchange(found, fold)
            finally:
                _release(found)

    def _exchange(self, found: list[Found], fold: Fold) -> None:
        run = self._read_departed()
        if self._is_lost(run) and not self._is_reader:
            run = self._remake()
        elif run is None:
            run = Departed(self.started_at or time.time(), [self._head[:2]])
        self.remade_at, self._seen = run.remade_at, run
        if self.is_incomplete:
            raise SinkUnavailable(f"files of {escape(str(self.path))} {DELETED}", hint="wait a second")
        self._has_other_version = False
        found.extend(self._workers())
        self._delete(each.name for each in found if each.name in run.folded)
        living = [each for each in found if each.descriptor is None]
        dead = [each for each in found if each.descriptor is not None and each.name not in run.folded]
        payload = fold(run.payload, living, dead)
        if payload is not None:
            folded = [each.name for each in dead]
            self._write_departed(msgspec.structs.replace(run, folded=folded, payload=payload, folds=run.folds + 1))
            self._delete(each.name for each in dead)
        self.started_at = run.started_at

    def _workers(self) -> Iterator[Found]:
        own = self._own.path.name if self._own is not None else ""
        for name in self._names():
            if name != own and WORKER.fullmatch(name):
                found = self._look_at(name)
                if found is not None:
                    yield found

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def _look_at(self, name: str) -> Found | None:
        try:
            descriptor = os.open(self.path / name, os.O_RDWR | NOFOLLOW)
        except OSError:
            return None
        is_dead = lock_file.hold(descriptor)
        try:
            payload: bytes | None = read_payload(descriptor)
        except OtherVersion:
            self._has_other_version = True
            if is_dead:  # it stays for those who can read it
                lock_file.release(descriptor)
                return None
            payload = None
        except UnreadableFile:
            payload = None
        if is_dead:
            return Found(name, payload, descriptor)
        os.close(descriptor)
        return Found(name, payload)

    def _has_living(self) -> bool:
        found = list(self._workers())
        _release(found)
        return any(each.descriptor is None for each in found)

    def _delete(self, names: Iterator[str]) -> None:
        for name in names:
            self.path.joinpath(name).unlink(missing_ok=True)

    def _delete_files(self) -> None:
        self._delete(name for name in self._names() if _FILES_OF_RUN.fullmatch(name))

    def _read_departed(self) -> Departed | None:
        try:
            data = self.path.joinpath("departed").read_bytes()
        except FileNotFoundError:
            return None
        if data[4:] and zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little"):
            if data[4] != RUN_VERSION:
                raise SinkUnavailable(f"{escape(str(self.path))} {OTHER_VERSION}", hint=ONE_VERSION)
            with suppress(msgspec.DecodeError):
                return msgspec.msgpack.decode(data[5:], type=Departed)
        self.path.joinpath("departed").replace(self.path / "departed.damaged")
        return None

    def _write_departed(self, run: Departed) -> Departed:
        data = bytes([RUN_VERSION]) + msgspec.msgpack.encode(run)
        files.replace_file(self.path / "departed", zlib.crc32(data).to_bytes(4, "little") + data)
        self._seen = run
        return run

    # --- the rest ---------------------------------------------------------------------------------------------------

    def note_port(self, addr: str, port: int) -> None:
        """Note that a worker of the run listens on a port: the next one may take it over as soon as it is free."""
        line = f"{addr} {port}"
        with suppress(OSError, SinkUnavailable), self._lock.held(LOCK_WAIT_FOLDER_S):
            others = filter(line.__ne__, self._ports())
            files.replace_file(self.path / "port", "\n".join([*others, line][-KEPT_PORTS:]).encode())

    def has_had_port(self, addr: str, port: int) -> bool:
        """Return True if a worker of the run has listened on a port."""
        return f"{addr} {port}" in self._ports()

    def _ports(self) -> list[str]:
        try:
            return self.path.joinpath("port").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def sweep(self) -> None:
        """Delete the folders beside this one whose runs have ended."""
        if RUN_FOLDER.fullmatch(self.path.name) is None:
            return
        for sibling in self.path.parent.iterdir():
            if RUN_FOLDER.fullmatch(sibling.name) and sibling != self.path:
                with suppress(OSError, SinkUnavailable):
                    if not _is_elsewhere(sibling) or time.time() - sibling.stat().st_mtime > KEPT_ELSEWHERE_S:
                        SharedFolder(sibling, self._head)._delete_if_over()

    def _delete_if_over(self) -> None:
        with self._lock.held(0.0):
            is_over = self.is_over()
            if is_over:
                self._delete_files()
                self._lock.path.unlink()
        if is_over:
            self.path.rmdir()

    def is_over(self) -> bool:
        """Return True if no run goes on: no worker lives, and its head is gone, or there never was one."""
        run = self._read_departed()
        return not _has_head(run) and not self._has_living()


def find_runs(around: Path) -> list[Path]:
    """Return the folders in another one whose runs go on."""
    runs = (path for path in sorted(around.iterdir()) if RUN_FOLDER.fullmatch(path.name))
    return [path for path in runs if not SharedFolder(path, None).is_over()]


def _has_head(run: Departed | None) -> bool:
    return run is not None and any(Process(*head).is_alive for head in run.heads)


def _is_elsewhere(run_folder: Path) -> bool:
    """Return True if the head of a run is in another container, as far as the folder's name tells."""
    here = namespace()
    return bool(here) and not run_folder.name.endswith(f"-{here}")


def _release(found: list[Found]) -> None:
    for each in found:
        if each.descriptor is not None:
            lock_file.release(each.descriptor)
