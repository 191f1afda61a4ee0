"""What is sent to other processes by name? Decorated where it is imported, there as here."""

from __future__ import annotations

from dataclasses import dataclass

import peers

_peer = peers.chosen()
_peer.start()  # some need it before they decorate


@dataclass
class Page:
    """A type that only this module knows."""

    number: int


@_peer.decorate("annotated")
def annotated(page: Page) -> list[Page]:
    return [page]


@_peer.decorate("doubled")
def doubled(x: int) -> int:
    return 2 * x


@_peer.decorate("doubled_later")
async def doubled_later(x: int) -> int:
    return 2 * x


class Shelf:
    """Has watched methods of each kind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @_peer.decorate("times")
    def times(self, x: int) -> int:
        return self.factor * x

    @_peer.decorate("made")
    @classmethod
    def made(cls, factor: int) -> Shelf:
        return cls(factor)

    @_peer.decorate("halved")
    @staticmethod
    def halved(x: int) -> float:
        return x / 2


def say_from_afar(**what: object) -> None:
    """Say something of the running call from another module than the one it is in."""
    _peer.say(**what)
