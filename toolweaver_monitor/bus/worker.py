"""How does work get a thread of its own that outlives errors, forks and a dying interpreter?

The wake-up is a bare lock used as a flag: unlike a Condition or an Event it can be raised from a signal handler or a
`__del__` on any thread, also on one that is just raising it.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Callable

from toolweaver_monitor import locks
from toolweaver_monitor.call import MUTED, innermost

log = logging.getLogger("toolweaver_monitor")


class Worker:
    """Runs `work` on a daemon thread whenever it is poked, and every `interval_s` seconds.

    The thread starts when it is first needed, is started again if it was killed, and does not follow into a fork.
    """

    def __init__(self, name: str, work: Callable[[], object], interval_s: float | None = None) -> None:
        self.name = name
        self.interval_s = interval_s
        self.crashes = 0
        self._work = work
        self._thread: threading.Thread | None = None
        self._wake = _thread.allocate_lock()
        self._starting = locks.new_lock(f"start of {name}")
        self._stopping = False
        locks.in_forked_child_weakly(self, Worker._in_child)

    def ensure(self) -> bool:
        """Have the thread running. False where no thread is to be had: the caller then does the work itself."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        if self._stopping or not self._starting.acquire(blocking=False):
            return self._thread is not None
        try:
            thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {self.name}", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError:  # no threads left, a sub-interpreter that may have none, or the interpreter is ending
            return False
        finally:
            self._starting.release()
        return True

    def poke(self) -> bool:
        """Have the work done soon. False where no thread is to be had."""
        running = self.ensure()
        try:
            self._wake.release()
        except RuntimeError:  # already poked
            pass
        return running

    def is_current(self) -> bool:
        """Whether the caller runs on this very thread."""
        return self._thread is threading.current_thread()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after the work in hand; True if it has ended in time."""
        self._stopping = True
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        self.poke()
        if thread is threading.current_thread():
            return False
        thread.join(max(0.0, timeout_s))
        return not thread.is_alive()

    def _run(self) -> None:
        innermost.set(MUTED)  # what a sink calls here is not watched, or it would feed itself
        # An asynchronous exception can strike anywhere, so the loop is itself in a loop.
        while not self._stopping:
            try:
                self._loop()
            except BaseException:  # noqa: BLE001 - a worker that dies delivers nothing ever after
                self.crashes += 1

    def _loop(self) -> None:
        while True:
            self._wake.acquire(timeout=-1 if self.interval_s is None else self.interval_s)
            if self._stopping:
                return
            self._work()

    def _in_child(self) -> None:
        self._thread = None
        self._wake = _thread.allocate_lock()
