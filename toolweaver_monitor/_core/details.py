"""What may be recorded about a call beyond how long it took and how it ended?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from toolweaver_monitor._core.sanitize import NANO, NO_TAGS, TagValue
from toolweaver_monitor._core.structs import use_plain_setattr

CostSource = Literal["reported", "declared", "priced"]


class CallDetails(msgspec.Struct, gc=False, eq=False):
    """What was recorded about a call beyond its duration and its end. Most calls have none, and are cheaper for it.

    Read these fields on the call itself: `call.model`, `call.tags`.
    """

    unsplit_tokens: int = 0
    input_tokens: int = 0
    """Cached ones included."""
    output_tokens: int = 0
    cached_tokens: int = 0
    """The part of the input tokens that came out of the provider's cache."""
    cost_nanousd: int | None = None
    cost_source: CostSource | None = None
    """Where the cost comes from: `reported` by the code or the result, `declared` on the decorator, `priced`."""
    cache_write_tokens: int = 0
    """The part of the input tokens that went into the provider's cache, which providers price above other input."""
    cache_write_1h_tokens: int = 0
    """The part of those that is kept there for an hour."""
    saved_nanousd: int = 0
    """What a call served from a cache would have cost."""
    model: str | None = None
    provider: str | None = None
    cached: bool = False
    """Served from a cache of the user's."""
    attempt: int = 1
    """Which try of a retried operation, from 1."""
    tags: Mapping[str, TagValue] = NO_TAGS
    error_type: str | None = None
    """The exception's class name."""
    raw_error: str = ""
    """The error's text as it came, until `ToolCall._redact`. Read `call.error`."""
    redacted: bool = False
    first_item_s: float | None = None
    """Generators: seconds to the first item."""
    items: int | None = None
    """Generators: items yielded."""
    arguments: str | None = None
    """Only with `setup(capture=True)`: scrubbed text, at most 1,024 characters."""
    result: str | None = None
    seen: tuple[object, ...] | None = None
    """Results whose usage a call inside this one has read already, until this one closes."""
    audio_tokens: tuple[int, int, int] = (0, 0, 0)
    """Audio, which providers price above text: of the input, of that what came out of the cache, of the output."""

    def __reduce__(self) -> tuple[Callable[..., CallDetails], tuple[object, ...]]:
        """As pickle and `copy.deepcopy` ask, which cannot do the mapping that stands for no tags."""
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        return CallDetails, tuple({**said, "tags": dict(self.tags), "seen": None}.values())

    @property
    def tokens(self) -> int:
        """Tokens in all. Cached tokens are a part of input."""
        return self.unsplit_tokens + self.input_tokens + self.output_tokens

    @property
    def lacks_price(self) -> bool:
        """Whether tokens or a model were seen and what they cost is not known: such a call is unpriced, not free."""
        return self.cost_nanousd is None and (
            self.model is not None or self.unsplit_tokens + self.input_tokens + self.output_tokens > 0
        )


NO_DETAILS = use_plain_setattr(CallDetails())
"""Stands for the details of a call that has none."""


if TYPE_CHECKING:

    class CompactDetails(CallDetails):
        """See below; to a type checker it is what it reads as."""

        cost: float = 0.0

        def __init__(self, unsplit_tokens: int, cost: float) -> None: ...

else:

    class CompactDetails(msgspec.Struct, gc=False, eq=False):
        """The details of a call whose result said tokens and a cost, and of which nothing else was said.

        Reads like `CallDetails` with all other fields at their defaults, for a third of the time and a sixth of the
        memory: nano-dollars are worked out off the caller's path. `ToolCall._ensure_details` turns it into
        `CallDetails`.
        """

        unsplit_tokens: int
        cost: float
        """Dollars as the result gave them; both figures are known to be valid."""

        @property
        def cost_nanousd(self) -> int:
            """See `CallDetails`."""
            return round(self.cost * NANO)

        @property
        def tokens(self) -> int:
            """See `CallDetails`."""
            return self.unsplit_tokens

    for _name, _default in zip(CallDetails.__struct_fields__, CallDetails.__struct_defaults__, strict=True):
        if not hasattr(CompactDetails, _name):
            setattr(CompactDetails, _name, _default)
    for _name, _value in (("cost_source", "reported"), ("lacks_price", False), ("redacted", True)):
        setattr(CompactDetails, _name, _value)
