"""Run work on several threads that take turns as often as the interpreter allows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_threads(work: Callable[[T], None], shares: Sequence[T]) -> None:
    """Do the work of each share on a thread of its own, all begun together; raises what one of them raised."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(shares)) as threads:
            for done in [threads.submit(work, share) for share in shares]:
                done.result(60)
    finally:
        sys.setswitchinterval(before)
