"""The Weights & Biases sink, built so that no failure or delay of W&B reaches the program."""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._text.guesses import AnswersGuesses, suggest_keywords
from toolweaver_monitor._text.safe_repr import fault_text
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._base import SetupAware, SetupContext
from toolweaver_monitor.sinks._wandb import finish_hook, internals
from toolweaver_monitor.sinks._wandb import run as runs
from toolweaver_monitor.sinks._wandb.deadline import DeadlineExecutor
from toolweaver_monitor.sinks._wandb.feed import MERGE_ABOVE
from toolweaver_monitor.sinks._wandb.login import find_fault
from toolweaver_monitor.sinks._wandb.router import RunRouter

log = logging.getLogger("toolweaver_monitor")

DEFAULT_PROJECT = "toolweaver"
ANSWER_S = 15.0
"""Seconds that the service process on this machine may take to accept a batch."""
SERVICE_START_S = 40.0
"""Seconds that starting the service process may take, beyond the wait for the server."""
START_GRACE_S = 10.0
"""Seconds that the end of the program may wait for an offline run to start."""
FINISH_S = 15.0
"""Seconds that the program's `run.finish()` waits at most for the calls that ended in the run."""
EXIT_GRACE_S = 0.3
"""Seconds that the exit of the program waits for W&B after the shutdown of this library."""


