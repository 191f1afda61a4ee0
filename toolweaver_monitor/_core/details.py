"""Details of a call beyond its duration and outcome."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import floor
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from toolweaver_monitor._core.sanitize import (
    MAX_ERROR_CHARS,
    MAX_FAST,
    MAX_LABEL_CHARS,
    NANO,
    ROUND,
    nanodollars,
    plain_text,
    token_count,
)
from toolweaver_monitor._core.structs import use_plain_setattr

CostSource = Literal["reported", "declared", "priced"]


class CallDetails(msgspec.Struct, gc=False, eq=False):
    """The details of a call beyond its duration and outcome. Most calls have none, which makes them cheaper.

    Read these fields on the call itself: `call.model`, `call.attempt`.
    """

    unsplit_tokens: int = 0
    input_tokens: int = 0
    """Cached tokens included."""
    output_tokens: int = 0
    cached_tokens: int = 0
    """The part of the input tokens that was read from the provider's cache."""
    cost_nanousd: int | None = None
    cost_source: CostSource | None = None
    """The source of the cost: `reported` by the code or the result, `declared` on the decorator, or `priced`."""
    cache_write_tokens: int = 0
    """The part of the input tokens that was written to the provider's cache, which costs more than other input."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that the cache keeps for an hour."""
    saved_nanousd: int = 0
    """What a call served from the user's cache would have cost."""
    model: str | None = None
    provider: str | None = None
    cached: bool = False
    """Whether the call was served from the user's own cache."""
    attempt: int = 1
    """The number of this try of a retried operation, from 1; or how many there were, if all ran inside this call."""
    error_type: str | None = None
    """The exception's class name; `tool_error` if the tool told its error and raised none."""
    raw_error: str = ""
    """The error's text, with its secrets until `ToolCall._redact` has run. Read `call.error` instead."""
    redacted: bool = False
    first_item_s: float | None = None
    """Generators: seconds to the first item."""
    items: int | None = None
    """Generators: items yielded."""
    arguments: str | None = None
    """Scrubbed text, at most 1,024 characters; only with `setup(capture=True)`."""
    result: str | None = None
    inside: Any = None
    """What calls inside this one have told, a `UsageInside`. None if there were none, and once this call has closed."""
    is_repeat: Any = False
    """Whether its result came again: the figures that the result tells were counted before. Those of the items of a
    generator are here, as a `Usage`."""
    has_cost_of_result: bool = False
    """Whether its cost is what its result tells, and not that of calls inside as far as those have told theirs."""
    holds_attempts: bool = False
    """Whether all attempts of its operation ran inside this call."""
    is_of_inside: bool = False
    """Whether it recorded the figures that calls inside have told: it is no model call of its own."""
    audio_tokens: tuple[int, int, int] = (0, 0, 0)
    """Audio tokens, which cost more than text: of the input, of the cached part of the input, and of the output."""
    rare_parts: dict[str, int] | None = None
    """Images, video, reasoning and citations in tokens, and searches, by the name of the field of `Usage`."""
    service_tier: str | None = None
    """The provider's service tier; None is the default one."""

    def __reduce__(self) -> tuple[Callable[..., CallDetails], tuple[object, ...]]:
        """Support pickle and `copy.deepcopy`, without the results of calls inside."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return CallDetails, tuple({**values, "inside": None}.values())

    def redact(self, scrub: Callable[[str, int], str]) -> None:
        """Remove secrets from the texts. See `ToolCall._redact`."""
        if self.raw_error:
            self.raw_error = scrub(self.raw_error, MAX_ERROR_CHARS)
        if self.model is not None:
            self.model = scrub(self.model, MAX_LABEL_CHARS)
        if self.provider is not None:
            self.provider = scrub(self.provider, MAX_LABEL_CHARS)
        if type(self) is CallDetails:
            self.redacted = True

    @property
    def tokens(self) -> int:
        """All tokens together. Cached tokens are a part of the input."""
        return self.unsplit_tokens + self.input_tokens + self.output_tokens

    @property
    def lacks_price(self) -> bool:
        """Whether the call has tokens, a model or other units but no known cost: it is unpriced, not free."""
        return self.cost_nanousd is None and (
            self.model is not None
            or self.unsplit_tokens + self.input_tokens + self.output_tokens > 0
            or (self.rare_parts is not None and "other_units" in self.rare_parts)
        )


NO_DETAILS = use_plain_setattr(CallDetails())
"""Stands for the details of a call that has none."""


if TYPE_CHECKING:
    T_co = TypeVar("T_co", covariant=True)

    class DetailField(Generic[T_co]):
        """A field of the details that is read on a call."""

        def __get__(self, call: Any, kind: Any = None) -> T_co: ...

    class UsageDetails(CallDetails):
        """Defined below. To a type checker it has the fields of `CallDetails`."""

        def __init__(
            self,
            unsplit_tokens: int = 0,
            input_tokens: int = 0,
            output_tokens: int = 0,
            cached_tokens: int = 0,
            cost_nanousd: int | None = None,
            cost_source: CostSource | None = None,
            model: str | None = None,
            provider: str | None = None,
        ) -> None: ...

    class CompactDetails(CallDetails):
        """Defined below. To a type checker it has the fields of `CallDetails`."""

        cost: float = 0.0

        def __init__(self, unsplit_tokens: int, cost: float, has_cost_of_result: bool = False) -> None: ...

        def widened(self) -> UsageDetails: ...

    class InsideDetails(CallDetails):
        """Defined below. To a type checker it has the fields of `CallDetails`."""

        def __init__(self, inside: Any) -> None: ...

else:

    class UsageDetails(msgspec.Struct, gc=False, eq=False):
        """The details of a call that recorded what it used, and nothing else. They take a third of the time to make.

        Reads like `CallDetails` with all other fields at their defaults. `ToolCall._ensure_details` turns it into
        `CallDetails`.
        """

        unsplit_tokens: int = 0
        input_tokens: int = 0
        output_tokens: int = 0
        cached_tokens: int = 0
        cost_nanousd: int | None = None
        cost_source: CostSource | None = None
        model: str | None = None
        provider: str | None = None

        redact = CallDetails.redact
        tokens = CallDetails.tokens
        lacks_price = CallDetails.lacks_price

    class CompactDetails(msgspec.Struct, gc=False, eq=False):
        """The details of a call that recorded, or whose result reported, tokens and a cost once and nothing else.

        Reads like `CallDetails` as well. The cost is kept as it came, and converted off the caller's path.
        """

        unsplit_tokens: int
        cost: float
        """Dollars as they were reported; both values are valid."""
        has_cost_of_result: bool = False

        @property
        def cost_nanousd(self) -> int:
            """See `CallDetails`."""
            return round(self.cost * NANO)

        @property
        def tokens(self) -> int:
            """See `CallDetails`."""
            return self.unsplit_tokens

        def widened(self) -> UsageDetails:
            """Return the same with room for more."""
            return UsageDetails(self.unsplit_tokens, 0, 0, 0, self.cost_nanousd, "reported")

    class InsideDetails(msgspec.Struct, gc=False, eq=False):
        """What calls inside an open call have told, and nothing else.

        Reads like `CallDetails` as well. A call that succeeds with no more than this closes without details.
        """

        inside: Any
        tokens = 0

    for _kind in (UsageDetails, CompactDetails, InsideDetails):
        for _name, _default in zip(CallDetails.__struct_fields__, CallDetails.__struct_defaults__, strict=True):
            if not hasattr(_kind, _name):
                setattr(_kind, _name, _default)
    CompactDetails.cost_source = "reported"
    for _name, _value in (("lacks_price", False), ("redacted", True)):
        setattr(CompactDetails, _name, _value)
        setattr(InsideDetails, _name, _value)
    use_plain_setattr(UsageDetails())


def usage_details(
    tokens: int | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None,
    cost: float | Decimal | None,
    model: str | None,
    provider: str | None,
) -> UsageDetails:
    """Return what a call recorded. Values that make no sense are left out, and counted as invalid."""
    if tokens is not None and not (type(tokens) is int and 0 <= tokens <= MAX_FAST):
        tokens = token_count(tokens)
    if input_tokens is not None and not (type(input_tokens) is int and 0 <= input_tokens <= MAX_FAST):
        input_tokens = token_count(input_tokens)
    if output_tokens is not None and not (type(output_tokens) is int and 0 <= output_tokens <= MAX_FAST):
        output_tokens = token_count(output_tokens)
    if cached_tokens is not None:
        cached_tokens = token_count(cached_tokens)
    nano = None
    if cost is not None:
        if type(cost) is float and 0.0 <= cost <= 1e6:
            nano = floor(cost * 1e9 + ROUND - ROUND)
        else:
            nano = nanodollars(cost)
    if model is not None and not (type(model) is str and len(model) <= MAX_LABEL_CHARS):
        model = plain_text(model, MAX_LABEL_CHARS)
    if provider is not None:
        provider = plain_text(provider, MAX_LABEL_CHARS)
    return UsageDetails(
        tokens or 0, input_tokens or 0, output_tokens or 0, cached_tokens or 0, nano,
        None if nano is None else "reported", model, provider,
    )  # fmt: skip
