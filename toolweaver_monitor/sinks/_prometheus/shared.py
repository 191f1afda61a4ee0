"""This worker's counts among those of all workers of its run: published, and gathered for a scrape."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.log_throttle import LogThrottle
from toolweaver_monitor._store.lock_file import StoreBusy
from toolweaver_monitor._store.shared.folder import Found, SharedFolder
from toolweaver_monitor._store.shared.run import CURE
from toolweaver_monitor._text.names import declared_names
from toolweaver_monitor._text.safe_repr import fault_text
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._prometheus.families import FolderBusy, Snapshot
from toolweaver_monitor.sinks._prometheus.tallies import MergedTallies, Tallies, decode, encode, pack_snapshot

log = logging.getLogger("toolweaver_monitor")

FREE_LOCK = "look for a worker that is stopped, and end it"
TRY_AGAIN_S = 1.0
"""After a fault of the folder."""
CLOSE_WAIT_S = 0.5
"""How long the end of the program may wait for a scrape that is being answered."""


class SharedTallies:
    """The counts of all workers of a run, for one of them.

    Args:
        folder: the folder of the run.
        take: returns what this worker has counted.
        version: returns what is not equal to before once `take` returns something new; cheaper than that.
    """

    _fault = "workers are not joined, each counts for itself"

    def __init__(self, folder: SharedFolder, take: Callable[[], Snapshot], version: Callable[[], object]) -> None:
        self.folder = folder
        self.problem = ""
        """What is wrong with the folder, and the cure; empty if nothing is."""
        self.workers = 1
        """How many workers lived when the folder was last looked at."""
        self._take, self._version = take, version
        self._lock = locks.new_rlock("shared tallies")
        self._is_closed = False
        self._warnings = LogThrottle()
        locks.after_fork_in_child_weak(self, SharedTallies._in_child)
        self._in_child()

    def _in_child(self) -> None:
        self._published: object = None
        self._try_again_s = 0.0
        self._known: dict[str, tuple[bytes, Tallies]] = {}
        """What each other worker had counted when it was last looked at, as bytes and decoded."""
        self._others: tuple[MergedTallies, list[Tallies]] | None = None
        """The departed, and the living but for this one, as they were last seen."""
        self._merged: MergedTallies | None = None

    def join(self) -> None:
        """Join the run. If the folder is at fault, `problem` tells."""
        with self._lock:
            self._try(self.folder.join)

    def publish(self) -> None:
        """Show the other workers what this one has counted, if that has changed. Called several times a second."""
        if self.problem and time.monotonic() < self._try_again_s:
            return
        version = self._version()
        if version != self._published or self.problem or not self.folder.has_file:
            with self._lock:
                self._publish(version)

    def _publish(self, version: object) -> None:
        if self._is_closed:  # what this worker has counted is that of a worker that is gone
            return
        own = self._take()
        if self._published is None or self.problem:  # the worker that this one replaces may be among the dead
            self._try_again_s = time.monotonic() + TRY_AGAIN_S
            with suppress(FolderBusy):
                self.gather(own)
            if self.problem:
                return
            version, own = self._version(), self._take()  # it has taken a while
        if self._try(lambda: self.folder.publish(encode(pack_snapshot(own)))):
            self._published = version

    def gather(self, own: Snapshot) -> Snapshot:
        """Return what all workers have counted.

        Args:
            own: what this worker has counted. The others see it, too, before it is shown: if this process is killed
                then, no counter falls.

        Raises:
            FolderBusy: the others' counts are out of reach, and were never within it.
        """
        with self._lock:
            mine = pack_snapshot(own)
            if self._is_closed:
                return self._merge_last_seen(own, mine).snapshot()
            self._merged = None
            is_published = self._try(lambda: self.folder.publish(encode(mine)))
            problem = self.problem
            is_gathered = self._try(lambda: self.folder.exchange(lambda *found: self._fold(own, mine, *found)))
            if is_published and is_gathered:
                self.problem = ""
            elif not is_published:  # what that was is the cause, as of a folder that cannot be made
                self.problem = problem
            merged = self._merged
            if merged is None and self.folder.is_incomplete:
                raise FolderBusy(self.problem)
            if merged is None:
                merged = self._merge_last_seen(own, mine)
            return merged.snapshot()._replace(since_s=self.folder.started_at or own.since_s)

    def _merge_last_seen(self, own: Snapshot, mine: Tallies) -> MergedTallies:
        if self._others is None and self.folder.started_at and not self._is_closed:
            raise FolderBusy("the counts of the other workers are out of reach", hint="scrape again")
        departed, living = self._others or (MergedTallies(own), [])
        merged = departed.copy(own)
        for other in living:
            merged.add(other, living=True)
        merged.add(mine, living=True)
        return merged

    def _fold(
        self, own: Snapshot, mine: Tallies, payload: bytes, living: list[Found], dead: list[Found]
    ) -> bytes | None:
        """Add up all workers. Return the departed with the dead in it, if that changes it; see `SharedFolder`."""
        known, self._known = self._known, {}
        gone = [tallies for found in dead if (tallies := _decode(found, known)) is not None]
        others = []
        for found in living:
            other = _decode(found, known)
            if other is not None:
                self._known[found.name] = found.payload or known[found.name][0], other
                others.append(other)
        earlier = [decode(payload)] if payload else []
        for worker in (*others, *gone):
            declared_names.update(worker.declared)
        like = self._shape(own, [*others, *gone, *earlier])
        departed = MergedTallies(like._replace(max_names=sys.maxsize))
        for each in earlier:  # what has a name there keeps it
            departed.add(each)
        departed = departed.copy(like)
        for each in gone:
            departed.add(each)
        merged = departed.copy(like)
        for other in others:
            merged.add(other, living=True)
        merged.add(mine, living=True)
        self._merged, self._others, self.workers = merged, (departed, others), len(living) + 1
        return encode(departed.tallies()) if departed.admit(merged) or dead else None

    def _shape(self, own: Snapshot, _counted: list[Tallies]) -> Snapshot:
        """Return a snapshot whose labels and buckets all counts are shown with: those of this worker."""
        return own

    def _try(self, step: Callable[[], Any]) -> bool:
        """Run a step. Return False if the folder is at fault, which `problem` tells then."""
        try:
            step()
        except (OSError, SinkUnavailable, msgspec.DecodeError) as error:
            cure = FREE_LOCK if isinstance(error, StoreBusy) else getattr(error, "hint", "") or CURE
            reason = fault_text(error) if isinstance(error, SinkUnavailable) else f"{fault_text(error)}; {cure}"
            self.problem = f"{self._fault}: {reason}"
            if self._warnings.ready():
                log.warning("toolweaver_monitor: %s", self.problem)
            return False
        return True

    def close(self) -> None:
        """Publish the last counts, and leave the run. A signal handler may call it, so it does not wait for long."""
        is_alone = self._lock.acquire(timeout=CLOSE_WAIT_S)
        try:
            if not self._is_closed:
                self._try(lambda: self.folder.publish(encode(pack_snapshot(self._take())), is_last=True))
                self._is_closed = True
                if is_alone:  # else a thread looks at the folder, or waits for what the handler has interrupted
                    self.folder.leave()  # or the kernel does
        finally:
            if is_alone:
                self._lock.release()


class SharedView(SharedTallies):
    """The counts of all workers of a run, for a process that is none of them.

    They are shown with the labels and buckets of the workers. What cannot be read now is not shown as it was seen last.

    Args:
        folder: the folder of the run, opened by a reader.
    """

    _fault = "the counts of the workers cannot be read"

    def __init__(self, folder: SharedFolder) -> None:
        super().__init__(folder, lambda: Snapshot({}), lambda: None)

    def gather(self, own: Snapshot) -> Snapshot:
        """Return what all workers have counted.

        Raises:
            FolderBusy: it is out of reach.
        """
        with self._lock:
            merged = super().gather(own)
            if self.problem:
                raise FolderBusy(self.problem)
            return merged

    def _shape(self, own: Snapshot, counted: list[Tallies]) -> Snapshot:
        labelled = next((each for each in counted if each.labels), None)
        if labelled is not None:
            own = own._replace(labels=labelled.labels)
        chosen = next((each for each in counted if each.own_buckets is not None), None)
        if chosen is not None:
            bounds, first_item_bounds = chosen.bounds, chosen.first_item_bounds
            own = own._replace(bounds=bounds, first_item_bounds=first_item_bounds, own_buckets={})
        return own


def _decode(found: Found, known: dict[str, tuple[bytes, Tallies]]) -> Tallies | None:
    """Return what a worker has counted; what it had before, if its file is damaged; None if nothing is known."""
    earlier = known.get(found.name)
    if earlier is not None and found.payload in (None, earlier[0]):
        return earlier[1]
    if not found.payload:
        return None
    try:
        return decode(found.payload)
    except msgspec.DecodeError:
        return None
