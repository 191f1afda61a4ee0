"""A lock between processes, in a file of its own beside the store.

SQLite's own locks do not suffice: in versions 3.7.0 to 3.51.2, two connections that write or checkpoint a database in
WAL mode at one instant can corrupt it. So one lock is held around each open, commit, checkpoint and close of a writer.

The file is opened again each time, so that a lock file that was deleted is noticed, and a forked child holds nothing
of its parent's but what was locked at the moment of the fork.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolweaver_monitor._core import locks
from toolweaver_monitor.errors import SinkUnavailable

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

POLL_LOCK_S = 0.001
"""Seconds between two tries. A process that writes without a pause leaves the others only moments."""
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

_held: set[int] = set()
"""Descriptors that hold a lock right now."""


class StoreBusy(OSError):
    """Another process kept the lock for too long. The batch is tried again."""


class LockFile:
    """The lock of one store.

    Args:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = locks.new_lock("the lock file of a store")  # a process's own threads share no descriptor

    @contextmanager
    def held(self, wait_s: float) -> Iterator[None]:
        """Hold the lock for the length of a block.

        Args:
            wait_s: how many seconds to wait for it.

        Raises:
            StoreBusy: another process or thread did not release it in time.
            SinkUnavailable: the lock file cannot be used here.
        """
        by = time.monotonic() + wait_s
        if not self._threads.acquire(timeout=wait_s):
            raise StoreBusy(errno.EAGAIN, f"another thread is writing to the store of {self.path.name}")
        try:
            descriptor = self._lock(by)
            _held.add(descriptor)
            try:
                yield
            finally:
                release(descriptor)
        finally:
            if self._threads.locked():
                self._threads.release()

    def _lock(self, by: float) -> int:
        while True:
            descriptor = self._open()
            try:
                self._wait(descriptor, by)
                if self._is_current(descriptor):
                    return descriptor
            except BaseException as error:
                os.close(descriptor)
                if isinstance(error, OSError) and error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    hint = "put the store on a disk of this machine: SQLiteStore('/var/tmp/runs.db')"
                    raise SinkUnavailable(f"no file can be locked in {self.path.parent}", hint=hint) from None
                raise
            os.close(descriptor)

    def _wait(self, descriptor: int, by: float) -> None:
        while not _try_lock(descriptor):
            if time.monotonic() >= by:
                raise StoreBusy(errno.EAGAIN, f"another process holds {self.path.name}")
            time.sleep(POLL_LOCK_S)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)

    def _is_current(self, descriptor: int) -> bool:
        """Return False if the file was deleted, or replaced, before it was locked."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(descriptor)
        return (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino)


def hold(descriptor: int) -> bool:
    """Lock an open file until `release()`, or until this process is gone, however it ends.

    Returns:
        False if another process, or another open of the file, holds the lock.
    """
    _held.add(descriptor)  # before: a child that is forked meanwhile must close it, or it would keep the lock
    if not _try_lock(descriptor):
        _held.discard(descriptor)
        return False
    return True


def release(descriptor: int) -> None:
    """Unlock and close a file. Does nothing in a child that was forked meanwhile: it has closed the file."""
    if descriptor in _held:
        _held.discard(descriptor)
        _unlock(descriptor)
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file. Return False if another process, or another open of the file, holds the lock."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int) -> None:
    """Unlock an open file, also for a child that has inherited it."""
    if sys.platform == "win32":  # pragma: no cover
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _in_child() -> None:
    """Close what was inherited, without unlocking it: the lock is the parent's."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


locks.after_fork_in_child(_in_child)
