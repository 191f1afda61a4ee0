"""Every lock of the package, renewed in a forked child.

A lock that another thread holds at the moment of a fork stays locked in the child forever. So every lock is made here,
and a child renews them all in place before any code of the user runs in it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

_locks: list[tuple[str, weakref.ref[Any]]] = []
_hooks: list[Callable[[], None]] = []
_owners: list[tuple[Callable[..., None], weakref.ref[Any]]] = []

SWEEP_EVERY = 256
HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether a run of plain loads and stores, with no call or loop in between, is one step for other threads."""


def new_lock(name: str) -> threading.Lock:
    """Return a new plain lock that is renewed in a forked child.

    Args:
        name: what the lock guards, for the tests that enumerate all locks.
    """
    lock = threading.Lock()
    _register(_locks, (name, weakref.ref(lock)))
    return lock


def new_rlock(name: str) -> threading.RLock:
    """Return a new reentrant lock, otherwise as `new_lock`.

    For a lock that a signal handler or `__del__` may need on the thread that holds it.
    """
    lock = threading.RLock()
    _register(_locks, (name, weakref.ref(lock)))
    return lock


def locked(lock: threading.RLock, function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that one thread runs at a time."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        with lock:
            return function(*args, **kwargs)

    return run


def after_fork_in_child(hook: Callable[[], None]) -> None:
    """Run `hook` in every forked child from now on, after the locks are renewed, in order of registration."""
    _hooks.append(hook)


def after_fork_in_child_weak(owner: T, hook: Callable[[T], None]) -> None:
    """Run `hook(owner)` in every forked child, as `after_fork_in_child`, for as long as `owner` lives."""
    _register(_owners, (hook, weakref.ref(owner)))


def _register(entries: list[tuple[T, weakref.ref[Any]]], entry: tuple[T, weakref.ref[Any]]) -> None:
    """Add an entry to a list, and now and then remove those whose object is gone."""
    entries.append(entry)
    if len(entries) % SWEEP_EVERY == 0:
        entries[:] = [each for each in entries if each[1]() is not None]


def live_locks() -> dict[str, list[object]]:
    """Return every lock that is alive right now, by name."""
    alive: dict[str, list[object]] = {}
    for name, ref in _locks:
        lock = ref()
        if lock is not None:
            alive.setdefault(name, []).append(lock)
    return alive


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
