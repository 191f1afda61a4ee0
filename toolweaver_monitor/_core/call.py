"""What flows? A `ToolCall`: one run of one tool, opened when it starts, closed once, published, then never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from toolweaver_monitor._core import clock, ids, locks
from toolweaver_monitor._core.details import NO_DETAILS, CallDetails, CompactDetails, CostSource
from toolweaver_monitor._core.sanitize import (
    MAX_ERROR_CHARS,
    MAX_LABEL_CHARS,
    NANO,
    Diagnostics,
    TagValue,
    merge_tags,
    nanodollars,
    plain_text,
    scrub_tags,
    token_count,
)
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor._text import redact

Outcome = Literal["open", "success", "failure", "timeout", "cancelled", "rejected", "abandoned", "suppressed"]
"""How a call ended; `open` while it has not, `suppressed` for one that is never published."""

ENDED: tuple[Outcome, ...] = ("success", "failure", "timeout", "cancelled", "rejected", "abandoned")
ERROR_OUTCOMES: frozenset[str] = frozenset({"failure", "timeout"})
"""The outcomes that count as errors. A cancelled, rejected or abandoned call is neither error nor success."""


if TYPE_CHECKING:
    T_co = TypeVar("T_co", covariant=True)

    class _Said(Generic[T_co]):
        """A field of the details, read on the call."""

        def __get__(self, call: ToolCall, kind: type[ToolCall] | None = None) -> T_co: ...


class ToolCall(msgspec.Struct, gc=False, eq=False):
    """One run of one tool. Sinks get it when it has ended, and only read it.

    The fields of `CallDetails` can be read on it as well.
    """

    # Made for speed: it holds only what every call needs, and `gc=False` because nothing in it can refer back to it
    # once it has closed (values are text, numbers, or flat mappings of those; see `record`).

    tool_name: str
    outcome: Outcome = "open"
    duration_s: float = 0.0
    """Seconds, from the monotonic clock."""
    _opened_at: float = 0.0
    """Seconds of the monotonic clock; `started_at` is the wall clock's label for it."""
    _details: CallDetails | None = None
    _serial: int = 0
    """Numbers are given when they are first asked for: most calls never need one."""
    _parent_serial: int | None = None
    _root_serial: int = 0
    _token: Token[ToolCall | None] | None = None
    """Restores the context that the call was opened in, until it closes."""
    _admission: Any = None
    """What a budget set aside for this call, until it closes. One that set nothing aside may stay: it is all calls'."""

    if TYPE_CHECKING:  # properties, made below
        _unsplit_tokens: ClassVar[_Said[int]]
        input_tokens: ClassVar[_Said[int]]
        output_tokens: ClassVar[_Said[int]]
        cached_tokens: ClassVar[_Said[int]]
        cache_write_tokens: ClassVar[_Said[int]]
        _cache_write_1h_tokens: ClassVar[_Said[int]]
        _audio_tokens: ClassVar[_Said[tuple[int, int, int]]]
        tokens: ClassVar[_Said[int]]
        _cost_nanousd: ClassVar[_Said[int | None]]
        cost_source: ClassVar[_Said[CostSource | None]]
        _saved_nanousd: ClassVar[_Said[int]]
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

    def _ensure_details(self) -> CallDetails:
        """The details, made if there are none yet, to be filled in."""
        details = self._details
        if details is None:
            details = self._details = CallDetails()
        elif type(details) is CompactDetails:
            details = CallDetails(details.unsplit_tokens, cost_nanousd=details.cost_nanousd, cost_source="reported")
            self._details = details
        return details

    def _assign_id(self) -> int:
        """This call's serial, given now if it has none."""
        if not self._serial:
            serial = next(ids.serials)
            with ids.numbering:  # no call is made in here, so no signal handler ever runs while it is held
                if not self._serial:
                    self._root_serial = self._root_serial or serial
                    self._serial = serial
        return self._serial

    def _set_parent(self, parent: ToolCall) -> None:
        """Make this a child of the call around it."""
        self._parent_serial = parent._assign_id()
        self._root_serial = parent._root_serial

    @property
    def call_id(self) -> int:
        """64 bits, never 0: a W3C span id."""
        return ids.mix(self._assign_id())

    @property
    def parent_id(self) -> int | None:
        """The `call_id` of the call inside which this one was opened."""
        return None if self._parent_serial is None else ids.mix(self._parent_serial)

    @property
    def trace_id(self) -> int:
        """128 bits, never 0: a W3C trace id, the same for every call under one outermost call."""
        self._assign_id()
        return ids.mix(self._root_serial) << 64 | ids.mix(~self._root_serial)

    @property
    def started_at(self) -> float:
        """Unix seconds. A label only: durations never come from the wall clock."""
        return clock.wall_time_s(self._opened_at)

    @property
    def cost_usd(self) -> float | None:
        """Dollars, or None where the cost is unknown. Unknown is never 0."""
        nano = self._cost_nanousd
        return None if nano is None else nano / NANO

    @property
    def error(self) -> str:
        """The error's text, free of secrets, at most 256 characters; empty where there was none."""
        details = self._details
        if details is None or not details.raw_error:
            return ""
        return details.raw_error if details.redacted else redact.scrub(details.raw_error)

    @property
    def is_error(self) -> bool:
        """Whether this call counts towards the error rate."""
        return self.outcome in ERROR_OUTCOMES

    def as_dict(self) -> dict[str, Any]:
        """What is known of the call as plain data, for JSON; what says nothing is left out.

        Returns:
            Always `tool_name`, `outcome`, `duration_s`, `started_at` (Unix seconds), `call_id` and `trace_id` (as W3C
            writes them). Where there is one: `parent_id`, `error_type`, `error`, `tokens` (in all), `input_tokens`,
            `output_tokens`, `cached_tokens`, `cost_usd`, `cost_source`, `model`, `provider`, `cached`, `attempt` (from
            2), `first_item_s`, `items`, `arguments`, `result`, `tags`.
        """
        found: dict[str, Any] = {
            "tool_name": self.tool_name,
            "outcome": self.outcome,
            "duration_s": self.duration_s,
            "started_at": self.started_at,
            "call_id": f"{self.call_id:016x}",
            "trace_id": f"{self.trace_id:032x}",
        }
        if self.parent_id is not None:
            found["parent_id"] = f"{self.parent_id:016x}"
        if self._details is None:
            return found
        found |= {name: value for name in _TOLD_IF_SET if (value := getattr(self, name))}
        if self.cost_usd is not None:
            found["cost_usd"] = self.cost_usd
        if self.attempt > 1:
            found["attempt"] = self.attempt
        if self.tags:
            found["tags"] = dict(self.tags)
        return found

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
        """Say what the running call used. Tokens and costs of several calls to this add up; the rest is overwritten.

        Never raises: a figure that makes no sense (negative, NaN, text) is ignored and counted as invalid, and a
        record on a closed call is ignored and counted as late. Safe to call from several threads.

        Args:
            tokens: tokens that are not split into input and output.
            input_tokens: tokens sent to the model, cached ones included.
            output_tokens: tokens the model produced.
            cached_tokens: the part of `input_tokens` served from the provider's cache.
            cost: dollars.
            model: the model's name, as its price list spells it.
            provider: who serves it, such as `"openai"`.
            cached: whether your cache answered the whole call; then it costs 0.
            attempt: which try of a retried operation this is, from 1.
            **tags: your own labels; values that are not strings or numbers become text. Any other keyword is one, a
                misspelt figure, too: `Monitor.health` notes a number under a name such as `token`.
        """
        with _recording:
            if self.outcome != "open":
                Diagnostics.late_records += 1
                return
            details = self._ensure_details()
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
                details.tags = merge_tags(details.tags, tags)
        if self._admission is not None:
            self._admission.note(self)

    def fail(self, reason: str) -> None:
        """Mark this call as a failure though nothing is raised, for tools that return their errors."""
        with _recording:  # or what another thread records first is lost
            if self.outcome != "open":
                Diagnostics.late_records += 1
                return
            details = self._ensure_details()
            details.error_type = details.error_type or "ToolFailed"
            details.raw_error = plain_text(reason, MAX_ERROR_CHARS) or "failed"

    def __reduce__(self) -> tuple[Callable[..., ToolCall], tuple[type[ToolCall], dict[str, Any]]]:
        """As pickle and `copy.deepcopy` ask: without what ties the call to this process."""
        self._assign_id()
        tied = ("_token", "_admission", "kept")  # the last is a block's, which refers back to it
        said = {name: getattr(self, name) for name in self.__struct_fields__ if name not in tied}
        return _remade, (type(self), said)

    def _redact(self, scrub: Callable[[str, int], str]) -> None:
        """Take the secrets out, before any sink sees the call. The bus does so once, as the last change to it.

        Args:
            scrub: given a text and its greatest length, gives the text to show.
        """
        details = self._details
        if details is None or details.redacted:
            return
        if details.raw_error:
            details.raw_error = scrub(details.raw_error, MAX_ERROR_CHARS)
        if details.model is not None:
            details.model = scrub(details.model, MAX_LABEL_CHARS)
        if details.provider is not None:
            details.provider = scrub(details.provider, MAX_LABEL_CHARS)
        if details.tags:
            details.tags = scrub_tags(details.tags, scrub)
        details.redacted = True


_TOLD_IF_SET = (
    "error_type", "error", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_source", "model",
    "provider", "cached", "first_item_s", "items", "arguments", "result",
)  # fmt: skip


def _remade(kind: type[ToolCall], said: dict[str, Any]) -> ToolCall:
    return kind(**said)


def _said(name: str) -> property:
    return property(lambda call: getattr(call._details or NO_DETAILS, name), doc=f"See `CallDetails.{name}`.")


_INTERNAL = ("unsplit_tokens", "cost_nanousd", "saved_nanousd", "cache_write_1h_tokens", "audio_tokens")

for _name in (*CallDetails.__struct_fields__, "tokens"):
    # A property each, and no __getattr__: that would slow down every look at every field (30 ns on CPython 3.11).
    if _name not in ("raw_error", "redacted", "seen"):
        setattr(ToolCall, f"_{_name}" if _name in _INTERNAL else _name, _said(_name))


use_plain_setattr(ToolCall(""))

_recording = locks.new_rlock("recording on a call")
