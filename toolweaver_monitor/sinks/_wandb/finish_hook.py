"""Run a hook before the program finishes a W&B run.

wandb offers no public hook, so the two public methods that end a run are wrapped: `Run.__exit__()`, and `Run.finish()`,
which `wandb.finish()`, `wandb.agent()`, `wandb.init(reinit=...)` and the end of the program call.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.sanitize import Diagnostics

ENDING_METHODS = ("finish", "__exit__")


class Watcher(Protocol):
    """An object that learns of the end of a run before the run ends."""

    def _before_finish(self, run: Any) -> None: ...


_watchers: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = locks.new_lock("the hook before the end of W&B runs")
_is_registered = False


def watch(watcher: Watcher) -> None:
    """Call `watcher._before_finish(run)` before any run ends; wandb is not imported for it."""
    global _is_registered  # noqa: PLW0603 - there is one module wandb per process
    import wrapt

    _watchers.add(watcher)
    if not _is_registered:
        _is_registered = True
        wrapt.register_post_import_hook(wrap_methods, "wandb")


def unwatch(watcher: Watcher) -> None:
    """Call this watcher no more."""
    _watchers.discard(watcher)


def wrap_methods(wandb: Any) -> None:
    """Wrap the methods that end a run, once. A module that is only half imported is left alone."""
    kind = getattr(wandb, "Run", None)
    if not isinstance(kind, type):
        return
    with _lock:
        _wrap_ending_methods(kind)


def _wrap_ending_methods(kind: type) -> None:
    for name in ENDING_METHODS:
        method = kind.__dict__.get(name)
        if callable(method) and not hasattr(method, "_toolweaver_monitor"):
            setattr(kind, name, _announced(method))


def _announced(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        for watcher in tuple(_watchers):
            try:
                watcher._before_finish(self)
            except Exception:  # noqa: BLE001 - the program's run ends all the same
                Diagnostics.internal_errors += 1
        return method(self, *args, **kwargs)

    wrapper._toolweaver_monitor = True  # type: ignore[attr-defined]
    return wrapper
