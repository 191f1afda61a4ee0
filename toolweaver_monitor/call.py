"""What flows? A `ToolCall`: one run of one tool, opened when it starts, closed once, published, then never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from decimal import Decimal
from itertools import count
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from toolweaver_monitor import clock, collecting, locks, redact, rendering, text

Outcome = Literal["open", "success", "failure", "timeout", "cancelled", "rejected", "abandoned", "muted"]
"""How a call ended; `open` while it has not, `muted` for one that is never published."""

ENDED: tuple[Outcome, ...] = ("success", "failure", "timeout", "cancelled", "rejected", "abandoned")
ERRORS: frozenset[str] = frozenset({"failure", "timeout"})
"""The outcomes that count as errors. A cancelled, rejected or abandoned call is neither error nor success."""

CostSource = Literal["reported", "declared", "priced"]
TagValue = str | int | float | bool

NANO = 1_000_000_000
MAX_TAGS = 64
MAX_TAG_CHARS = 1_024
MAX_TAG_NAME_CHARS = 128
MAX_LABEL_CHARS = 256
"""Of a model's or a provider's name."""
MAX_ERROR_CHARS = 256
MAX_COUNT = 10**15
"""Tokens or nano-dollars above this in one figure are a mistake, not a measurement."""

NO_TAGS: Mapping[str, TagValue] = MappingProxyType({})


class Invalid:
    """How often a running call was given something that could not be counted. Never raised, always countable."""

    figures = 0
    """Negative, NaN, infinite, huge or non-numeric tokens and costs."""
    late = 0
    """`record()` or `fail()` on a call that had closed."""
    reentrant = 0
    """Monitored calls made by a sink on a thread of ours; they are not watched, or a sink would feed itself."""
    extractors = 0
    """Functions of the user's (cost, usage, tool_name) that raised."""
    mishaps = 0
    """Errors of our own, caught before they could reach the user's code."""

    @classmethod
    def counts(cls) -> dict[str, int]:
        """All of these, by name."""
        return {name: getattr(cls, name) for name in ("figures", "late", "reentrant", "extractors", "mishaps")}


def nanodollars(dollars: object) -> int | None:
    """Dollars as an exact integer of nano-dollars, or None for what is no amount of money (then counted as invalid)."""
    kind = type(dollars)
    if kind is float or kind is int:
        if 0 <= dollars <= 1e6:  # type: ignore[operator]  # False for NaN, too
            return round(dollars * NANO)  # type: ignore[operator]
    elif kind is Decimal and isinstance(dollars, Decimal) and dollars.is_finite() and 0 <= dollars <= 1_000_000:
        return int((dollars * NANO).to_integral_value())
    elif dollars is None:
        return None
    elif issubclass(kind, float):  # numpy.float64 and its like
        return nanodollars(float.__float__(dollars))  # type: ignore[arg-type]
    Invalid.figures += 1
    return None


def token_count(tokens: object) -> int:
    """A number of tokens, or 0 for what is none (then counted as invalid)."""
    if type(tokens) is int and 0 <= tokens <= MAX_COUNT:
        return tokens
    if type(tokens) is float and tokens.is_integer() and 0 <= tokens <= MAX_COUNT:
        return int(tokens)
    if tokens is not None:
        Invalid.figures += 1
    return 0


class Details(msgspec.Struct, gc=False, eq=False):
    """What was said of a call beyond how long it took and how it ended. Most calls have none, and cost the less.

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
    """The error's text as it came, until `ToolCall.seal`. Read `call.error`."""
    sealed: bool = False
    first_item_s: float | None = None
    """Generators: seconds to the first item."""
    items: int | None = None
    """Generators: items yielded."""
    arguments: str | None = None
    """Only with `setup(capture=True)`: scrubbed text, at most 1,024 characters."""
    result: str | None = None
    seen: tuple[object, ...] | None = None
    """Results whose usage a call inside this one has read already, until this one closes."""

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


NOTHING = Details()
"""Stands for the details of a call that has none."""


if TYPE_CHECKING:

    class Figures(Details):
        """See below; to a type checker it is what it reads as."""

        cost: float = 0.0

        def __init__(self, unsplit_tokens: int, cost: float) -> None: ...

