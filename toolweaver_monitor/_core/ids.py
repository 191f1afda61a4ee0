"""Ids of calls and traces, in the sizes of W3C Trace Context."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from toolweaver_monitor._core import locks

_MASK = 2**64 - 1


def mix(serial: int) -> int:
    """Return a 64-bit number that looks random, one to one with the serial: SplitMix64's finalizer (Steele 2014)."""
    z = (serial * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) or 1


def unmix(number: int) -> int:
    """Return the serial from which `mix` made a number: its steps undone in reverse."""
    z = number ^ (number >> 31) ^ (number >> 62)
    z = (z * pow(0x94D049BB133111EB, -1, 2**64)) & _MASK
    z ^= (z >> 27) ^ (z >> 54)
    z = (z * pow(0xBF58476D1CE4E5B9, -1, 2**64)) & _MASK
    z ^= (z >> 30) ^ (z >> 60)
    return (z * pow(0x9E3779B97F4A7C15, -1, 2**64)) & _MASK


class LinkedSerial(int):
    """A serial that carries a span of OpenTelemetry: the innermost one inside the call around when a call opened.

    As `_parent_serial` it is the serial of the call around; as `_root_serial` of an outermost call, that call's own.
    As `_serial` its span is that of the call itself, which others have begun around it.
    """

    span: Any
    """The span's `SpanContext`."""

    @classmethod
    def link(cls, serial: int, span: Any) -> LinkedSerial:
        """Return the serial with a span."""
        linked = cls(serial)
        linked.span = span
        return linked


def span_of(serial: int | None) -> Any:
    """Return the `SpanContext` that a serial carries, or None."""
    return getattr(serial, "span", None)


def trace_of(root_serial: int) -> int:
    """Return the trace id of an outermost call: that of the span around it, or one made from its serial."""
    span = span_of(root_serial)
    return mix(root_serial) << 64 | mix(~root_serial) if span is None else int(span.trace_id)


def _fresh_serials() -> count[int]:
    """Count from a random start that leaves the sequences of the user's seeded `random` alone."""
    return count(int.from_bytes(os.urandom(8), "big") >> 2)


serials = _fresh_serials()


def _in_child() -> None:
    global serials  # noqa: PLW0603 - a child that continued its parent's numbers would repeat its ids
    serials = _fresh_serials()


locks.after_fork_in_child(_in_child)
