"""Answers of the page from a store, read on a thread of its own: neither a scrape nor a poll waits for a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from toolweaver_monitor._core import locks
from toolweaver_monitor._page import stored
from toolweaver_monitor._page.stored_calls import trace
from toolweaver_monitor._page.versions import Shown, encode
from toolweaver_monitor._store.reader import StoreReader
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable

EVERY_S = 2.0
"""Seconds between two looks at the same, at least."""
REST_OF_PROGRAM, REST_ALONE = 100, 20
"""The rest between two looks, as a multiple of the CPU time of one: the page of a store gets a hundredth of a core of a
program, and a twentieth in a process that does nothing else."""
ANSWERS = 40
"""How many are remembered, the latest."""

PENDING = {"pending": True}
"""The answer until the store has been read for the first time."""

Make = Callable[[StoreReader], Any]


class Answer(NamedTuple):
    """What was read from the store."""

    value: Any
    at: float
    """When it was read, by the monotonic clock."""
    took_s: float


class StoreFeed:
    """The figures of a store for pages that poll.

    Args:
        open_store: opens the store, or several as one.
        waits: whether an answer is read while the one who asks waits for it.
        about: returns what the head of the page shows, if no program of this process does.
        **chosen: `since`, `until` and `run` of the figures if no period is asked for, as for `StoreReader.sums`.
    """

    def __init__(
        self,
        open_store: Callable[[], StoreReader],
        *,
        waits: bool = False,
        about: Callable[[StoreReader], dict[str, Any]] | None = None,
        **chosen: Any,
    ) -> None:
        self._open = open_store
        self._waits, self._about, self._chosen = waits, about, chosen
        self._rest = REST_ALONE if waits else REST_OF_PROGRAM
        self._lock = locks.new_lock("the page's answers from a store")
        self._answers: dict[Any, Answer] = {}
        self._wanted: dict[Any, Make] = {}
        self._shown: dict[Any, tuple[Answer, Shown]] = {}
        self._thread: threading.Thread | None = None

    def poll(self, period: str, by: str, parts: dict[str, bytes], cursor: str) -> tuple[str, bytes | None]:
        """Return what has changed since a cursor, as `Feed.poll` does.

        Args:
            period: seconds until now, `all`, `run-2` for a run by itself, or nothing for what was chosen.
            by: what the rows are, as for `StoreReader.sums`.
            parts: what the program itself adds, as JSON.
            cursor: of an earlier answer.
        """
        key = (period, by)
        found = self._ask(key, partial(self._figures, period, by))
        if found is None or isinstance(found.value, str):
            return "", encode(_value_of(found))
        with self._lock:
            last, shown = self._shown.get(key, (None, Shown()))
            of_store, rows, now = found.value
            shown.update({**of_store, **parts}, None if found is last else rows)
            self._shown[key] = found, shown
            if len(self._shown) > ANSWERS:
                del self._shown[next(iter(self._shown))]
            return shown.poll(cursor, now)

    def detail(self, period: str, by: str, name: str) -> dict[str, Any] | None:
        """Return what is shown of one row; see `live_detail`; None if there is none. `PENDING` says to ask again."""
        return _value_of(self._ask(("detail", period, by, name), partial(self._detail, period, by, name))) or None

    def trace(self, call_id: str) -> dict[str, Any] | None:
        """Return the trace of a call, by its id; None if it is not found. `PENDING` says to ask again."""
        return _value_of(self._ask(("trace", call_id), lambda store: trace(store, call_id))) or None

    def _ask(self, key: Any, make: Make) -> Answer | None:
        """Return the last answer, None if there is none yet, and have it read again if it is old."""
        with self._lock:
            found = self._answers.get(key)
            if found is None or time.monotonic() - found.at > max(EVERY_S, self._rest * found.took_s):
                self._wanted.setdefault(key, make)
            if self._wanted and not self._waits and not (self._thread and self._thread.is_alive()):
                work = partial(copy_context().run, self._work)  # the context in which nothing is monitored
                self._thread = threading.Thread(target=work, name="toolweaver_monitor-store-page", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no thread can be started
                    self._thread = None
        if self._waits:
            self._work()
        return self._answers.get(key)

    def _work(self) -> None:
        """Read what is wanted, until nothing is."""
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                key = next(iter(self._wanted))
                make = self._wanted[key]
            began = time.thread_time()
            try:
                with self._open() as store:
                    value = make(store)
            except (SinkUnavailable, ConfigurationError) as error:
                value = str(error)
            except Exception as error:  # noqa: BLE001 - a fault of this library must not end the page
                value = f"the store could not be read ({type(error).__name__}: {error})"
            took_s = time.thread_time() - began
            with self._lock:
                self._wanted.pop(key, None)
                self._answers.pop(key, None)
                self._answers[key] = Answer(value, time.monotonic(), took_s)
                if len(self._answers) > ANSWERS:
                    del self._answers[next(iter(self._answers))]

    # --- what is read -------------------------------------------------------------------------------------------------

    def _bounds(self, period: str) -> dict[str, Any]:
        if period in ("", "all"):
            return {} if period else self._chosen
        if period.startswith("run-"):
            return {"run": int(period.removeprefix("run-"))}
        return {"since": (time.time() - int(period)) // 60 * 60}

    def _figures(
        self, period: str, by: str, store: StoreReader
    ) -> tuple[dict[str, bytes], dict[str, bytes], float | None]:
        """Return the parts and the rows as JSON, and the moment that they are of if that is not now."""
        figures = stored.live_figures(store, by, **self._bounds(period))
        if self._about is not None:
            figures |= {"about": self._about(store), "active": [], "budgets": [], "problems": []}
        rows = {row["name"]: encode(row) for row in figures.pop("tools")}
        now = figures.get("about", {}).get("now")
        return {name: encode(value) for name, value in figures.items()}, rows, now

    def _detail(self, period: str, by: str, name: str, store: StoreReader) -> dict[str, Any]:
        return stored.live_detail(store, by, name, **self._bounds(period))


class StorePage:
    """The page of a store that is opened by itself: see `document.PageFeed`.

    Args:
        open_store: opens the store, or several as one.
        about: returns what the head of the page shows: `name`, `store`, `closed`, and if all programs have ended
            `saved` and `now`, the moment of the last call.
        **chosen: `since`, `until` and `run`, as for `StoreReader.sums`.
    """

    def __init__(
        self,
        open_store: Callable[[], StoreReader],
        about: Callable[[StoreReader], dict[str, Any]],
        **chosen: Any,
    ) -> None:
        self._open, self._chosen = open_store, chosen
        self._feed = StoreFeed(open_store, waits=True, about=about, **chosen)

    def poll(self, cursor: str = "", period: str = "", by: str = "tool") -> tuple[str, bytes | None]:
        """Return what has changed since a cursor; see `Feed.poll`."""
        return self._feed.poll(period, by, {}, cursor)

    def row(self, name: str, period: str = "", by: str = "tool") -> dict[str, Any] | None:
        """Return what is shown of one row; None if there is none."""
        return self._feed.detail(period, by, name)

    def trace(self, call_id: str, period: str = "") -> dict[str, Any] | None:  # noqa: ARG002 - of whatever period
        """Return the trace of a call; None if it is not among the latest."""
        return self._feed.trace(call_id)

    def whole(self) -> dict[str, Any]:
        """Return everything that a page in one file shows."""
        with self._open() as store:
            return stored.stored_figures(store, **self._chosen)


def _value_of(found: Answer | None) -> dict[str, Any]:
    if found is None:
        return PENDING
    value: dict[str, Any] = {"problem": found.value} if isinstance(found.value, str) else found.value
    return value
