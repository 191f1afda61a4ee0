"""How is W&B waited for, but only so long?"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class DeadlineExecutor:
    """Runs one thing at a time on a daemon thread of its own, and waits for each only so long."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Future[object] | None = None

    def ensure_thread(self) -> None:
        """Have the thread running.

        Raises:
            RuntimeError: no thread is to be had.
        """
        if self._thread is None or not self._thread.is_alive():
            # Made with its thread: in a fork that gevent has patched, to wait for the parent's stops all greenlets.
            self._jobs = queue.SimpleQueue()
            thread = threading.Thread(target=self._run, name="toolweaver-monitor wandb calls", daemon=True)
            thread.start()
            self._thread = thread

    def start(self, work: Callable[[], object]) -> Future[object]:
        """Have `work` done; only call this when `busy()` is False.

        Raises:
            RuntimeError: no thread is to be had, and it will not be done.
        """
        self.ensure_thread()
        job: Future[object] = Future()
        self._last = job
        self._jobs.put((work, job))
        return job

    def busy(self, timeout_s: float = 0.0) -> bool:
        """Whether the last thing is still not done after `timeout_s` seconds."""
        if self._last is None or self._last.done():
            return False
        try:
            self._last.exception(timeout_s)
        except TimeoutError:
            return True
        return False

    def _run(self) -> None:
        while True:
            work, job = self._jobs.get()
            try:
                job.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised again where the job is waited for
                job.set_exception(error)
            del work, job