else:

    class Figures(msgspec.Struct, gc=False, eq=False):
        """The details of a call whose result said tokens and a cost, and of which nothing else was said.

        Reads as `Details`, whose other fields all have their defaults, for a third of the time and a sixth of the
        memory: what they come to is worked out off the caller's path. `ToolCall.say` makes `Details` of it.
        """

        unsplit_tokens: int
        cost: float
        """Dollars as the result said them, good figures both."""

        @property
        def cost_nanousd(self) -> int:
            """See `Details`."""
            return round(self.cost * NANO)

        @property
        def tokens(self) -> int:
            """See `Details`."""
            return self.unsplit_tokens

    for _name, _default in zip(Details.__struct_fields__, Details.__struct_defaults__, strict=True):
        if not hasattr(Figures, _name):
            setattr(Figures, _name, _default)
    for _name, _value in (("cost_source", "reported"), ("lacks_price", False), ("sealed", True)):
        setattr(Figures, _name, _value)


if TYPE_CHECKING:
    T_co = TypeVar("T_co", covariant=True)

    class _Said(Generic[T_co]):
        """A field of the details, read on the call."""

        def __get__(self, call: ToolCall, kind: type[ToolCall] | None = None) -> T_co: ...


class ToolCall(msgspec.Struct, gc=False, eq=False):
    """One run of one tool; all of `Details` can be read on it as well.

    Made for speed: it holds only what every call needs, and `gc=False` because nothing in it can refer back to it
    once it has closed (values are text, numbers, or flat mappings of those; see `record`).
    """

    tool_name: str
    outcome: Outcome = "open"
    duration_s: float = 0.0
    """Seconds, from the monotonic clock."""
    opened_at: float = 0.0
    """Seconds of the monotonic clock; `started_at` is the wall clock's label for it."""
    details: Details | None = None
    serial: int = 0
    """Numbers are given when they are first asked for: most calls never need one."""
    parent_serial: int | None = None
    root_serial: int = 0
    token: Token[ToolCall | None] | None = None
    """Restores the context that the call was opened in, until it closes."""
    admission: Any = None
    """What a budget set aside for this call, until it closes. One that set nothing aside may stay: it is all calls'."""

    if TYPE_CHECKING:  # properties, made below
        unsplit_tokens: ClassVar[_Said[int]]
        input_tokens: ClassVar[_Said[int]]
        output_tokens: ClassVar[_Said[int]]
        cached_tokens: ClassVar[_Said[int]]
        cache_write_tokens: ClassVar[_Said[int]]
        cache_write_1h_tokens: ClassVar[_Said[int]]
        tokens: ClassVar[_Said[int]]
        cost_nanousd: ClassVar[_Said[int | None]]
        cost_source: ClassVar[_Said[CostSource | None]]
        saved_nanousd: ClassVar[_Said[int]]
        model: ClassVar[_Said[str | None]]
        provider: ClassVar[_Said[str | None]]
        cached: ClassVar[_Said[bool]]
        attempt: ClassVar[_Said[int]]
        tags: ClassVar[_Said[Mapping[str, TagValue]]]
        error_type: ClassVar[_Said[str | None]]
        first_item_s: ClassVar[_Said[float | None]]
        items: ClassVar[_Said[int | None]]
        arguments: ClassVar[_Said[str | None]]
        result: ClassVar[_Said[str | None]]

    def say(self) -> Details:
        """The details, made if there are none yet, to be filled in."""
        details = self.details
        if details is None:
            details = self.details = Details()
        elif type(details) is Figures:
            details = Details(details.unsplit_tokens, cost_nanousd=details.cost_nanousd, cost_source="reported")
            self.details = details
        return details

    def number(self) -> int:
        """This call's serial, given now if it has none."""
        if not self.serial:
            serial = next(serials)
            with _numbering:  # no call is made in here, so no signal handler ever runs while it is held
                if not self.serial:
                    self.root_serial = self.root_serial or serial
                    self.serial = serial
        return self.serial

    def inside(self, parent: ToolCall) -> None:
        """Make this a child of the call around it."""
        self.parent_serial = parent.number()
        self.root_serial = parent.root_serial

    @property
    def call_id(self) -> int:
        """64 bits, never 0: a W3C span id."""
        return _mixed(self.number())

    @property
    def parent_id(self) -> int | None:
        """The `call_id` of the call inside which this one was opened."""
        return None if self.parent_serial is None else _mixed(self.parent_serial)

    @property
    def trace_id(self) -> int:
        """128 bits, never 0: a W3C trace id, the same for every call under one outermost call."""
        self.number()
        return _mixed(self.root_serial) << 64 | _mixed(~self.root_serial)

    @property
    def started_at(self) -> float:
        """Unix seconds. A label only: durations never come from the wall clock."""
        return clock.wall_time_s(self.opened_at)

    @property
    def cost_usd(self) -> float | None:
        """Dollars, or None where the cost is unknown. Unknown is never 0."""
        nano = self.cost_nanousd
        return None if nano is None else nano / NANO

    @property
    def error(self) -> str:
        """The error's text, free of secrets, at most 256 characters; empty where there was none."""
        details = self.details
        if details is None or not details.raw_error:
            return ""
        return details.raw_error if details.sealed else redact.scrub(details.raw_error)

    @property
    def is_error(self) -> bool:
        """Whether this call counts towards the error rate."""
        return self.outcome in ERRORS

    def record(
        self,
        *,
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        cost: float | Decimal | None = None,
        model: str | None = None,
        provider: str | None = None,
        cached: bool | None = None,
        attempt: int | None = None,
        **tags: TagValue,
    ) -> None:
        """Say what the running call used. Tokens and cost add up over the call; the rest is set.

        Never raises: a figure that cannot be counted (negative, NaN, text) is left out and counted as invalid, and
        a record on a call that has closed is ignored and counted as late. Safe from several threads.

        Args:
            tokens: tokens that are not split into input and output.
            input_tokens: tokens sent to the model, cached ones included.
            output_tokens: tokens the model produced.
            cached_tokens: the part of `input_tokens` served from the provider's cache.
            cost: dollars.
            model: the model's name, as its price list spells it.
            provider: who serves it, for example `"openai"`.
            cached: the whole call was served from a cache of yours; it costs 0.
            attempt: which try of a retried operation this is, from 1.
            **tags: your own labels; values other than text and numbers become text.
        """
        with _recording:
            if self.outcome != "open":
                Invalid.late += 1
                return
            details = self.say()
            if tokens is not None:
                details.unsplit_tokens += token_count(tokens)
            if input_tokens is not None:
                details.input_tokens += token_count(input_tokens)
            if output_tokens is not None:
                details.output_tokens += token_count(output_tokens)
            if cached_tokens is not None:
                details.cached_tokens += token_count(cached_tokens)
            if cost is not None:
                nano = nanodollars(cost)
                if nano is not None:
                    details.cost_nanousd = nano + (details.cost_nanousd or 0)
                    details.cost_source = "reported"
            if model is not None:
                details.model = plain_text(model, MAX_LABEL_CHARS)
            if provider is not None:
                details.provider = plain_text(provider, MAX_LABEL_CHARS)
            if cached is not None:
                details.cached = cached is True
            if attempt is not None:
                details.attempt = max(1, token_count(attempt))
            if tags:
                details.tags = merged_tags(details.tags, tags)
        if self.admission is not None:
            self.admission.note(self)

    def fail(self, reason: str) -> None:
        """Close this call as a failure though nothing was raised, for tools that return their errors."""
        if self.outcome != "open":
            Invalid.late += 1
            return
        details = self.say()
        details.error_type = details.error_type or "ToolFailed"
        details.raw_error = plain_text(reason, MAX_ERROR_CHARS) or "failed"

    def seal(self, scrub: Callable[[str, int], str]) -> None:
        """Take the secrets out, before any sink sees the call. The bus does so once, as the last change to it.

        Args:
            scrub: given a text and its greatest length, gives the text to show.
        """
        details = self.details
        if details is None or details.sealed:
            return
        if details.raw_error:
            details.raw_error = scrub(details.raw_error, MAX_ERROR_CHARS)
        if details.model is not None:
            details.model = scrub(details.model, MAX_LABEL_CHARS)
        if details.provider is not None:
            details.provider = scrub(details.provider, MAX_LABEL_CHARS)
        if details.tags:
            details.tags = scrubbed_tags(details.tags, scrub)
        details.sealed = True


