"""Wait for a port that is taken, off the caller's path."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.context import SUPPRESSED, current

TRY_EVERY_S = 1.0


class PortWait:
    """A thread that tries to bind each second until it can, or until the time is over.

    Args:
        bind: starts to listen; raises `OSError` while the port is taken.
        close: undoes `bind`.
        wait_s: for how many seconds to try.
        on_end: called on the thread at the end, with None if it listens, else the last error.
        name: a part of the thread's name.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(
        self,
        bind: Callable[[], None],
        close: Callable[[], object],
        wait_s: float,
        on_end: Callable[[OSError | None], None],
        name: str,
    ) -> None:
        self._bind, self._close, self._on_end = bind, close, on_end
        self._deadline = time.monotonic() + wait_s
        self._stopped = False
        self._wake = locks.new_lock("port wait")
        """Held until the wait is stopped, by no thread in particular."""
        self._wake.acquire()
        self._thread = threading.Thread(target=self._run, name=f"toolweaver-monitor {name} port", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        """Whether it is still trying."""
        return self._thread.is_alive() and not self._stopped

    def stop(self, timeout_s: float) -> None:
        """Stop trying. What has been bound meanwhile is closed."""
        if not self.waiting:  # a forked child has no such thread
            return
        self._stopped = True
        self._wake.release()
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout_s))

    def _run(self) -> None:
        current.set(SUPPRESSED)  # a handler of the log may be monitored
        error: OSError | None = None
        while not self._wake.acquire(timeout=TRY_EVERY_S):
            try:
                self._bind()
                error = None
            except OSError as failed:
                error = failed
            if error is None or time.monotonic() >= self._deadline:
                break
        if self._stopped:
            self._close()
        else:
            self._on_end(error)
