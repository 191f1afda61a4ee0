"""Hand the calls of a store on to a W&B run: the destination `wandb` of `toolweaver-monitor replay`.

W&B's own process writes the rows, so what has been handed on cannot be read back from them. It is kept in a file of its
own beside the store.
"""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from toolweaver_monitor._cli.store.sums import read_total
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._store.reader import StoredCall, StoreReader
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._memory.metrics import summarize
from toolweaver_monitor.sinks._wandb.feed import RunFeed
from toolweaver_monitor.sinks._wandb.logger import WandBLogger
from toolweaver_monitor.sinks._wandb.login import find_fault
from toolweaver_monitor.sinks._wandb.run import WandbRun, import_wandb, start_run

INIT_TIMEOUT_S = 60.0
FINISH_TIMEOUT_S = 600.0
"""For the upload of what was handed on; the rest stays on disk for `wandb sync`."""


class ReplayPlace(msgspec.Struct):
    """What has been handed on of a store: the last row, how many rows that were, and the id of the W&B run."""

    seq: int = 0
    calls: int = 0
    run_id: str = ""


def read_place(path: Path) -> ReplayPlace:
    """Return what a file says has been handed on; nothing if there is no file.

    Raises:
        ConfigurationError: the file is another's.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReplayPlace)
    except FileNotFoundError:
        return ReplayPlace(run_id=secrets.token_hex(4))
    except msgspec.DecodeError:
        raise ConfigurationError(
            f"{escape(str(path))} was not written by this command", hint="give a file that is not there yet: -o FILE"
        ) from None


def replay_to_wandb(
    store: StoreReader,
    path: Path,
    place: ReplayPlace,
    batches: Iterable[list[StoredCall]],
    advance: Callable[[int], None],
) -> str:
    """Log calls to the run of a place, and keep the place. Return where the run is.

    An error or Ctrl-C keeps the place exactly; after a second Ctrl-C within a batch, or a `kill -9`, calls of
    that batch may come again.

    Args:
        store: the store, whose totals become the run's summary.
        path: the file that keeps the place.
        place: what has been handed on before.
        batches: the calls that follow.
        advance: called with the number of calls that have been logged.

    Raises:
        SinkUnavailable: W&B is not installed, not logged in, or refuses the run.
    """
    fault = find_fault()
    if fault is not None:
        raise fault
    run = _start(place.run_id)
    feed = RunFeed(lambda: run)
    feed.calls = place.calls
    for calls in batches:
        before = feed.calls
        with _ctrl_c_put_off():
            try:
                feed.write([to_call(call) for call in calls])
            finally:
                done = feed.calls - before
                if done:
                    place.seq, place.calls = calls[done - 1].seq, feed.calls
                    _keep(path, place)
        advance(len(calls))
    feed.finish(summarize(read_total(store)))
    return run.location


@contextmanager
def _ctrl_c_put_off() -> Iterator[None]:
    """Have a Ctrl-C end the command after a block, so that no call is logged uncounted; a second one does not wait."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):  # it does not end the command
        yield
        return
    asked = False

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _start(run_id: str) -> WandbRun:
    wandb: Any = import_wandb()
    how = WandBLogger()  # finds the project and the entity as a program does
    return start_run(
        wandb,
        project=how._project,
        entity=how._entity,
        config={"toolweaver_monitor": "replay"},
        run_id=run_id,
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
    )


def _keep(path: Path, place: ReplayPlace) -> None:
    """Write a place so that the file is always whole."""
    made = path.with_name(path.name + ".new")
    made.write_bytes(msgspec.json.encode(place))
    try:
        made.replace(path)
    except OSError as error:
        raise SinkUnavailable(f"{escape(str(path))} cannot be written ({error.strerror})", hint="-o FILE") from None


def to_call(stored: StoredCall) -> ToolCall:
    """Return a row of a store as the call that it was, as far as a run of W&B shows it."""
    details = CallDetails(
        unsplit_tokens=stored.tokens - stored.input_tokens - stored.output_tokens,
        input_tokens=stored.input_tokens,
        output_tokens=stored.output_tokens,
        cost_nanousd=None if stored.cost_usd is None else round(stored.cost_usd * NANO),
        model=stored.model,
        error_type=stored.error_type,
        raw_error=stored.error,
        redacted=True,
    )
    outcome: Any = stored.outcome
    opened_at = stored.started_at - clock.wall_time_s(0.0)
    return ToolCall(stored.tool_name, outcome, stored.duration_s, opened_at, _details=details)
