"""The parts of wandb that the sink needs and that have no public name.

Each function tolerates a wandb that lacks it. Check this file when a new version of wandb comes out.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor.errors import SinkUnavailable

log = logging.getLogger("toolweaver_monitor")

_may_own_service = False
"""Whether wandb may have started its service process for this library."""


def note_service_start() -> None:
    """Record that wandb is about to start its service process for this library, if none runs."""
    global _may_own_service  # noqa: PLW0603 - there is one service process per process
    _may_own_service = True


def require_login(base_url: str) -> None:
    """Check that there is a key for this server, without sending it.

    Raises:
        SinkUnavailable: there is none, or it cannot be used.
    """
    try:
        from wandb.sdk.lib import wbauth

        credentials = wbauth.authenticate_session(
            host=base_url, source="toolweaver-monitor", prompt=False, update_session=False
        )
    except (ImportError, TypeError):
        return  # another version of wandb, where init with force=True raises if there is no key
    except Exception as error:
        raise SinkUnavailable(
            f"W&B's credentials cannot be used ({type(error).__name__})", hint="run `wandb login --relogin`"
        ) from error
    if credentials is None:
        raise not_logged_in()


def not_logged_in() -> SinkUnavailable:
    """Return the error for a missing key."""
    return SinkUnavailable(
        "W&B is not logged in", hint="run `wandb login`, or set WANDB_MODE=offline to keep runs on this machine"
    )


def is_set_up() -> bool:
    """Return whether wandb has begun to work in this process, so that only it knows its settings and keys."""
    return _setup() is not None


def is_inherited(run: Any) -> bool:
    """Return whether a run was started by the process that forked this one."""
    return getattr(run, "_init_pid", os.getpid()) != os.getpid()


def started_at(run: Any) -> float:
    """Return the Unix seconds at which a run was begun in this process; a resumed run may have begun long before."""
    began = getattr(getattr(run, "settings", None), "x_start_time", None) or getattr(run, "start_time", None)
    return began if isinstance(began, int | float) else 0.0


def disable_error_reports() -> None:
    """Keep wandb from reporting its errors to its server: with a dead server, this delays the exit by 20 s."""
    try:
        importlib.import_module("wandb.analytics.opentelemetry.opentelemetry_proxy").disable()
    except Exception:  # another version of wandb, which may have no such reports
        log.debug("the error reports of wandb could not be turned off", exc_info=True)


def hide_from_wandb_init(run: Any) -> None:
    """Keep a later `wandb.init()` of the program from returning the sink's run."""
    try:
        _setup().remove_active_run(run)
    except Exception:  # another version of wandb; the program then gets the sink's run, which works
        log.debug("wandb keeps the sink's run among the active ones", exc_info=True)


def service_is_dead() -> bool:
    """Return whether the service process was killed, which makes wandb's own exit hook print a traceback."""
    process = getattr(getattr(_connection(), "_proc", None), "_process", None)
    return process is not None and process.poll() is not None


def kill_service() -> None:
    """Kill the service process, so that the exit of the program does not wait for it.

    Does nothing while the program has a run of its own, which only the program may end.
    """
    try:
        wandb = sys.modules["wandb"]
        if wandb.run is None and _setup().most_recent_active_run is None:
            _connection()._proc._process.kill()
            wandb.teardown()
    except (Exception, SystemExit):  # teardown() exits with the service's code; or the service was dead already
        log.debug("the W&B service process could not be ended", exc_info=True)


def _setup() -> Any:
    return getattr(sys.modules.get("wandb.sdk.wandb_setup"), "_singleton", None)


def _connection() -> Any:
    return getattr(_setup(), "_connection", None)


def _in_child() -> None:
    """Keep wandb's exit hook, which a forked child inherits, from ending the parent's service with a traceback."""
    global _may_own_service  # noqa: PLW0603
    unregister = getattr(_connection(), "_cleanup", None)
    if _may_own_service and unregister is not None:
        unregister()
    _may_own_service = False


locks.after_fork_in_child(_in_child)