def _said(name: str) -> property:
    return property(lambda call: getattr(call.details or NOTHING, name), doc=f"See `Details.{name}`.")


for _name in (*Details.__struct_fields__, "tokens"):
    # A property each, and no __getattr__: that would slow down every look at every field (30 ns on CPython 3.11).
    if _name not in ("raw_error", "sealed", "seen"):
        setattr(ToolCall, _name, _said(_name))


class InertCall(ToolCall, gc=False, eq=False):
    """What `current_call()` gives outside any call: takes the same methods and records nothing."""

    def record(self, **_: object) -> None:
        """Record nothing."""

    def fail(self, reason: str) -> None:
        """Record nothing."""


INERT = InertCall("", "success")

MUTED = InertCall("", "success")
"""Stands as the innermost call on our own threads: calls opened under it are not published."""

innermost: ContextVar[ToolCall | None] = ContextVar("toolweaver_monitor_call", default=None)
"""The innermost open call of this context."""
collecting.watch()


def current_call() -> ToolCall:
    """The innermost open call, from any depth; outside any call, an inert one that records nothing."""
    return innermost.get() or INERT


def plain_text(value: object, limit: int) -> str:
    """`value` as an exact `str` of which `limit` characters may be shown; never raises and runs no code of the user's.

    It is cut where the scrubber no longer looks: what was cut to the limit could end in half a secret.
    """
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)[: limit + redact.AHEAD]
    return rendering.rendered(value, limit, depth=0)[:limit]


