"""The results whose figures were counted, so that one that comes again is charged once.

A result is known by a weak reference, or, if its type takes none as a dict does, by a strong one. That is dropped once
nothing else refers to the result, which no call can return any more then: one at the next result, the others at each
drain. Never by its `id` alone: of 1,000 dicts that are dropped, 999 have the `id` of an earlier one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from sys import getrefcount
from typing import Any
from weakref import ref

from toolweaver_monitor._core.clock import monotonic_s

MAX_STRONG = 1_024
MAX_WEAK = 10_000
SWEEP_S = 0.2
"""How long results that were dropped may live on here."""

_CONSTANTS = frozenset({str, bytes, int, float, complex, bool, type(None), tuple, frozenset, range})
"""Types whose objects a program may share without a cache, as the interpreter does with the constants of a function."""

recent: list[Any] = [None]
"""The last result without a weak reference. One that is not alone is in `kept` before another takes its place, so that
it is known at every moment. Only what was looked at is replaced: no other thread runs between that comparison and the
store.
"""
kept: dict[int, Any] = {}
"""Earlier ones that something else referred to when they were last looked at, by their `id`."""
_weak: dict[int, ref[Any]] = {}


class Recognition:
    """How results of types without weak references are recognized.

    Attributes:
        counts_references: whether a reference count tells that nothing else refers to a result. Without a GIL it does
            not: these results are not recognized.
        on_kept: asks for a sweep, at most every `SWEEP_S` seconds.
        swept_at: when results that were dropped were last looked for, seconds of the monotonic clock.
    """

    counts_references: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    on_kept: Callable[[], object] = staticmethod(lambda: None)
    swept_at = 0.0


def _count_alone() -> tuple[int, int]:
    """Return the reference counts of what a local variable and nothing but `recent`, or `kept`, holds."""
    recent[0] = []
    held = recent[0]
    alone = getrefcount(held)
    recent[0] = None
    some = {0: held}
    del held
    held = some.get(0)
    return alone, getrefcount(held)


ALONE, _KEPT_ALONE = _count_alone()
"""Interpreters differ."""


def is_known(thing: Any) -> bool:
    """Return whether the figures of this very object were counted since the last `forget_all`."""
    if type(thing) in _CONSTANTS:
        return False
    key = id(thing)
    known = _weak.get(key)
    if known is not None and known() is thing:
        return True
    return Recognition.counts_references and (recent[0] is thing or key in kept)


def remember(thing: Any) -> None:
    """Remember an object whose figures are counted, unless it may be a constant of the program."""
    kind = type(thing)
    if kind in _CONSTANTS:
        return
    if kind is not dict and kind is not list:
        try:
            if len(_weak) >= MAX_WEAK:
                _forget_oldest(_weak, MAX_WEAK // 8)
            _weak[id(thing)] = ref(thing)
        except TypeError:
            pass
        else:
            return
    displace(thing)


def displace(thing: Any) -> bool:
    """Put an object without a weak reference into `recent`, and return whether it was known."""
    if not Recognition.counts_references:
        return False
    key = id(thing)
    while True:
        held = recent[0]
        if held is thing:
            return True
        if held is not None and getrefcount(held) > ALONE:
            _keep(held)
        if recent[0] is held:
            is_again = key in kept
            recent[0] = thing
            return is_again


def _keep(held: Any) -> None:
    try:
        key = next(reversed(kept))  # in a loop the one before: its variable holds another one by now
        last = kept.get(key)
        if getrefcount(last) <= _KEPT_ALONE:
            kept.pop(key, None)
    except (StopIteration, RuntimeError):  # there is none, or another thread keeps one at this moment
        pass
    kept[id(held)] = held
    if len(kept) > MAX_STRONG:
        _forget_oldest(kept, MAX_STRONG // 8)
    now_s = monotonic_s()
    if now_s - Recognition.swept_at > SWEEP_S:
        Recognition.swept_at = now_s
        _sweep()
        Recognition.on_kept()


def forget_dropped() -> bool:
    """Let go of results that nothing else refers to, and return whether any are left to be looked at again."""
    held = recent[0]
    if held is not None and getrefcount(held) > ALONE:
        kept[id(held)] = held
    if recent[0] is held:
        recent[0] = None
    held = None
    _sweep()
    Recognition.swept_at = 0.0  # before the look at `kept`: what is kept from here on asks for a sweep by itself
    return bool(kept)


def _sweep() -> None:
    # While one is looked at it is held here, so that no other thread drops it and none gets its `id`.
    for key in list(kept):
        held = kept.get(key)
        if getrefcount(held) <= _KEPT_ALONE:
            kept.pop(key, None)
    if len(_weak) > MAX_WEAK // 2:
        for key, known in list(_weak.items()):
            if known() is None and _weak.get(key) is known:
                _weak.pop(key, None)


def forget_all() -> None:
    """Forget every result: another setup begins."""
    recent[0] = None
    kept.clear()
    _weak.clear()


def _forget_oldest(known: dict[int, Any], count: int) -> None:
    try:
        for key in list(islice(known, count)):
            known.pop(key, None)
    except RuntimeError:  # another thread adds one at this moment
        pass
