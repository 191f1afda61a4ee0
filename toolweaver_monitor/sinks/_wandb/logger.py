"""How does the Weights & Biases sink keep what W&B does, or fails to do, away from the program?"""

from __future__ import annotations

import atexit
import logging
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.safe_repr import fault_text
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._base import SetupAware
from toolweaver_monitor.sinks._wandb import late_start as late
from toolweaver_monitor.sinks._wandb import run as runs
from toolweaver_monitor.sinks._wandb.deadline import DeadlineExecutor
from toolweaver_monitor.sinks._wandb.feed import MERGE_ABOVE, RunFeed

log = logging.getLogger("toolweaver_monitor")

ANSWER_S = 15.0
"""How long the service process on this machine may take to accept a batch."""
SERVICE_START_S = 40.0
START_GRACE_S = 10.0
EXIT_GRACE_S = 0.3
"""How much longer than the shutdown of this library the program's exit waits for W&B."""
HANGS = "W&B's service process does not answer"


class _Default(str):
    """Tells a project that was not given from one given by the same name."""

    __slots__ = ()


DEFAULT_PROJECT = _Default("toolweaver")


class WandBLogger(SetupAware):
    """Logs every call to a Weights & Biases run: `{tool}/duration`, `/cost`, `/tokens` and `/status` (1 for success).

    The run starts at the first call, off the caller's thread. If the program already has a run, that one is used and
    never finished. `WANDB_*` variables keep their meaning; `WANDB_MODE=offline` needs neither an account nor a network.
    While more than 2,000 calls are waiting, they are merged into one row per tool: `{tool}/calls`,
    `successes`, `failures`, `duration_sum`, `duration_min`, `duration_max`, and the sums of `cost` and `tokens`.

    Args:
        project: the W&B project. Argument beats `TOOLWEAVER_MONITOR_WANDB_PROJECT` beats `WANDB_PROJECT`.
        entity: the W&B user or team. Argument beats `TOOLWEAVER_MONITOR_WANDB_ENTITY` beats `WANDB_ENTITY`.
        own_run: start a run for the tools even if the program has one. Needed if your code passes `step=` to
            `wandb.log()`, because every row logged here advances that run's step.
        init_timeout_s: how long to wait for the W&B server before the run is kept offline, in seconds.
        finish_timeout_s: how long the end of a run may wait for uploads, in seconds; the rest stays on disk for
            `wandb sync`. Give a slow link more, and `shutdown(timeout=...)` as much.

    Raises:
        ConfigurationError: a project or entity that is empty or not a string, or a time that is not a positive number.
    """

    name = "wandb"
    does_io = True
    max_batch = 4_096

    def __init__(
        self,
        project: str = DEFAULT_PROJECT,
        entity: str | None = None,
        *,
        own_run: bool = False,
        init_timeout_s: float = 20.0,
        finish_timeout_s: float = 10.0,
    ) -> None:
        self.project = _project(project)
        self.entity = _entity(entity)
        self.own_run = own_run
        self.init_timeout_s = _seconds("init_timeout_s", init_timeout_s)
        self.finish_timeout_s = _seconds("finish_timeout_s", finish_timeout_s)
        self._patience = DeadlineExecutor()
        self._under_setup = False
        self._off: SinkUnavailable | None = None
        self._ended: dict[str, Any] = {}
        self._fresh()

    def _fresh(self) -> None:
        self._pid: int | None = None
        self._feed = RunFeed(self._begin)
        self._backlog = 0
        self._late: tuple[Sequence[ToolCall], Future[object]] | None = None
        self._summary: Mapping[str, Any] | None = None
        self._troubled = False
        """W&B did not answer in time, and has not since: its service process is ended rather than waited for."""

    def __repr__(self) -> str:
        return f"WandBLogger(project={str(self.project)!r}, entity={self.entity!r})"

    @property
    def run(self) -> Any:
        """The live `wandb` run, ours or the program's own; None until the first call."""
        session = self._feed.session
        return None if session is None or self._pid != os.getpid() else session.run

    @property
    def backlog(self) -> int:
        """How many calls wait behind the batch that is being written."""
        return self._backlog

    @backlog.setter
    def backlog(self, count: int) -> None:
        self._backlog = count
        self._under_setup = True

    @property
    def grace_s(self) -> float:
        """How much longer than other sinks it may take at the program's end, in seconds.

        To start a run takes seconds. While one starts that is kept on this machine, and so cannot hang on a network, a
        program that is through in less waits for it, or it would leave no run at all.
        """
        starting = self._feed.session is None and self._off is None and self._under_setup
        return START_GRACE_S if starting and os.environ.get("WANDB_MODE") in runs.OFFLINE_MODES else 0.0

    def status(self) -> dict[str, Any]:
        """Where the rows go, or went, for `health()`."""
        feed = self._feed
        session = feed.session
        if session is None and self._ended:
            return self._ended
        return {
            "run": session.where if session else None,
            "our_run": session.ours if session else None,
            "rows": feed.rows,
            "calls": feed.calls,
            "merged_calls": feed.merged_calls,
            "note": str(self._off or "") or (session.note if session else ""),
        }

    def log_summary(self, summary: Mapping[str, Any]) -> None:
        """Put a summary's four figures into the run's summary.

        Under `setup()` this returns at once and the sink's thread writes them. Used alone it starts the run, which may
        take seconds, and never raises for what W&B does: what goes wrong is one log line.

        Args:
            summary: as from `MetricsCollector.summary()`: `total_operations`, `success_rate`, `total_cost_usd`,
                `avg_duration_s` (seconds). What is missing or None is left out.

        Raises:
            ConfigurationError: the summary is not a mapping.
        """
        if not isinstance(summary, Mapping):
            raise ConfigurationError(
                f"a summary is a mapping, not {type(summary).__name__}; give what MetricsCollector.summary() returns"
            )
        self._summary = dict(summary)
        if self._under_setup:
            return
        try:
            self._do(lambda: self._feed.write_summary(summary))
        except Exception as error:  # noqa: BLE001 - a fault of the environment never reaches the program
            log.warning("sink 'wandb' did not log the summary: %s", fault_text(error))

    def start(self) -> None:
        """Called by `setup()`: from now on a thread of its own feeds this sink."""
        self._under_setup = True
        if late.REFUSE_THREADS:
            with suppress(RuntimeError):  # no thread to be had now; there may be when the first call comes
                self._patience.ensure_thread()

    # --- what the runner calls, on its own thread only --------------------------------------------------------------

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Take calls there is no room for in the queue: they become a part of the next row of their tool."""
        self._feed.merge(calls)

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Log a batch: a row a call, or a row a tool while more than 2,000 wait.

        Raises:
            SinkUnavailable: W&B cannot be used until it is set up again; the message ends with the cure.
            TimeoutError: W&B's service process does not answer. Written again, the same batch is not logged twice.
            ConnectionError: the run is gone; the batch goes to the next one.
        """
        self._refuse_in_child()
        if self._late is not None:
            batch, job = self._late
            if self._patience.busy(ANSWER_S):
                raise TimeoutError(HANGS)
            self._late = None
            self._troubled = False
            if batch is calls:
                job.result()
                return
        self._do(lambda: self._write(calls), calls)

    def flush(self) -> None:
        """Write what waits to be written; W&B's own process does the uploading."""
        self._refuse_in_child()
        if self._feed.session is not None or self._feed.holds() or self._summary is not None:
            self._do(lambda: self._write(()))

    def close(self) -> None:
        """Write the summary and the latest errors, and finish the run if it is ours."""
        if self._pid is not None and self._pid != os.getpid():
            return
        try:
            if self._has_something_to_end():
                self._do(lambda: self._feed.end(self._summary), more_s=self.finish_timeout_s)
        except TimeoutError:
            self._troubled = True
            raise
        finally:
            self._leave()
            self._off = None
            self._under_setup = False

    # --- on the thread that may wait for W&B ------------------------------------------------------------------------

    def _do(self, work: Callable[[], object], batch: Sequence[ToolCall] = (), more_s: float = 0.0) -> None:
        """Have it done, waiting no longer than is reasonable.

        Raises:
            TimeoutError: it takes longer, or the thing before it still does.
        """
        if self._off is not None:
            raise self._off
        timeout_s = ANSWER_S + more_s
        if self._feed.session is None:
            timeout_s += self.init_timeout_s + SERVICE_START_S
        if self._patience.busy(timeout_s):
            raise TimeoutError(HANGS)
        job = self._patience.start(work)
        try:
            job.result(timeout_s)
            self._troubled = False
        except SinkUnavailable as error:
            self._off = error
            raise
        except TimeoutError:
            if not job.done():
                self._late = (batch, job)
                self._troubled = True
                raise TimeoutError(HANGS) from None
            raise

    def _begin(self) -> runs.Session:
        self._pid = os.getpid()
        wandb = runs.load()
        found = None if self.own_run else runs.users_run(wandb)
        if found is not None:
            self._context.run_first()
            return runs.Session(wandb, found, ours=False)
        wanted: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "config": {"toolweaver_monitor": _version(), "merge_above": MERGE_ABOVE},
            "init_timeout": self.init_timeout_s,
            "finish_timeout": self.finish_timeout_s,
        }
        try:
            return self._begin_ours(wandb, wanted)
        except RuntimeError as error:
            if not late.is_needed(error):
                raise
            return late.begin(**wanted)

    def _begin_ours(self, wandb: Any, wanted: dict[str, Any]) -> runs.Session:
        # Only once the shutdown is done may weakref's exit hook run: it takes away the folder in which W&B's service
        # process, while it starts, says where it listens. That hook is registered with the first finalizer there is.
        weakref.finalize(wandb, int).detach()
        self._context.run_first()
        runs.settings(wandb)  # starts its service process, if no one has
        atexit.register(self._at_exit)  # after wandb's own, so that it runs before it, and the shutdown before both
        self._context.run_first()
        self._troubled = True  # until the run has started: an exit in the meantime must not wait for it
        session = runs.begin(wandb, **wanted)
        self._troubled = False
        return session

    def _write(self, calls: Sequence[ToolCall]) -> None:
        self._feed.write(calls, self._backlog)
        if self._summary is not None:
            self._feed.write_summary(self._summary)

    def _has_something_to_end(self) -> bool:
        if self._off is not None:
            return False
        summary = self._summary or {}
        return self._feed.session is not None or self._feed.holds() or bool(summary.get("total_operations"))

    # --- ends -------------------------------------------------------------------------------------------------------

    def _refuse_in_child(self) -> None:
        if self._pid is not None and self._pid != os.getpid():
            raise SinkUnavailable(
                f"W&B logs only from the process that started its run ({self._pid}); "
                "in a forked worker, call setup() again with a new WandBLogger"
            )

    def _leave(self) -> None:
        self._ended = self.status()
        self._feed.abandoned = True
        session = self._feed.session
        ours = self._pid is not None and (session is None or session.ours)
        if ours and (self._troubled or runs.service_is_dead()):
            runs.drop_service()
        atexit.unregister(self._at_exit)
        if self._patience.busy():
            self._patience = DeadlineExecutor()  # the thread that hangs is a daemon, and is left behind
        self._fresh()

    def _at_exit(self) -> None:
        """The program ends, and wandb's own exit would wait without end for what does not answer."""
        if self._pid != os.getpid():
            return
        if self._patience.busy(EXIT_GRACE_S) or self._troubled:
            where = self.status()["run"]
            self._troubled = True
            self._leave()
            if where:
                log.warning("sink 'wandb' was cut short by the exit; `wandb sync %s` uploads what it has kept", where)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 14 ms, on a thread of ours

    try:
        return version("toolweaver-monitor")
    except PackageNotFoundError:
        return "unknown"


def _project(project: str) -> str | None:
    """The project to ask for; None leaves it to WANDB_PROJECT."""
    if not isinstance(project, str) or not project.strip():
        is_what = "is empty" if isinstance(project, str) else f"is {project!r}"
        raise ConfigurationError(f"project {is_what}; name a W&B project, such as WandBLogger(project='toolweaver')")
    if project is not DEFAULT_PROJECT:
        return project
    ours = os.environ.get("TOOLWEAVER_MONITOR_WANDB_PROJECT", "").strip()
    return ours or (None if os.environ.get("WANDB_PROJECT") else str(DEFAULT_PROJECT))


def _entity(entity: str | None) -> str | None:
    if entity is None:
        return os.environ.get("TOOLWEAVER_MONITOR_WANDB_ENTITY", "").strip() or None
    if not isinstance(entity, str) or not entity.strip():
        is_what = "is empty" if isinstance(entity, str) else f"is {entity!r}"
        raise ConfigurationError(f"entity {is_what}; name a W&B user or team, or leave it out")
    return entity


def _seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name} is {value!r}; give a positive number of seconds")
    return float(value)
