"""The row of the table of provider payloads.

The numbers of a documented row are those of an example in the provider's documentation or API description, or of a
provider's answer as a public repository recorded it; `source` names it, and the place in it. A row that is not
documented has made-up numbers in the shape that its source describes. Payloads are cut to what matters.

What is expected was worked out by hand from the payload and the price page, and is written as the sum itself:
`86 x 2.50 + 1920 x 1.25` is tokens times dollars per million tokens, that is micro-dollars.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

OPENAPI = "https://github.com/openai/openai-openapi/blob/f85dbe2/openapi.yaml"
"""OpenAI's own description of its API, of 2026-08-21."""
RECORDED = "https://github.com/pydantic/pydantic-ai/blob/4fda38988/tests/"
"""Real answers of many providers, recorded by the tests of PydanticAI, of 2026-08-22."""
OPENAI_SDK = "https://github.com/openai/openai-python/blob/e43b4224/tests/"
ANTHROPIC_SDK = "https://github.com/anthropics/anthropic-sdk-python/blob/009b0353/tests/"
GOOGLE_SDK = "https://github.com/googleapis/python-genai/blob/66807187/google/genai/tests/"
GEMINI_COOKBOOK = "https://github.com/google-gemini/cookbook/blob/f1e7e3de/quickstarts/"


def recorded(cassette: str, answer: int = 1) -> str:
    """Return the place of an answer in PydanticAI's recordings, counted from 1."""
    return f"{RECORDED}{cassette}.yaml, answer {answer}"


class Case(NamedTuple):
    """One payload, and the usage that it reports."""

    name: str
    source: str
    """Where its figures stand; for a row that is not documented, where its shape does."""
    payload: Any
    """As plain dicts; a list is a stream of events."""
    given: int = 0
    """Input tokens, cached and written ones included."""
    made: int = 0
    """Output tokens."""
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    heard: int = 0
    heard_cached: int = 0
    spoken: int = 0
    """Audio: of the input, of what of it was cached, and of the output."""
    unsplit: int = 0
    model: str | None = None
    provider: str | None = None
    costs: str | None = None
    """Micro-dollars as a sum; None if the cost is unknown."""
    cost_source: str | None = "priced"
    sdk: str | tuple[str, ...] | None = None
    """`package.module:Class` that the SDK makes of it; for a stream one for each event, or one for all."""
    made_by: str = "model_validate"
    """How the class takes the payload."""
    sdk_provider: str | None = None
    """The provider, if only the type of the SDK's object tells it."""
    plain: bool = True
    """Whether the plain dict is read as well: it is not searched for what a framework wraps into its own objects."""
    tool: str = "tool"
    cache_hit: bool = False
    documented: bool = True
    """Whether the figures are those of `source`, too, and not only the shape."""


def micro_dollars(costs: str) -> Fraction:
    """Evaluate such a sum."""
    total = Fraction(0)
    for term in costs.split("+"):
        tokens, times, price = term.partition("x")
        total += Fraction(tokens.strip()) * (Fraction(price.strip()) if times else 1)
    return total
