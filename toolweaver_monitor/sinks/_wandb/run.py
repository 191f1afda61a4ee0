"""Start W&B runs, and recover from what can fail there.

Everything here may block, so it runs on the thread of a `DeadlineExecutor`.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - wandb imports it, which fails once the program has begun to end
import importlib
import logging
import re
from collections.abc import Iterable
from typing import Any

from toolweaver_monitor._text.safe_repr import fault_text
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks._wandb import internals

log = logging.getLogger("toolweaver_monitor")

OFFLINE_MODES = ("offline", "dryrun", "disabled")
MIN_FREE_BYTES = 16 * 2**20
"""Free space required on the disk of an offline run: several batches, which W&B writes up to a second later."""


class DiskFull(OSError):
    """The disk has no room for more rows now. W&B did not get them, and they are tried again as after any failure."""


class WandbRun:
    """A live W&B run: one that this library started and finishes, or one of the program.

    Args:
        wandb: the wandb module.
        raw: the `wandb.Run`.
        is_ours: whether this library started the run.
        note: what `health()` shows about it.
    """

    def __init__(self, wandb: Any, raw: Any, *, is_ours: bool, note: str = "") -> None:
        self.wandb = wandb
        self.raw = raw
        self.is_ours = is_ours
        self.note = note
        self.location = str((raw.settings.sync_dir if raw.offline else raw.url) or "")
        self._defined: set[str] = set()

    def is_live(self) -> bool:
        """Return whether the run still takes rows. A program may finish its own run at any time."""
        return self.is_ours or self.wandb.run is self.raw

    def check_disk(self) -> None:
        """Check that an offline run can grow: W&B neither reports rows that it cannot write nor writes any later ones.

        Raises:
            DiskFull: its disk is full, or nearly so.
            FileNotFoundError: its folder is gone.
        """
        if not self.raw.offline or not self.location:
            return
        from shutil import disk_usage  # already loaded by wandb

        if disk_usage(self.location).free < MIN_FREE_BYTES:
            raise DiskFull(f"less than {MIN_FREE_BYTES:,} bytes are free in {self.location}; make room there")

    def define_metrics(self, names: Iterable[str], step: str) -> None:
        """Plot these metrics against `step`. Each is defined by its full name, so that none of the program's is."""
        if not self._defined:
            self.raw.define_metric(step, hidden=True)
            self._defined.add(step)
        for name in names:
            if name not in self._defined:
                self.raw.define_metric(name, step_metric=step)
                self._defined.add(name)


def not_installed() -> SinkUnavailable:
    """Return the error for a missing wandb."""
    return SinkUnavailable("wandb is not installed", hint="run `pip install 'toolweaver_monitor[wandb]'`")


def import_wandb() -> Any:
    """Return the wandb module.

    Raises:
        SinkUnavailable: it is not installed, or broken.
    """
    upgrade = "run `pip install -U wandb`"
    try:
        wandb = importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise SinkUnavailable(f"wandb lacks the package {error.name!r}", hint=upgrade) from None
        raise not_installed() from None
    except OSError as error:  # such as in a container with a read-only root: wandb makes a temporary folder
        hint = "set TMPDIR to a folder that can be written"
        raise SinkUnavailable(f"wandb cannot be imported ({fault_text(error)})", hint=hint) from error
    except Exception as error:
        raise SinkUnavailable(f"wandb cannot be imported ({type(error).__name__})", hint=upgrade) from error
    if not hasattr(wandb, "init"):  # a folder ./wandb, where offline runs are kept, looks like an empty package
        raise not_installed()
    return wandb


def load_settings(wandb: Any) -> Any:
    """Return wandb's settings from the environment, and start its service process if none runs.

    Raises:
        SinkUnavailable: the environment holds a setting that W&B does not accept; the message names it.
    """
    internals.note_service_start()
    try:
        return wandb.setup().settings
    except ValueError as error:  # raised by pydantic
        fields = [str(part) for each in getattr(error, "errors", list)() for part in each["loc"][:1]]
        raise SinkUnavailable(
            f"W&B does not take its settings ({', '.join(fields) or type(error).__name__})",
            hint="correct the WANDB_* variables, such as WANDB_MODE and WANDB_BASE_URL",
        ) from error