def merged_tags(old: Mapping[str, TagValue], new: Mapping[str, object]) -> Mapping[str, TagValue]:
    """Both, the new ones winning, cut to `MAX_TAGS`, each value made text or number."""
    tags: dict[str, TagValue] = dict(old)
    for key, value in new.items():
        if key not in tags and len(tags) >= MAX_TAGS:
            Invalid.figures += 1
            break
        tags[plain_text(key, MAX_TAG_NAME_CHARS)] = tag_value(value)
    return tags


def tag_value(value: object) -> TagValue:
    """A number as it is, anything else as text of which `MAX_TAG_CHARS` may be shown."""
    if type(value) is bool or (type(value) is int and abs(value) < 2**63) or type(value) is float:
        return value
    return plain_text(value, MAX_TAG_CHARS)


def scrubbed_tags(tags: Mapping[str, TagValue], scrub: Callable[[str, int], str]) -> dict[str, TagValue]:
    """The same tags without secrets: in names, in values, and in the values of what is called like a secret."""
    return {text.safe_name(key, MAX_TAG_NAME_CHARS): scrubbed_value(key, value, scrub) for key, value in tags.items()}


def scrubbed_value(name: str, value: TagValue, scrub: Callable[[str, int], str]) -> TagValue:
    """A tag's value without secrets; nothing of it where the tag is called like one."""
    if type(value) is not str:
        return value
    if scrub is redact.scrub and redact.is_secret_name(name):
        return redact.MASK
    return scrub(value, MAX_TAG_CHARS)


_MASK = 2**64 - 1


def _mixed(serial: int) -> int:
    """A 64-bit number that looks random, one to one with the serial (the finalizer of SplitMix64, Steele 2014)."""
    z = (serial * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) or 1


def _fresh_serials() -> count[int]:
    """Numbers from a random start of our own, so that the user's seeded random sequences stay as they were."""
    return count(Random().getrandbits(62))


serials = _fresh_serials()
_recording = locks.new_rlock("recording on a call")
_numbering = locks.new_lock("numbering a call")


def _in_child() -> None:
    global serials  # noqa: PLW0603 - a child that went on with its parent's numbers would repeat its ids
    serials = _fresh_serials()


locks.in_forked_child(_in_child)
