"""The adapter of the wrapper that is usually written by hand: functools.wraps, a clock, try and except."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .base import Peer, Seen


class Plain(Peer):
    title = "functools.wraps"

    def start(self) -> None:
        self.calls: list[Seen] = []

    def decorate(self, name: str) -> Callable[[Any], Any]:
        def decorator(function: Any) -> Any:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self.block(name):
                    return function(*args, **kwargs)

            return wrapper

        return decorator

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        started, outcome = time.perf_counter(), "failure"
        try:
            yield
            outcome = "success"
        finally:
            self.calls.append(Seen(name, outcome, time.perf_counter() - started))

    def seen(self) -> list[Seen]:
        return self.calls
