"""Run W&B calls on a daemon thread, with a deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

HANGS = "W&B's service process does not answer"


class DeadlineExecutor:
    """A daemon thread that runs one job at a time. If a job misses its deadline, its caller stops waiting for it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._job: Future[object] | None = None
        self._overdue: tuple[object, Future[object]] | None = None

    def run(self, work: Callable[[], object], timeout_s: float, batch: object = None) -> None:
        """Run `work` and wait for it.

        Args:
            work: what to run; it is not started while an earlier job still runs.
            timeout_s: how long to wait for the earlier job, and again for this one, in seconds.
            batch: what `work` writes. If the job for a batch misses its deadline, the next call for the same batch
                returns or raises what that job did, and writes nothing a second time.

        Raises:
            TimeoutError: this job or the one before it takes longer.
            RuntimeError: no thread can be started, so `work` does not run.
        """
        if self.is_busy(timeout_s):
            raise TimeoutError(HANGS)
        if self._overdue is not None and self._overdue[0] is batch:
            (_, job), self._overdue = self._overdue, None
        else:
            job = self._start(work)
        try:
            job.result(timeout_s)
        except TimeoutError:
            if job.done():
                raise
            if batch is not None:
                self._overdue = batch, job
            raise TimeoutError(HANGS) from None

    def is_busy(self, timeout_s: float = 0.0) -> bool:
        """Return whether the last job still runs after `timeout_s` seconds."""
        if self._job is None or self._job.done():
            return False
        try:
            self._job.exception(timeout_s)
        except TimeoutError:
            return True
        return False

    def _start(self, work: Callable[[], object]) -> Future[object]:
        self._ensure_thread()
        job: Future[object] = Future()
        self._job = job
        self._jobs.put((work, job))
        return job

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            # The queue is created with its thread. In a forked child that gevent has patched since, waiting for a
            # queue of the parent would block all greenlets.
            self._jobs = queue.SimpleQueue()
            thread = threading.Thread(target=self._run, name="toolweaver-monitor wandb calls", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while True:
            work, job = self._jobs.get()
            try:
                job.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the job
                job.set_exception(error)
            del work, job
