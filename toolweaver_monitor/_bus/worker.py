"""How does work get its own thread, one that survives errors, forks and a dying interpreter?

The wake-up is a bare lock used as a flag: unlike a Condition or an Event it can be raised from a signal handler or a
`__del__` on any thread, also on one that is just raising it. Nothing here waits for a lock.
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
    """A thread of ours would keep any other from being ended: daemons are not waited for, and it must be the last."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # CPython 3.13; 3.11 and 3.12
        try:
            current = import_module(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current) == 0
    return True


MAY_HAVE_THREADS = _is_main_interpreter()

START_S = 0.5
"""How long a new thread may take to its first line; after that whoever started it goes on."""
LOOK_S = 0.25
"""How often a thread in a child that another thread forked looks whether that one has ended."""


_forked_by_a_thread = False


def _notice_fork() -> None:
    global _forked_by_a_thread  # noqa: PLW0603 - there is one a process
    main = threading.main_thread()  # the one that forked; a program's own has a class of its own
    _forked_by_a_thread = not isinstance(main, threading._MainThread)  # type: ignore[attr-defined]


def ends_with_a_thread() -> bool:
    """Whether this is a child that ends when the thread that forked it does, and all others: no exit hook runs then."""
    return _forked_by_a_thread


locks.after_fork_in_child(_notice_fork)


class _Started(threading.Event):
    """What `Thread.start()` waits for, without end: a thread killed before its first line would hold us up for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(START_S if timeout is None else timeout)


class Worker:
    """Runs `work` on a daemon thread whenever it is poked, and every `interval_s` seconds.

    The thread starts when it is first needed, is started again if it was killed, and does not follow into a fork.
    """

    def __init__(self, name: str, work: Callable[[], object], interval_s: float | None = None) -> None:
        self.name = name
        self.interval_s = interval_s
        self.crashes = 0
        """How often something no `work` lets out (an asynchronous exception) came out of it."""
        self._work = work
        self._thread: threading.Thread | None = None
        self._wake = _thread.allocate_lock()
        self._stopping = False
        locks.after_fork_in_child_weak(self, Worker._in_child)

    def ensure_running(self) -> bool:
        """Have the thread running. False where no thread is to be had: the caller then does the work itself.

        Callers that come here at once may start two: the one that is not `_thread` ends when it next wakes.
        """
        thread = self._thread
        if not MAY_HAVE_THREADS or sys.is_finalizing():  # when that is so, the threads there are never run again
            return False
        if thread is not None and thread.is_alive():
            return True
        if self._stopping:
            return False
        thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {self.name}", daemon=True)
        thread._started = _Started()  # type: ignore[attr-defined]
        try:
            thread.start()
        except RuntimeError:  # no threads left, a sub-interpreter that may have none, or the interpreter is ending
            return False
        self._thread = thread
        return True

    def wake(self) -> bool:
        """Have the work done soon. False where no thread is to be had."""
        running = self.ensure_running()
        self._raise_flag()
        return running

    def is_current(self) -> bool:
        """Whether the caller runs on this very thread."""
        return self._thread is threading.current_thread()

    def is_running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the thread after the work in hand, without waiting for that."""
        self._stopping = True
        self._raise_flag()

    def _raise_flag(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it is up already
            pass

    def _run(self) -> None:
        current.set(SUPPRESSED)  # what a sink calls here is not watched, or it would feed itself
        me = threading.current_thread()
        # The flag is made anew: if gevent or eventlet has made threads into greenlets since, to wait for the old one
        # would stop them all. The new one is up, so what the old one was raised for is done.
        earlier, self._wake = self._wake, _thread.allocate_lock()
        with suppress(RuntimeError):  # it is up already
            earlier.release()  # another thread of this worker, started at the same moment, may wait for it
        # An asynchronous exception can strike anywhere, so the loop is itself in a loop.
        while not self._stopping:
            try:
                self._loop(me)
                return
            except BaseException:  # noqa: BLE001 - a worker that dies delivers nothing ever after
                self.crashes += 1
                self._raise_flag()  # what it was woken for may not have been done

    def _loop(self, me: threading.Thread) -> None:
        while True:
            self._wake.acquire(timeout=self._wait_s())
            if self._stopping:
                return
            if self._thread is not me and self.is_running():
                self._raise_flag()
                return
            is_last = ends_with_a_thread() and not threading.main_thread().is_alive()
            self._work()
            if is_last:
                return

    def _wait_s(self) -> float:
        wait_s = -1.0 if self.interval_s is None else self.interval_s
        if ends_with_a_thread() and not 0 <= wait_s <= LOOK_S:
            return LOOK_S
        return wait_s

    def _in_child(self) -> None:
        self._thread = None
        self._wake = _thread.allocate_lock()
