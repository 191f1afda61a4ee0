"""Functions and classes that are sent to other processes by name, and decorated where they are imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peers

_peer = peers.chosen()
_peer.start()  # some need it before they decorate


def decorated(name: str) -> Callable[[Any], Any]:
    """The decorator under test; what it cannot be applied to says so when it is called, and the others can be asked."""

    def decorate(thing: Any) -> Any:
        try:
            return _peer.decorate(name)(thing)
        except Exception as error:  # noqa: BLE001
            refusal = error

        def refused(*_args: object, **_kwargs: object) -> None:
            raise peers.Missing(name) from refusal

        return refused

    return decorate


@dataclass
class Page:
    """A type that only this module knows."""

    number: int


@decorated("annotated")
def annotated(page: Page) -> list[Page]:
    return [page]


@decorated("doubled")
def doubled(x: int) -> int:
    return 2 * x


@decorated("doubled_later")
async def doubled_later(x: int) -> int:
    return 2 * x


class Shelf:
    """Has watched methods of each kind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @decorated("times")
    def times(self, x: int) -> int:
        return self.factor * x

    @decorated("made")
    @classmethod
    def made(cls, factor: int) -> Shelf:
        return cls(factor)

    @decorated("halved")
    @staticmethod
    def halved(x: int) -> float:
        return x / 2


def say_from_afar(**what: object) -> None:
    """Say something of the running call from another module than the one it is in."""
    _peer.say(**what)
