"""Which locks do we hold, and how does a forked child get fresh ones?

A lock that another thread held at the moment of a fork stays locked in the child for ever. So every lock of this
package is made here, and a child renews them all in place before any code of the user runs in it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_locks: list[tuple[str, weakref.ref[Any]]] = []
_hooks: list[Callable[[], None]] = []
_owners: list[tuple[Callable[..., None], weakref.ref[Any]]] = []

SWEEP_EVERY = 256


def new_lock(name: str) -> threading.Lock:
    """A plain lock, renewed in a forked child. `name` says what it guards, for the tests that enumerate locks."""
    lock = threading.Lock()
    _register(_locks, (name, weakref.ref(lock)))
    return lock


def new_rlock(name: str) -> threading.RLock:
    """As `new_lock`, for a lock that a signal handler or `__del__` may meet on the thread that holds it."""
    lock = threading.RLock()
    _register(_locks, (name, weakref.ref(lock)))
    return lock


def after_fork_in_child(hook: Callable[[], None]) -> None:
    """Have `hook` run in every forked child, after the locks are fresh, in order of registration."""
    _hooks.append(hook)


def after_fork_in_child_weak(owner: T, hook: Callable[[T], None]) -> None:
    """As `after_fork_in_child`, for as long as `owner` lives."""
    _register(_owners, (hook, weakref.ref(owner)))


def _register(known: list[tuple[T, weakref.ref[Any]]], what: tuple[T, weakref.ref[Any]]) -> None:
    """Add to a list, and now and then take out what is no more."""
    known.append(what)
    if len(known) % SWEEP_EVERY == 0:
        known[:] = [pair for pair in known if pair[1]() is not None]


def live_locks() -> dict[str, list[object]]:
    """Every lock alive right now, by name."""
    found: dict[str, list[object]] = {}
    for name, ref in _locks:
        lock = ref()
        if lock is not None:
            found.setdefault(name, []).append(lock)
    return found


def _renew() -> None:
    for _, ref in _locks:
        lock = ref()
        if lock is not None:
            lock._at_fork_reinit()
    for hook in _hooks:
        hook()
    for hook_of, owned in _owners:
        owner = owned()
        if owner is not None:
            hook_of(owner)


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    os.register_at_fork(after_in_child=_renew)
