"""`opcodes` interrupts only where CPython can."""

from __future__ import annotations

import sys
import threading

from opcodes import interrupted


def release_twice() -> None:
    try:
        threading.Lock().release()
    except RuntimeError:
        pass


def test_an_interrupt_leaves_no_error_behind() -> None:
    """An error that was being handled would be the context of all errors of the thread, until the process ends.

    Seen red: with an interrupt before the first instruction of a handler, `sys.exc_info()` kept a RuntimeError.
    """

    def strike() -> None:
        raise InterruptedError

    for place in range(1, 50):
        try:
            if not interrupted(release_twice, place, strike, within=__file__):
                break
        except InterruptedError:
            pass
        assert sys.exc_info() == (None, None, None), place
    assert place > 2
