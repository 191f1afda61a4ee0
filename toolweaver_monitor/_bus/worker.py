"""Run work on a daemon thread that survives errors, forks and a dying interpreter.

The wake-up is a bare lock used as a flag. Unlike a Condition or an Event it can be raised from a signal handler or a
`__del__` on any thread, even on one that is raising it at that moment. Nothing here waits for a lock.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.context import SUPPRESSED, current


def _is_main_interpreter() -> bool:
    """Return False in a sub-interpreter, where no thread may start.

    A sub-interpreter can end only on its last thread, and it does not wait for daemon threads.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):  # CPython < 3.13 has the second
        try:
            interpreter = import_module(name).get_current()
        except ImportError:
            continue
        return int(interpreter[0] if isinstance(interpreter, tuple) else interpreter) == 0
    return True


MAY_HAVE_THREADS = _is_main_interpreter()

START_TIMEOUT_S = 0.5
"""How long a new thread may take to reach its first line; then the thread that started it continues."""
PARENT_CHECK_S = 0.25
"""How often a worker in a child that was forked by a thread checks whether that thread has ended."""


_forked_by_thread = False


def _record_fork() -> None:
    global _forked_by_thread  # noqa: PLW0603 - there is one a process
    main = threading.main_thread()  # the thread that forked; a program's first thread has a class of its own
    _forked_by_thread = not isinstance(main, threading._MainThread)  # type: ignore[attr-defined]


def ends_with_forking_thread() -> bool:
    """Return True in a child that was forked by a thread: it ends when that thread and all others do.

    No exit hook runs then.
    """
    return _forked_by_thread


locks.after_fork_in_child(_record_fork)


class _BoundedEvent(threading.Event):
    """The event that `Thread.start()` waits for without a timeout, with one.

    A thread that is killed before its first line would block the thread that started it forever.
    """

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(START_TIMEOUT_S if timeout is None else timeout)


class Worker:
    """A daemon thread that runs `work` whenever it is woken, and every `interval_s` seconds.

    It starts when it is first needed, starts again if it was killed, and does not follow into a fork.
    """

    def __init__(self, name: str, work: Callable[[], object], interval_s: float | None = None) -> None:
        self.name = name
        self.interval_s = interval_s
        self.crashes = 0
        """How often an error that no `work` lets through (an asynchronous exception) ended the loop."""
        self._work = work
        self._thread: threading.Thread | None = None
        self._wake = _thread.allocate_lock()
        self._stopping = False
        locks.after_fork_in_child_weak(self, Worker._in_child)

    def ensure_running(self) -> bool:
        """Start the thread if it is not running. Return False if no thread can run: the caller then does the work.

        Concurrent callers may start two threads; the one that is not `_thread` ends when it next wakes.
        """
        thread = self._thread
        if not MAY_HAVE_THREADS or sys.is_finalizing():  # a finalizing interpreter never runs its threads again
            return False
        if thread is not None and thread.is_alive():
            return True
        if self._stopping:
            return False
        thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {self.name}", daemon=True)
        thread._started = _BoundedEvent()  # type: ignore[attr-defined]
        try:
            thread.start()
        except RuntimeError:  # the thread limit, a sub-interpreter without threads, or an interpreter that is ending
            return False
        self._thread = thread
        return True

    def wake(self) -> bool:
        """Wake the thread, so that the work is done soon. Return False if no thread can run."""
        running = self.ensure_running()
        self._raise_flag()
        return running

    def is_current(self) -> bool:
        """Return True if the caller runs on this worker's thread."""
        return self._thread is threading.current_thread()

    def is_running(self) -> bool:
        """Return True if the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the thread after its current work, without waiting for it."""
        self._stopping = True
        self._raise_flag()

    def _raise_flag(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it is raised already
            pass

    def _run(self) -> None:
        current.set(SUPPRESSED)  # monitored calls of a sink are not published, or the sink would feed itself
        me = threading.current_thread()
        # The flag is a new one: gevent or eventlet may have turned threads into greenlets in the meantime, and waiting
        # for the old lock would then block them all. The new flag is raised, so no earlier wake-up is lost.
        earlier, self._wake = self._wake, _thread.allocate_lock()
        with suppress(RuntimeError):  # it is raised already
            earlier.release()  # another thread of this worker, started at the same moment, may wait for it
        # An asynchronous exception can strike anywhere, so the loop runs inside another loop.
        while not self._stopping:
            try:
                self._loop(me)
                return
            except BaseException:  # noqa: BLE001 - a dead worker would deliver nothing more
                self.crashes += 1
                self._raise_flag()  # the work that it was woken for may not be done

    def _loop(self, me: threading.Thread) -> None:
        while True:
            self._wake.acquire(timeout=self._wait_s())
            if self._stopping:
                return
            if self._thread is not me and self.is_running():
                self._raise_flag()
                return
            is_last = ends_with_forking_thread() and not threading.main_thread().is_alive()
            self._work()
            if is_last:
                return

    def _wait_s(self) -> float:
        wait_s = -1.0 if self.interval_s is None else self.interval_s
        if ends_with_forking_thread() and not 0 <= wait_s <= PARENT_CHECK_S:
            return PARENT_CHECK_S
        return wait_s

    def _in_child(self) -> None:
        self._thread = None
        self._wake = _thread.allocate_lock()
