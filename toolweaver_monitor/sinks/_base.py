"""The sink protocol, and what the built-in sinks build on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from toolweaver_monitor._http.messages import Route


@runtime_checkable
class Sink(Protocol):
    """A destination for closed calls.

    Each sink has its own thread and bounded queue, so `write` may be slow and may raise: the batch is then tried again.
    `write` never runs twice at the same time. Optional attributes:

    - `max_batch: int`: the most calls in one `write` (512).
    - `max_calls: int`: the most calls that wait in the queue (8,192).
    - `merge(calls) -> None`: called for the calls that a full queue has no room for, which are dropped otherwise. They
      count as queued until the next successful `write`.
    - `backlog: int`: set before each `write` to the number of calls that wait behind it.
    - `start() -> None`: called by `setup()`. What it raises is a fault of the environment, which `health()` shows.
    - `grace_s: float`: how many seconds beyond the usual 2 the end of the program may wait for this sink right now.
    - `status() -> dict`: shown in `health()`.
    """

    name: str

    def write(self, calls: Sequence[ToolCall], /) -> None:
        """Write a batch of closed calls, in the order in which they ended except for near ties."""

    def flush(self) -> None:
        """Send what `write` has only buffered."""

    def close(self) -> None:
        """Send the rest and release everything. Nothing is written afterwards."""


@runtime_checkable
class Mergeable(Sink, Protocol):
    """A sink that condenses the calls that its queue has no room for, instead of losing them."""

    def merge(self, calls: Sequence[ToolCall], /) -> None:
        """Keep the calls in condensed form until the next `write`. May be called from any thread."""


@runtime_checkable
class Startable(Sink, Protocol):
    """A sink that `setup()` starts."""

    def start(self) -> None:
        """Start. What this raises is a fault of the environment, which `health()` shows."""


@runtime_checkable
class Reporting(Sink, Protocol):
    """A sink that reports on itself in `health()`."""

    def status(self) -> dict[str, Any]:
        """Return values that JSON can hold."""


class SetupContext(NamedTuple):
    """What a setup offers to the sinks that need more than calls; without a setup, nothing."""

    live_values: Callable[[], dict[str, Any]] = dict
    """Returns the open calls by tool, the declared tools, the budgets and the delivery statistics of each sink at this
    moment."""
    run_first: Callable[[], None] = lambda: None
    """Moves the shutdown before the exit hooks that others have registered so far."""
    flush: Callable[[Any, float], bool] = lambda _sink, _timeout_s: True
    """Writes every call that ended before now to this sink, within a number of seconds. Returns whether it did."""
    page_routes: Callable[[], Mapping[str, Route]] = dict
    """Returns what serves the page of this setup, by path."""
    shared: Any = None
    """What joins the counts of all workers, with `setup(shared=True)`; see `sinks/_prometheus/shared.py`."""


class SetupAware:
    """Base of the built-in sinks that need to know their setup."""

    _context = SetupContext()

    def _connect(self, context: SetupContext) -> None:
        """Use this setup from now on. `setup()` calls it before it starts the sink."""
        self._context = context


class FunctionSink:
    """A sink that passes each call to a function. A batch that is tried again resumes at the call that failed."""

    def __init__(self, function: Callable[[ToolCall], Any]) -> None:
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self._batch: Sequence[ToolCall] = ()
        self._done = 0

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Pass each call to the function."""
        if calls is not self._batch:
            self._batch, self._done = calls, 0
        while self._done < len(calls):
            self._function(calls[self._done])
            self._done += 1
        self._batch = ()

    def flush(self) -> None:
        """Do nothing, since nothing is buffered."""

    def close(self) -> None:
        """Do nothing, since nothing is open."""


def file_path(path: object, example: str) -> Path:
    """Return the whole path of a file that a sink writes.

    Args:
        path: what was given.
        example: a path as it may be given.

    Raises:
        ConfigurationError: it is no path of a file.
    """
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise ConfigurationError(f"path={path!r} is no file", hint=f"give the path of a file, such as {example!r}")
    return Path(path).expanduser().absolute()