def find_user_run(wandb: Any) -> Any:
    """Return the run that the program has in this process, or None.

    Raises:
        SinkUnavailable: the run was started by the process that forked this one.
    """
    run = getattr(wandb, "run", None)  # a folder ./wandb, where offline runs are kept, looks like an empty package
    if run is not None and internals.is_inherited(run):
        raise SinkUnavailable(
            "the W&B run belongs to the parent process, and W&B logs only from the process that started its run",
            hint="use WandBLogger(own_run=True) in this one",
        )
    return run


def start_run(
    wandb: Any,
    *,
    project: str | None,
    entity: str | None,
    config: dict[str, Any],
    mode: str | None = None,
    run_id: str | None = None,
    **timeouts: float,
) -> WandbRun:
    """Start a run beside any other. If the server does not accept it, the run is kept offline.

    Args:
        wandb: the wandb module.
        project: the W&B project; None leaves it to wandb.
        entity: the W&B user or team; None leaves it to wandb.
        config: what the run's config holds.
        mode: the mode of the program's own runs if it is one of `OFFLINE_MODES`; None leaves it to wandb.
        run_id: the id of a run that goes on, or of a new one; None for a new one with an id of W&B's choice.
        timeouts: `init_timeout` and `finish_timeout` of `wandb.Settings`, in seconds.

    Raises:
        SinkUnavailable: logged out, nowhere to write, or a wandb that is too old.
    """
    from urllib.parse import urlsplit  # 2 ms of an import; already loaded by wandb

    settings = load_settings(wandb)
    internals.disable_error_reports()
    host = urlsplit(settings.base_url).netloc.rpartition("@")[2]
    is_offline = (mode or settings.mode) in OFFLINE_MODES
    if not is_offline:
        internals.require_login(settings.base_url)

    def init(mode: str | None = mode) -> WandbRun:
        raw = wandb.init(
            project=project,
            entity=entity,
            config=config,
            mode=mode,
            id=run_id,
            resume=None if run_id is None else "allow",
            reinit="create_new",  # leaves the program's `wandb.run` alone
            settings=_run_settings(wandb, timeouts),
        )
        internals.hide_from_wandb_init(raw)
        return WandbRun(wandb, raw, is_ours=True)

    try:
        run = init()
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise SinkUnavailable(
            f"W&B refused the run ({_first_line(error)})", hint="check its settings, or `wandb login`"
        ) from error
    except ValueError as error:
        raise SinkUnavailable(
            f"wandb {wandb.__version__} does not take the settings of a run ({_first_line(error)})",
            hint="check the WANDB_* variables, or run `pip install -U wandb`",
        ) from error
    except wandb.errors.Error as error:
        if is_offline:
            raise SinkUnavailable(
                f"W&B could not start a run ({_first_line(error)})", hint="check WANDB_DIR"
            ) from error
        run = init("offline")
        run.note = (
            f"W&B at {host} did not accept the run ({_first_line(error)}); "
            f"it is kept offline, and once that is fixed, `wandb sync {run.location}` uploads it"
        )
        log.warning("sink 'wandb': %s", run.note)
    else:
        log.info("sink 'wandb' logs to %s", run.location)
    if mode is None and settings.mode == "disabled":
        run.note = "WANDB_MODE=disabled, so nothing is logged; unset it"
    return run


def _first_line(error: BaseException) -> str:
    return re.sub(r"//[^/@\s]*@", "//", str(error).partition("\n")[0])[:200]


def _run_settings(wandb: Any, timeouts: dict[str, float]) -> Any:
    """Return the settings of a run, limited to those that this wandb knows: it rejects any other."""
    settings = {
        "x_disable_meta": True,  # keeps the command line out of the run
        "save_code": False,
        "disable_git": True,
        "console": "off",
        "label_disable": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 1.0,  # seconds of rows that a killed service process can lose
        "quiet": True,
        "silent": True,  # this library logs what matters, once
        "force": True,
        **timeouts,
    }
    return wandb.Settings(**{name: value for name, value in settings.items() if name in wandb.Settings.model_fields})
