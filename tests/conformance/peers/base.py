"""What an adapter must provide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A call as the library recorded it; None is what it does not tell."""

    name: str
    outcome: str | None = None
    duration_s: float | None = None
    first_item_s: float | None = None
    items: int | None = None
    call_id: object = None
    parent_id: object = None
    trace_id: object = None
    said: Mapping[str, Any] = field(default_factory=dict)


class Missing(NotImplementedError):
    """The library has no such thing; its row says no."""


class Peer:
    """A library's decorator, as the rows use it. An adapter overrides what its library has."""

    title = ""
    """What the table calls it."""
    distribution = ""
    """Whose version the table states; empty for the standard library."""

    def start(self) -> None:
        """Begin to record, with nothing recorded yet."""

    def stop(self) -> None:
        """Stop recording."""

    def decorate(self, name: str) -> Callable[[Any], Any]:
        """The decorator that names its function `name`."""
        raise Missing("decorate")

    def decorate_bare(self, function: Any) -> Any:
        """The decorator without parentheses."""
        raise Missing("a decorator without parentheses")

    def decorate_by(self, name_from: Callable[..., str]) -> Callable[[Any], Any]:
        """The decorator that takes its name from the call's own arguments."""
        raise Missing("names from the arguments")

    def block(self, name: str) -> Any:
        """A context manager around a block of code."""
        raise Missing("blocks")

    def say(self, **what: Any) -> None:
        """Say something of the innermost open call, wherever this is called from."""
        raise Missing("saying something of the running call")

    def carrying(self, executor: Any) -> Any:
        """The executor, made to run what is submitted inside the submitter's call."""
        return executor

    def seen(self) -> list[Seen]:
        """The calls that have ended, in that order."""
        raise Missing("records")