class WandBLogger(SetupAware, AnswersGuesses):
    """A sink that logs every call to a W&B run: `{tool}/duration`, `/cost`, `/tokens` and `/status`.

    The status is 1 for a success, 0 for a failure or a timeout, and left out for calls that ended in another way.

    A call is logged to the run that the program has open when the call ends, and which only the program finishes. Calls
    that end while it has none are logged to a run of the sink's own, which starts with the first of them, off the
    caller's thread. Before a `run.finish()` of the program, the calls, totals and errors of that run are written.

    `WANDB_*` variables keep their meaning; `WANDB_MODE=offline` needs neither an account nor a network.
    While more than 2,000 calls wait, they are merged into one row per tool: `{tool}/calls`, `successes`, `failures`,
    `duration_sum`, `duration_min`, `duration_max`, and the sums of `cost` and `tokens`.

    Args:
        project: the W&B project. Without it, the first of `TOOLWEAVER_MONITOR_WANDB_PROJECT`, `WANDB_PROJECT` and
            "toolweaver" that is set.
        entity: the W&B user or team. Without it, the first of `TOOLWEAVER_MONITOR_WANDB_ENTITY` and `WANDB_ENTITY`
            that is set, or the default of the account.
        own_run: log all calls to the sink's own run, even if the program has one. Needed if your code passes `step=` to
            `wandb.log()`, because every row logged here advances that run's step.
        init_timeout_s: how long to wait for the W&B server before the run is kept offline, in seconds.
        finish_timeout_s: how long the end of a run may wait for uploads, in seconds; the rest stays on disk for
            `wandb sync`. Give a slow link more, and `shutdown(timeout=...)` as much.

    Raises:
        ConfigurationError: a project or entity that is empty or not a string, or a time that is not a positive number.
    """

    _meant: ClassVar[Mapping[str, str]] = {
        "log_execution": "setup(logger) and instrument(orchestrator), after which each execute_tool() is logged",
        "log": "logger.log_summary(summary), or logger.run.log({...}) once a call has started the run",
        "finish": "logger.close(), or shutdown() after setup(logger)",
    }

    name = "wandb"
    max_batch = 4_096
    backlog = 0

    @suggest_keywords(
        mode="set WANDB_MODE in the environment, such as WANDB_MODE=offline",
        name="start the run yourself, wandb.init(project=..., name=...), before the first call",
        api_key="set WANDB_API_KEY in the environment, or run `wandb login`",
    )
    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        *,
        own_run: bool = False,
        init_timeout_s: float = 20.0,
        finish_timeout_s: float = 10.0,
    ) -> None:
        self._project = _resolve_project(project)
        self._entity = _resolve("entity", entity, "W&B user or team")
        self._own_run = own_run
        self._init_timeout_s = _validate_seconds("init_timeout_s", init_timeout_s)
        self._finish_timeout_s = _validate_seconds("finish_timeout_s", finish_timeout_s)
        self._executor = DeadlineExecutor()
        self._has_setup = False
        self._unavailable: SinkUnavailable | None = None
        self._last_status: dict[str, Any] = {}
        self._reset()

    def _reset(self) -> None:
        self._pid: int | None = None
        """The process that opened the run."""
        self._router = RunRouter(self._start_run, self._use_run, self._find_run, self._budgets)
        self._summary: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"WandBLogger(project={self._project!r}, entity={self._entity!r})"

    @property
    def run(self) -> Any:
        """The `wandb` run that got the latest rows, started here or by the program; None until the first call."""
        run = self._router.latest
        return None if run is None or self._pid != os.getpid() else run.raw

    @property
    def grace_s(self) -> float:
        """Seconds beyond the usual that the end of the program may wait for this sink right now.

        Starting a run takes seconds, and a program that ends sooner would leave none. It waits only for a run that is
        kept on this machine, which cannot hang on a network.
        """
        is_starting = self._router.may_start_own() and self._unavailable is None and self._has_setup
        return START_GRACE_S if is_starting and os.environ.get("WANDB_MODE") in runs.OFFLINE_MODES else 0.0

    def status(self) -> dict[str, Any]:
        """Return where the rows go, or went, for `health()`."""
        router = self._router
        run = router.latest
        if run is None and self._last_status:
            return self._last_status
        rows, calls, merged_calls = router.counts()
        fault = None if run is not None or self._pid is not None or not self._has_setup else find_fault()
        early = {"state": "unavailable", "last_error": str(fault), "cure": fault.hint} if fault is not None else {}
        return {
            **early,
            "run": run.location if run else None,
            "our_run": run.is_ours if run else None,
            "rows": rows,
            "calls": calls,
            "merged_calls": merged_calls,
            "note": str(self._unavailable or "") or router.note(),
        }

    def log_summary(self, summary: Mapping[str, Any]) -> None:
        """Put the four values of a summary into the run's summary.

        Under `setup()` this returns at once and the sink's thread writes them. Used alone it starts the run, which may
        take seconds. A failure of W&B is logged in one line and never raised.

        Args:
            summary: as returned by `MetricsCollector.summary()`: `total_operations`, `success_rate`, `total_cost_usd`,
                `avg_duration_s` (seconds). Values that are missing or None are left out.

        Raises:
            ConfigurationError: the summary is not a mapping.
        """
        if not isinstance(summary, Mapping):
            raise ConfigurationError(
                f"a summary is a mapping, not {type(summary).__name__}",
                hint="give what MetricsCollector.summary() returns",
            )
        self._summary = dict(summary)
        if self._has_setup:
            self._router.set_summary(self._summary)
            return
        try:
            self._execute(lambda: self._router.write_summary(summary), may_start=True)
        except Exception as error:  # noqa: BLE001 - a fault of the environment never reaches the program
            log.warning("sink 'wandb' did not log the summary: %s", fault_text(error))

    def _connect(self, context: SetupContext) -> None:
        super()._connect(context)
        self._has_setup = True
        if not self._own_run:
            finish_hook.watch(self)

    # --- called by the sink runner, on its own thread only ----------------------------------------------------------

    def merge(self, calls: Sequence[ToolCall]) -> None:
        """Merge calls that the queue has no room for into the next row of their tool."""
        self._router.merge(calls)

    def write(self, calls: Sequence[ToolCall]) -> None:
        """Log a batch: one row per call, or one row per tool while more than 2,000 calls wait.

        Raises:
            SinkUnavailable: W&B cannot be used until it is set up again.
            TimeoutError: W&B's service process does not answer. Written again, the same batch is not logged twice.
            ConnectionError: the run is gone; the batch goes to the next one.
        """
        self._check_process()
        self._has_setup = True  # again, if the close of an earlier setup was late
        if self._unavailable is None:
            self._router.route(calls)
        self._execute(lambda: self._write(calls), batch=calls, may_start=self._router.needs_own())

    def flush(self) -> None:
        """Write what is waiting, and the totals of a run that is about to end. Uploading is up to W&B's process."""
        self._check_process()
        router = self._router
        if router.latest is not None or router.has_merged() or self._summary is not None:
            self._execute(self._flush, may_start=router.needs_own())

    def close(self) -> None:
        """Write the summary and the latest errors, and finish the run if it was started here."""
        if self._pid is not None and self._pid != os.getpid():
            return
        try:
            if self._has_something_to_finish():
                self._execute(
                    lambda: self._router.finish(self._summary), extra_s=self._finish_timeout_s, may_start=True
                )
        finally:
            self._release()
            self._unavailable = None
            self._has_setup = False

    # --- run on the thread that may wait for W&B --------------------------------------------------------------------

    def _execute(
        self,
        work: Callable[[], object],
        batch: Sequence[ToolCall] | None = None,
        extra_s: float = 0.0,
        *,
        may_start: bool,
    ) -> None:
        """Run `work` on the thread that may wait for W&B, and wait for it with a deadline.

        Raises:
            SinkUnavailable: W&B cannot be used until it is set up again.
            TimeoutError: `work` takes longer, or what was run before it still does.
        """
        if self._unavailable is not None:
            raise self._unavailable
        timeout_s = ANSWER_S + extra_s
        if may_start and self._router.own.run is None:
            timeout_s += self._init_timeout_s + SERVICE_START_S
        try:
            self._executor.run(work, timeout_s, batch)
        except SinkUnavailable as error:
            self._unavailable = error
            raise
        except RuntimeError as error:
            if "interpreter shutdown" not in str(error):
                raise
            # CPython < 3.12.2 (3.12.0 and 3.12.1) starts no thread once the main thread has ended, and W&B needs some.
            self._unavailable = SinkUnavailable(
                "the program ended before its W&B run had started, and this Python starts no thread then",
                hint="call shutdown() before the program ends, or upgrade to Python 3.12.2 or later",
            )
            raise self._unavailable from error

    def _find_run(self) -> Any:
        """Return the run that the program has now, or None."""
        return None if self._own_run else runs.find_user_run(sys.modules.get("wandb"))

    def _use_run(self, raw: Any) -> runs.WandbRun:
        """Return what is needed to write into a run of the program."""
        self._pid = os.getpid()
        wandb = runs.import_wandb()
        finish_hook.wrap_methods(wandb)  # again, if it was only half imported when it was watched
        self._context.run_first()
        return runs.WandbRun(wandb, raw, is_ours=False)

    def _start_run(self) -> runs.WandbRun:
        """Start the sink's run, in the mode of the program's latest run if that one is kept on this machine."""
        self._pid = os.getpid()
        wandb = runs.import_wandb()
        # While W&B's service process starts, it reports its address in a temporary folder, which weakref's exit hook
        # removes. The shutdown must run before that hook, which is registered with the first finalizer.
        weakref.finalize(wandb, int).detach()
        self._context.run_first()
        runs.load_settings(wandb)  # starts the service process if none runs
        atexit.register(self._at_exit)  # registered after wandb's own hook, so it runs before that, ...
        self._context.run_first()  # ... and the shutdown before both
        try:
            return runs.start_run(
                wandb,
                project=self._project,
                entity=self._entity,
                config={"toolweaver_monitor": _version(), "merge_above": MERGE_ABOVE},
                mode=self._router.offline_mode(),
                init_timeout=self._init_timeout_s,
                finish_timeout=self._finish_timeout_s,
            )
        except BaseException:
            internals.kill_service()  # the exit would wait for what init() left there
            latest = self._router.latest
            if latest is not None and internals.service_is_dead():  # the program's run holds on to it
                latest.note = "W&B's service process has died; restart the program"
            raise

    def _write(self, calls: Sequence[ToolCall]) -> None:
        self._router.write(calls, self.backlog)
        self._router.write_given_summary()

    def _flush(self) -> None:
        self._write(())
        self._router.finish_ended()

    def _has_something_to_finish(self) -> bool:
        if self._unavailable is not None:
            return False
        summary = self._summary or {}
        return self._router.latest is not None or self._router.has_merged() or bool(summary.get("total_operations"))

    def _budgets(self) -> Sequence[Any]:
        budgets: Sequence[Any] = self._context.live_values().get("budgets", ())
        return budgets

    def _before_finish(self, raw: Any) -> None:
        """Have everything that belongs to a run of the program written before the program finishes it."""
        if not self._has_setup or self._pid not in (None, os.getpid()):
            return
        ended = self._router.timeline.end(raw)
        if ended is not None:
            if self._unavailable is None:
                self._context.flush(self, FINISH_S)
            ended.is_over = True

    # --- forks and ends ---------------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._pid is not None and self._pid != os.getpid():
            raise SinkUnavailable(
                f"W&B logs only from the process that started its run ({self._pid})",
                hint="in a forked worker, call setup() again with a new WandBLogger",
            )

    def _release(self) -> None:
        self._last_status = self.status()
        self._router.abandon()
        run = self._router.latest
        may_kill = self._pid is not None and (run is None or run.is_ours)
        finish_hook.unwatch(self)
        if may_kill and (self._executor.is_busy() or internals.service_is_dead()):
            internals.kill_service()
        atexit.unregister(self._at_exit)
        if self._executor.is_busy():
            self._executor = DeadlineExecutor()  # the thread that hangs is a daemon and is left behind
        self._reset()

    def _at_exit(self) -> None:
        """Cut W&B short if it hangs, because its own exit hook waits without a limit."""
        if self._pid == os.getpid() and self._executor.is_busy(EXIT_GRACE_S):
            location = self.status()["run"]
            self._release()
            if location:
                log.warning("sink 'wandb' was cut short by the exit; `wandb sync %s` uploads what it kept", location)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 14 ms, on a thread of this library

    try:
        return version("toolweaver-monitor")
    except PackageNotFoundError:
        return "unknown"


def _resolve_project(project: str | None) -> str | None:
    """Return the project to use, or None to leave it to WANDB_PROJECT."""
    resolved = _resolve("project", project, "W&B project, such as WandBLogger(project='toolweaver')")
    return resolved or (None if os.environ.get("WANDB_PROJECT") else DEFAULT_PROJECT)


def _resolve(name: str, value: str | None, what: str) -> str | None:
    """Return a name given as an argument or in the environment."""
    if value is None:
        return os.environ.get(f"TOOLWEAVER_MONITOR_WANDB_{name.upper()}", "").strip() or None
    if not isinstance(value, str) or not value.strip():
        problem = "is empty" if isinstance(value, str) else f"is {value!r}"
        raise ConfigurationError(f"{name} {problem}", hint=f"name a {what}, or leave it out")
    return value


def _validate_seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name} is {value!r}", hint="give a positive number of seconds")
    return float(value)
