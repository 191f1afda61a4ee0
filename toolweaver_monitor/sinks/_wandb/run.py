"""How does a W&B run start and end without ever taking the program with it?

Everything here may block, and runs on the thread of `DeadlineExecutor`, which waits for it only so long.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - wandb imports it, which fails once the program has begun to end
import importlib
import logging
import os
import re
import sys
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor.errors import SinkUnavailable

log = logging.getLogger("toolweaver_monitor")

INSTALL = "wandb is not installed; run `pip install 'toolweaver_monitor[wandb]'`"
LOG_IN = "W&B is not logged in; run `wandb login`, or set WANDB_MODE=offline to keep runs on this machine"
OFFLINE_MODES = ("offline", "dryrun", "disabled")
ROOM_BYTES = 16 * 2**20
"""What must be free on the disk of an offline run: several batches, which W&B writes a second later."""


_started_in: set[int] = set()
"""The processes in which wandb may have started its service process for our sake."""


class DiskFull(OSError):
    """There is no room for more rows now. They were not given to W&B, and are tried again as after any failure."""


class Session:
    """A live run, and whether it is ours to finish."""

    def __init__(self, wandb: Any, run: Any, *, ours: bool, note: str = "") -> None:
        self.wandb = wandb
        self.run = run
        self.ours = ours
        self.note = note
        self.where = str((run.settings.sync_dir if run.offline else run.url) or "")
        self._defined: set[str] = set()

    def is_live(self) -> bool:
        """Whether the run can still be logged to. A user ends theirs when they like."""
        return self.ours or self.wandb.run is self.run

    def must_have_room(self) -> None:
        """Look whether an offline run can grow: W&B says nothing of rows that it cannot write, nor writes any later.

        Raises:
            DiskFull: its disk is full, or nearly so.
            FileNotFoundError: its folder is gone.
        """
        if not self.run.offline or not self.where:
            return
        from shutil import disk_usage  # wandb has loaded it by now

        if disk_usage(self.where).free < ROOM_BYTES:
            raise DiskFull(f"less than {ROOM_BYTES:,} bytes are free in {self.where}; make room there")

    def define(self, names: Any, step: str) -> None:
        """Plot these metrics against our own step; each by its full name, so that none of the user's is taken along."""
        if not self._defined:
            self.run.define_metric(step, hidden=True)
            self._defined.add(step)
        for name in names:
            if name not in self._defined:
                self.run.define_metric(name, step_metric=step)
                self._defined.add(name)


def load() -> Any:
    """The wandb module.

    Raises:
        SinkUnavailable: it is not installed, or broken.
    """
    try:
        wandb = importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise SinkUnavailable(f"wandb lacks the package {error.name!r}; run `pip install -U wandb`") from None
        raise SinkUnavailable(INSTALL) from None
    except Exception as error:
        raise SinkUnavailable(
            f"wandb cannot be imported ({type(error).__name__}); run `pip install -U wandb`"
        ) from error
    if not hasattr(wandb, "init"):  # a folder ./wandb, where offline runs are kept, looks like an empty package
        raise SinkUnavailable(INSTALL)
    return wandb


def settings(wandb: Any) -> Any:
    """What the environment says to W&B; starts its service process, if no one has.

    Raises:
        SinkUnavailable: something there that W&B does not take; with what it is.
    """
    try:
        return wandb.setup().settings
    except ValueError as error:  # pydantic's
        fields = [str(place) for each in getattr(error, "errors", list)() for place in each["loc"][:1]]
        raise SinkUnavailable(
            f"W&B does not take its settings ({', '.join(fields) or type(error).__name__}); "
            "correct the WANDB_* variables, such as WANDB_MODE and WANDB_BASE_URL"
        ) from error


def users_run(wandb: Any) -> Any:
    """The run that the user has going in this process, or None.

    Raises:
        SinkUnavailable: the run was started by the process that forked this one.
    """
    run = wandb.run
    if run is not None and getattr(run, "_init_pid", os.getpid()) != os.getpid():
        raise SinkUnavailable("the W&B run belongs to the parent process; W&B logs only from where its run was started")
    return run


