"""How long to measure, and beside which contenders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The options of every benchmark.

    Args:
        rounds: turns of each contender.
        quick: fewer and shorter turns, for a look; the results scatter more.
        peers: measure the other libraries that are installed, too.
    """

    rounds: int = 21
    quick: bool = False
    peers: bool = True

    def scaled(self, number: int) -> int:
        """A number of calls or runs, a tenth of it when only a quick look is wanted."""
        return max(1, number // 10) if self.quick else number
