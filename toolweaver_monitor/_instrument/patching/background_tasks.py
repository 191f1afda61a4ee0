"""The background tasks of Starlette and FastAPI: each is part of the call under which it was made."""

from __future__ import annotations

import functools
import sys
from typing import Any

from toolweaver_monitor._core.context import SUPPRESSED, current
from toolweaver_monitor._core.introspect import is_class
from toolweaver_monitor._instrument.patching.import_hooks import imported_module
from toolweaver_monitor._instrument.shield import report_internal_error

MODULE = "starlette.background"
_AROUND = "_toolweaver_monitor_around"
"""The attribute of a task that holds what was current when it was made: a call, or what stands for one."""


class _Finder:
    """Patches the module as it is imported. wrapt has hooks for that, too, but to import wrapt takes 40 ms."""

    def find_spec(self, name: str, *_: Any) -> Any:
        """Return the spec that the other finders have for the module, with a loader that patches it, once."""
        if name != MODULE:
            return None
        try:
            sys.meta_path.remove(self)
        except ValueError:  # another thread has found it
            return None
        from importlib import util

        spec: Any = util.find_spec(name)
        load = getattr(getattr(spec, "loader", None), "exec_module", None)
        if load is not None:

            def exec_module(module: Any) -> None:
                load(module)
                try:
                    _patch(module)
                except Exception as error:  # noqa: BLE001 - it is imported all the same
                    report_internal_error(error)

            spec.loader.exec_module = exec_module
        return spec


def patch_background_tasks() -> None:
    """Patch `BackgroundTask` in this process for good, now or when it is imported. Outside any call it stays as it is.

    Starlette runs a task after the response, when the block around the endpoint's code has ended.
    """
    try:
        module = imported_module(MODULE)
        if module is not None:
            _patch(module)
        elif not any(type(each) is _Finder for each in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    except Exception as error:  # noqa: BLE001 - a package of that name of which nothing is known
        report_internal_error(error)


def _patch(module: Any) -> None:
    kind: Any = vars(module).get("BackgroundTask")
    if not is_class(kind) or hasattr(kind, _AROUND):
        return
    init, run = kind.__init__, kind.__call__

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        around = current.get()
        if around is not None and around is not SUPPRESSED:
            vars(self)[_AROUND] = around

    @functools.wraps(run)
    async def run_inside(self: Any) -> None:
        around = getattr(self, _AROUND)
        if around is None:
            await run(self)
            return
        token = current.set(around)
        try:
            await run(self)
        finally:
            try:
                current.reset(token)
            except (ValueError, RuntimeError):  # closed in another context, unfinished
                pass

    kind.__init__, kind.__call__ = remember, run_inside
    setattr(kind, _AROUND, None)
