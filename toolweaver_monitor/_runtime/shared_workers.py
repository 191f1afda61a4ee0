"""Join this process with the other workers of its run: `setup(shared=True)`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolweaver_monitor._bus.worker import Worker
from toolweaver_monitor._core import config
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor._store.shared.folder import SharedFolder
from toolweaver_monitor._store.shared.ledger import RunLedger
from toolweaver_monitor._store.shared.run import default_folder, find_head
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._base import SetupContext
from toolweaver_monitor.sinks._prometheus.exporter import PrometheusExporter
from toolweaver_monitor.sinks._prometheus.shared import SharedTallies

log = logging.getLogger("toolweaver_monitor")

PUBLISH_EVERY_S = 0.1


class SharedWorkers:
    """This worker among those of its run.

    Args:
        folder: the folder of the run.
        exporter: has what this worker has counted: the first of the setup, or one that does not listen.
    """

    def __init__(self, folder: SharedFolder, exporter: PrometheusExporter) -> None:
        self.folder, self.exporter = folder, exporter
        self.tallies = SharedTallies(folder, exporter._own_snapshot, exporter._version)
        self.tallies.join()
        self._is_swept = False
        self._ledger: RunLedger | None = None
        self._remade_at = folder.remade_at
        self._worker = Worker("shared counts", self._tick, PUBLISH_EVERY_S)

    def start(self, context: SetupContext) -> None:
        """Publish what is counted from now on."""
        self.exporter._connect(context)
        self._worker.wake()

    def wake(self) -> None:
        """Publish what is counted in a forked child."""
        self._worker.wake()

    def _tick(self) -> None:
        try:
            self.tallies.publish()
            if self.folder.remade_at != self._remade_at:
                self._remade_at = self.folder.remade_at
                log.warning("toolweaver_monitor: %s", self.folder.fault)
                self.exporter._listener.note_port()
            if self._ledger is not None:  # looked at each time: the file may be locked for a while
                self._ledger.restore()
            if self.exporter._listener.started_by not in (None, os.getpid()):
                self.exporter.start()  # a forked child waits for the port as well
            if not self._is_swept:
                self._is_swept = True
                self.folder.sweep()
        except (OSError, SinkUnavailable):  # `health()` tells
            pass
        except Exception:  # noqa: BLE001 - a fault of this library must not end the thread
            Diagnostics.internal_errors += 1

    def open_ledger(self) -> RunLedger:
        """Return the sums of budgets that the workers of the run share."""
        folder = self.folder
        self._ledger = RunLedger(folder.path, lineage=lambda: folder.remade_at if folder.has_file else None)
        return self._ledger

    def close(self) -> None:
        """Publish the last counts, and leave the run."""
        self._worker.stop()
        self.tallies.close()


_written: tuple[int, str] | None = None
"""The process that has written the folder into its environment, and the folder. It is no choice of the user's."""


def join_workers(shared: bool | None, sinks: Sequence[Any], earlier: SharedWorkers | None) -> SharedWorkers | None:
    """Join the workers of this process's run, if the argument of `setup()` or the environment asks for it.

    The folder is written into the environment, so that children join the same run.

    Args:
        shared: the argument.
        sinks: those of the setup.
        earlier: the worker that this process has been so far. If its exporter goes on, so does it.

    Raises:
        SinkUnavailable: there is no place for the folder.
    """
    global _written  # noqa: PLW0603 - the environment is the process's, too
    given = config.SHARED.value()
    if shared is False or (shared is None and (not given or _written == (os.getpid(), given))):
        return None
    if sys.platform == "win32":  # pragma: no cover
        raise SinkUnavailable("workers cannot be joined on Windows", hint="give each worker a port of its own")
    head = find_head()
    path = Path(given).absolute() if given else default_folder(head)
    exporter = next((sink for sink in sinks if isinstance(sink, PrometheusExporter)), None)
    if earlier is not None and earlier.exporter is exporter and earlier.folder.path == path:
        return earlier
    joined = SharedWorkers(SharedFolder(path, head), exporter or PrometheusExporter(listen=False))
    if not given:
        _written = os.getpid(), str(path)
        os.environ[config.SHARED.variable] = str(path)
    return joined