def begin(wandb: Any, *, project: str | None, entity: str | None, config: dict[str, Any], **limits: float) -> Session:
    """Start a run of our own, beside any other; kept offline where the server does not take it.

    Raises:
        SinkUnavailable: logged out, nowhere to write, or too old a wandb; with the cure.
    """
    from urllib.parse import urlsplit  # 2 ms of an import, and wandb has loaded it by now

    found = settings(wandb)
    _started_in.add(os.getpid())
    _no_analytics()
    mode = found.mode
    host = urlsplit(found.base_url).netloc.rpartition("@")[2]
    if mode not in OFFLINE_MODES:
        must_be_logged_in(found.base_url)

    def init(mode: str | None = None) -> Any:
        run = wandb.init(
            project=project,
            entity=entity,
            config=config,
            mode=mode,
            reinit="create_new",  # neither finishes nor becomes the user's `wandb.run`
            settings=_settings(wandb, limits),
        )
        _hide_from_wandb_init(run)
        return run

    try:
        session = Session(wandb, init(), ours=True)
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise SinkUnavailable(f"W&B refused the run ({_said(error)}); check its settings, or `wandb login`") from error
    except ValueError as error:
        raise SinkUnavailable(
            f"wandb {wandb.__version__} does not take the settings of a run ({_said(error)}); "
            "check the WANDB_* variables, or run `pip install -U wandb`"
        ) from error
    except wandb.errors.Error as error:
        if mode in OFFLINE_MODES:
            raise SinkUnavailable(f"W&B could not start a run ({_said(error)}); check WANDB_DIR") from error
        session = Session(wandb, init("offline"), ours=True)
        session.note = (
            f"W&B at {host} did not accept the run ({_said(error)}); "
            f"it is kept offline, and once that is mended `wandb sync {session.where}` uploads it"
        )
        log.warning("sink 'wandb': %s", session.note)
    else:
        log.info("sink 'wandb' logs to %s", session.where)
    if mode == "disabled":
        session.note = "WANDB_MODE=disabled, so nothing is logged; unset it"
    return session


def _said(error: BaseException) -> str:
    return re.sub(r"//[^/@\s]*@", "//", str(error).partition("\n")[0])[:200]


def _settings(wandb: Any, limits: dict[str, float]) -> Any:
    """What our runs are started with, as far as this wandb knows it: an unknown setting is an error there."""
    wanted = {
        "x_disable_meta": True,  # the command line stays here
        "save_code": False,
        "disable_git": True,
        "console": "off",
        "label_disable": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 1.0,  # what a killed service process can lose
        "quiet": True,
        "silent": True,  # what there is to say, this library says once
        "force": True,
        **limits,
    }
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in wandb.Settings.model_fields})


def must_be_logged_in(base_url: str) -> None:
    """Find the key for this server, and do not send it.

    Raises:
        SinkUnavailable: there is none, or it cannot be used; with the cure.
    """
    try:
        from wandb.sdk.lib import wbauth

        found = wbauth.authenticate_session(
            host=base_url, source="toolweaver-monitor", prompt=False, update_session=False
        )
    except (ImportError, TypeError):
        return  # another version of wandb: init with force=True raises where there is no key
    except Exception as error:
        raise SinkUnavailable(
            f"W&B's credentials cannot be used ({type(error).__name__}); run `wandb login --relogin`"
        ) from error
    if found is None:
        raise SinkUnavailable(LOG_IN)


def _no_analytics() -> None:
    """Keep wandb from reporting its errors to its server, for which a dead server lets the exit wait 20 s."""
    try:
        importlib.import_module("wandb.analytics.opentelemetry.opentelemetry_proxy").disable()
    except Exception:  # another version of wandb, which may have none
        log.debug("wandb's analytics could not be turned off", exc_info=True)


def _hide_from_wandb_init(run: Any) -> None:
    """Keep a later `wandb.init()` of the user's from being handed our run."""
    try:
        importlib.import_module("wandb.sdk.wandb_setup").singleton().remove_active_run(run)
    except Exception:  # another version of wandb; then the user gets ours, which works
        log.debug("wandb keeps our run among the active ones", exc_info=True)


def service_is_dead() -> bool:
    """Whether the service process has been killed, over which wandb's own exit hook would stumble."""
    wandb_setup = sys.modules.get("wandb.sdk.wandb_setup")
    connection = getattr(getattr(wandb_setup, "_singleton", None), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    return process is not None and process.poll() is not None


def drop_service() -> bool:
    """End a service process that does not answer, so that the program's exit does not wait for it.

    Does nothing while the user has a run, which only they may end. True if it was ended.
    """
    try:
        wandb = importlib.import_module("wandb")
        setup = importlib.import_module("wandb.sdk.wandb_setup").singleton()
        if wandb.run is not None or setup.most_recent_active_run is not None:
            return False
        setup._connection._proc._process.kill()
        wandb.teardown()
    except (Exception, SystemExit):  # teardown() exits with the service's code; or it was dead already
        log.debug("the W&B service process could not be ended", exc_info=True)
        return False
    return True


def _in_child() -> None:
    """Keep wandb's exit hook, which a forked child inherits, from ending the parent's service with a traceback."""
    wandb_setup = sys.modules.get("wandb.sdk.wandb_setup")
    connection = getattr(getattr(wandb_setup, "_singleton", None), "_connection", None)
    forget = getattr(connection, "_cleanup", None)
    if _started_in and forget is not None:
        forget()
    _started_in.clear()


locks.after_fork_in_child(_in_child)
