"""What is one row of the table of provider payloads?

The shape of each payload is the one that the page named with it documents, cut to what matters; so are its figures
where the page gives any. What is expected of it was worked out by hand from the payload and the price page, and is
written as the sum itself: `86 x 2.50 + 1920 x 1.25` is tokens times dollars per million tokens, that is micro-dollars.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One payload and what it says."""

    name: str
    says: str
    """The page that documents it."""
    payload: Any
    """As plain dicts; a list is a stream of events."""
    given: int = 0
    """Input tokens, cached and written ones included."""
    made: int = 0
    """Output tokens."""
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    unsplit: int = 0
    model: str | None = None
    provider: str | None = None
    costs: str | None = None
    """Micro-dollars as a sum; None: nobody knows what it costs."""
    source: str | None = "priced"
    sdk: str | tuple[str, ...] | None = None
    """`package.module:Class` that the SDK makes of it; for a stream one for each event, or one for all."""
    made_by: str = "model_validate"
    """How the class takes the payload."""
    sdk_provider: str | None = None
    """Who served it, where only the SDK's type tells."""
    plain: bool = True
    """Whether the plain dict is read as well: what a framework wraps into its own objects is not searched for."""
    tool: str = "tool"
    cache_hit: bool = False


def micro_dollars(costs: str) -> Fraction:
    """What such a sum comes to."""
    total = Fraction(0)
    for term in costs.split("+"):
        tokens, times, price = term.partition("x")
        total += Fraction(tokens.strip()) * (Fraction(price.strip()) if times else 1)
    return total
