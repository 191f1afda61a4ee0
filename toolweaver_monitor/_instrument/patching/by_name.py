"""Instrument what a dotted name stands for, at once or when its module is imported."""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from toolweaver_monitor._core import locks
from toolweaver_monitor._instrument.patching import decorators, import_hooks, watches
from toolweaver_monitor._instrument.patching.apply import apply_to, withdraw_from
from toolweaver_monitor._instrument.patching.options import InstrumentOptions
from toolweaver_monitor.errors import ConfigurationError

log = logging.getLogger("toolweaver_monitor")

lock = locks.new_rlock("patching")

_pending: dict[str, InstrumentOptions] = {}
"""Dotted names whose modules have not been imported yet."""


def waiting_for_import() -> list[str]:
    """Return the dotted names given to `instrument()` whose modules have not been imported yet."""
    return sorted(name for name, options in _pending.items() if not options.is_quiet)


def instrument_name(name: str, options: InstrumentOptions) -> None:
    """Monitor what a dotted name stands for, now or as soon as its module is imported.

    Raises:
        ConfigurationError: it is not a name, or its module is there and has nothing to monitor at that path.
    """
    module_name, path = import_hooks.split_name(name)
    watches.failures.pop(name, None)
    module = import_hooks.imported_module(module_name)
    if module is None:
        with lock:
            _pending[name] = options
        module = import_hooks.when_imported(module_name, functools.partial(_on_import, name, path))
        if module is None or _pending.pop(name, None) is None:
            log.log(
                logging.DEBUG if options.is_quiet else logging.INFO,
                "toolweaver_monitor: %s is monitored as soon as it is imported",
                name,
            )
            return
    half_imported = import_hooks.is_being_imported(module)  # by this very thread, further up its stack
    with lock:
        try:
            _instrument_path(module, path, options, name)
        except ConfigurationError as error:
            if not half_imported:
                raise
            raise ConfigurationError(
                f"{module_name} is being imported right now, and {error}",
                hint=f"call instrument({name!r}) before its import begins or after it has ended",
            ) from None


def uninstrument_name(name: str) -> None:
    """Undo `instrument_name`."""
    module_name, path = import_hooks.split_name(name)
    _pending.pop(name, None)
    watches.failures.pop(name, None)
    module = sys.modules.get(module_name)
    if module is not None:
        try:
            target, method = import_hooks.resolve(module, path)
        except ConfigurationError:
            return  # it no longer exists, nor do its wrappers
        withdraw_from(target, None if method is None else (method,))


def _on_import(name: str, path: str, module: Any) -> None:
    """Instrument a pending name. Errors are logged, as raising them would fail an import that is not at fault."""
    with lock:
        options = _pending.pop(name, None)
        if options is not None:
            try:
                _instrument_path(module, path, options, name)
            except Exception as error:  # noqa: BLE001 - see above
                watches.failures[name] = str(error)
                log.error("toolweaver_monitor: instrument(%r) did nothing: %s", name, error)  # noqa: TRY400


def _instrument_path(module: Any, path: str, options: InstrumentOptions, name: str) -> None:
    target, method = import_hooks.resolve(module, path)
    if options.decorator:
        decorators.patch_decorator(target, method, options, name)
        return
    if method is not None:
        if options.methods is not None:
            raise ConfigurationError(f"'{path}' names one function", hint="leave methods= out")
        options = options._replace(methods=(method,))
    apply_to(target, options, name)
