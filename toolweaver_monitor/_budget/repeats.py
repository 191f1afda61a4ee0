"""Calls that repeat: a digest of the arguments, and how often it has run.

Arguments are told apart by a keyed hash, so that what they hold is not kept. Only values of the plain types themselves
are looked at, never those of a subclass, so no method of the user's is run. A call with anything else among its
arguments, or with too much of them, has no digest and is never a repeat.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from marshal import dumps
from operator import itemgetter
from typing import Any

from toolweaver_monitor._budget.window import Window
from toolweaver_monitor._core.call import ToolCall

MAX_ARGUMENT_BYTES = 65_536
MAX_ARGUMENT_DEPTH = 4
"""Lists, tuples and dicts inside each other."""
MAX_DIGESTS = 1_000
"""In one trace, and of outermost calls. Beyond, the least recent one is forgotten."""
MAX_TRACES = 1_000

MARSHAL_VERSION = 2
"""The last one that writes equal values as equal bytes: later ones write an object that comes again as a reference."""

DIGEST_BYTES = 16
_keyed = sha256(os.urandom(64), usedforsecurity=False)
"""The hash after one block of random bytes. Most processors have instructions for SHA-256: 1.1 us for 1 KiB, where
BLAKE2 takes 1.7.
"""
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


class _NoDigestError(Exception):
    """The arguments hold something else than plain values, or too much."""


def compute_digest(
    tool_name: str, parameters: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bytes | None:
    """Return a digest of a call's tool and arguments, without `self`; None if not all of them are plain values.

    Args:
        tool_name: the tool.
        parameters: the names of the positional parameters, as far as they are known. An argument is then the same by
            position and by name.
        args: the positional arguments.
        kwargs: the keyword arguments.
    """
    if parameters and parameters[0] in ("self", "cls"):
        parameters, args = parameters[1:], args[1:]
    names: Sequence[str] = parameters[: len(args)]
    try:
        if kwargs:
            _require_scalars(kwargs)
            named = {**dict(zip(names, args, strict=False)), **kwargs}
            rest = args[len(names) :]
            names = [*[name for name in parameters if name in named], *sorted(kwargs.keys() - set(parameters))]
            args = (*[named[name] for name in names], *rest)
        text = dumps((tool_name, tuple(names), _flatten(args, MAX_ARGUMENT_DEPTH)), MARSHAL_VERSION)
    except (_NoDigestError, RuntimeError, TypeError, ValueError):  # also changed by another thread meanwhile
        return None
    if len(text) > MAX_ARGUMENT_BYTES:
        return None
    digest = _keyed.copy()
    digest.update(text)
    return digest.digest()[:DIGEST_BYTES]


def _flatten(values: Collection[Any], depth: int) -> list[Any]:
    """Return scalars as they are, and each list, tuple and dict as its bytes; of equal dicts the same ones.

    Raises:
        _NoDigestError: a value is not plain, nested deeper than `depth`, or too large.
    """
    room = MAX_ARGUMENT_BYTES - len(values)
    flat = []
    for value in values:
        kind = type(value)
        if kind is str or kind is bytes:
            room -= len(value)
        elif kind is int:
            room -= value.bit_length() >> 3
        elif kind not in _SCALARS:
            if kind is dict:
                _require_scalars(value)
                items = sorted(value.items(), key=itemgetter(0))  # equal dicts may have been filled in any order
                inner = [_flatten([item[n] for item in items], depth - n) for n in (0, 1)]
            elif kind is list or kind is tuple:
                inner = _flatten(value, depth - 1)
            else:
                raise _NoDigestError
            value = (..., kind.__name__, dumps(inner, MARSHAL_VERSION))  # no plain value is an ellipsis
            room -= len(value[2])
        flat.append(value)
        if room < 0 or depth < 0:
            raise _NoDigestError
    return flat


def _require_scalars(keys: Iterable[Any]) -> None:
    if not _SCALARS.issuperset(map(type, keys)):
        raise _NoDigestError


class RepeatCounter:
    """How often calls with the same digest have run: in one trace, or, of outermost calls, in the window of a budget.

    One counter serves all accounts of a budget. The caller holds the lock of the ledger.
    """

    def __init__(self) -> None:
        self._traces: dict[tuple[str | None, int], dict[bytes, int]] = {}
        """By account and trace, the least recent first; in each how often a digest has run."""
        self._outermost: dict[tuple[str | None, bytes], list[float]] = {}
        """When outermost calls ran, by account and digest, as many of the last ones as the limit allows."""

    def count(self, window: Window, account: str | None, call: ToolCall, digest: bytes) -> int:
        """Return how often such a call has run."""
        if call._parent_serial is not None:
            return self._traces.get((account, call._root_serial), {}).get(digest, 0)
        start_s = window.start_s()
        return sum([moment >= start_s for moment in self._outermost.get((account, digest), ())])

    def add(self, window: Window, account: str | None, call: ToolCall, digest: bytes, limit: int) -> None:
        """Count a call that runs."""
        if call._parent_serial is not None:
            trace = self._traces.pop((account, call._root_serial), {})
            trace[digest] = trace.pop(digest, 0) + 1
            self._traces[account, call._root_serial] = trace
            _forget_oldest(trace, MAX_DIGESTS)
            _forget_oldest(self._traces, MAX_TRACES)
        else:
            moments = self._outermost.pop((account, digest), [])
            self._outermost[account, digest] = [*moments, window.now()][-limit:]
            _forget_oldest(self._outermost, MAX_DIGESTS)

    def compute_wait_s(self, window: Window, account: str | None, call: ToolCall, digest: bytes) -> float | None:
        """Return the seconds until such a call may run again; None if that is never or unknown."""
        moments = self._outermost.get((account, digest))
        if call._parent_serial is not None or not moments or not window.slots:
            return None
        if len(window.slots) == 1:
            return max(0.0, window.gone_s() - window.now())
        return max(0.0, moments[0] - window.start_s())


def _forget_oldest(entries: dict[Any, Any], limit: int) -> None:
    if len(entries) > limit:
        del entries[next(iter(entries))]
