"""`ToolCall`: one run of one tool.

It is opened when the tool starts, closed once, published, and never changed after that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from toolweaver_monitor._core import clock, ids, locks
from toolweaver_monitor._core.context_tree import ContextTree, Node, ToolKey, tool_key
from toolweaver_monitor._core.details import (
    NO_DETAILS,
    CallDetails,
    CompactDetails,
    CostSource,
    InsideDetails,
    usage_details,
)
from toolweaver_monitor._core.figure_words import has_no_figures, take_figures, warn_of_misspelt
from toolweaver_monitor._core.sanitize import (
    MAX_ERROR_CHARS,
    MAX_FAST,
    NANO,
    NO_TAGS,
    Diagnostics,
    TagValue,
    plain_text,
    token_count,
)
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor._text import redact
from toolweaver_monitor._text.guesses import NAMES_OF_CALLS, answer_guesses

Outcome = Literal[
    "open", "success", "failure", "timeout", "cancelled", "interrupted", "rejected", "abandoned", "suppressed"
]
"""How a call ended: `open` while it runs, `suppressed` for a call that is never published."""

ENDED: tuple[Outcome, ...] = ("success", "failure", "timeout", "cancelled", "interrupted", "rejected", "abandoned")
TOOL_ERROR = "tool_error"
"""The type of errors that are no exceptions: the tool told them. OpenTelemetry's conventions for MCP call them so."""
ERROR_OUTCOMES: frozenset[str] = frozenset({"failure", "timeout"})
"""The outcomes that count as errors. Only these and `success` count in error rates."""
UNRATED_OUTCOMES = tuple(outcome for outcome in ENDED if outcome not in {"success", *ERROR_OUTCOMES})
"""The outcomes of calls that are neither an error nor a success."""


detached = ContextTree()
"""The places of calls that were not opened by this library, such as those that arrived from another process."""


if TYPE_CHECKING:
    from toolweaver_monitor._core.details import DetailField


class ToolCall(msgspec.Struct, gc=False, eq=False):
    """One run of one tool. Sinks receive it after it has ended, and only read it.

    The fields of `CallDetails` can be read on it as well.
    """

    # Made for speed: it holds only what every call needs. `gc=False` because nothing in it can refer back to it once it
    # has closed: values are text, numbers, or flat mappings of those (see `record`).

    tool_name: str
    outcome: Outcome = "open"
    duration_s: float = 0.0
    """Seconds, from the monotonic clock."""
    _opened_at: float = 0.0
    """Seconds of the monotonic clock. `started_at` is the wall clock's label for the same moment."""
    _node: Node | None = None
    """Its place in the calling-context tree, with its tags and its declared cost."""
    _parent_serial: int | None = None
    _root_serial: int = 0
    _details: CallDetails | None = None
    _serial: int = 0
    """0 until something needs the call's number: most calls never get one."""
    _token: Token[ToolCall | None] | None = None
    """Restores the context in which the call was opened. None once it has closed."""
    _admission: Any = None
    """What budgets set aside for this call. It stays until the dispatcher enriches the call."""

    if TYPE_CHECKING:  # the properties made below
        _unsplit_tokens: ClassVar[DetailField[int]]
        input_tokens: ClassVar[DetailField[int]]
        output_tokens: ClassVar[DetailField[int]]
        cached_tokens: ClassVar[DetailField[int]]
        cache_write_tokens: ClassVar[DetailField[int]]
        _cache_write_1h_tokens: ClassVar[DetailField[int]]
        _audio_tokens: ClassVar[DetailField[tuple[int, int, int]]]
        _rare_parts: ClassVar[DetailField[dict[str, int] | None]]
        _service_tier: ClassVar[DetailField[str | None]]
        tokens: ClassVar[DetailField[int]]
        _saved_nanousd: ClassVar[DetailField[int]]
        model: ClassVar[DetailField[str | None]]
        provider: ClassVar[DetailField[str | None]]
        cached: ClassVar[DetailField[bool]]
        attempt: ClassVar[DetailField[int]]
        error_type: ClassVar[DetailField[str | None]]
        first_item_s: ClassVar[DetailField[float | None]]
        items: ClassVar[DetailField[int | None]]
        arguments: ClassVar[DetailField[str | None]]
        result: ClassVar[DetailField[str | None]]

    def _ensure_details(self) -> CallDetails:
        """Return the details to be filled in, and make them if the call has none yet."""
        details = self._details
        if type(details) is CallDetails:
            return details
        if type(details) is CompactDetails:
            self._widen(details)
        details = CallDetails()
        lean = self._details  # no other thread runs from here to the store: see `_add_used`
        if lean.__class__ is CallDetails:
            return lean
        if lean.__class__ is CompactDetails:  # recorded at this moment
            return self._ensure_details()
        if lean is not None:
            details.unsplit_tokens = lean.unsplit_tokens
            details.input_tokens = lean.input_tokens
            details.output_tokens = lean.output_tokens
            details.cached_tokens = lean.cached_tokens
            details.cost_nanousd = lean.cost_nanousd
            details.cost_source = lean.cost_source
            details.model = lean.model
            details.provider = lean.provider
            details.inside = lean.inside
        self._details = details
        return details

    def _widen(self, details: CompactDetails) -> None:
        """Replace details that are fixed by such as have room for more."""
        wide = details.widened()
        if self._details is details:
            self._details = wide

    def _add_used(self, used: CallDetails) -> None:
        """Add what was recorded to the details of the call.

        These are plain loads and stores, with no call or loop in between. Under the GIL other threads and signal
        handlers start only at those (CPython 3.11 to 3.13), so of several that record at once none is lost.
        """
        details = self._details
        if type(details) is CompactDetails:
            self._widen(details)
        elif type(details) is InsideDetails:
            self._ensure_details()
        if type(used) is CompactDetails:
            used = used.widened()
        details = self._details
        if details is None:
            self._details = used
            return
        if used.model is not None and details.model not in (None, used.model):
            is_mixed = details.tokens and used.tokens
            details = self._ensure_details()  # which no other thread replaces
            if is_mixed:
                details.rare_parts = {**(details.rare_parts or {}), "other_units": 1}
        details.unsplit_tokens += used.unsplit_tokens
        details.input_tokens += used.input_tokens
        details.output_tokens += used.output_tokens
        details.cached_tokens += used.cached_tokens
        if used.cost_nanousd is not None:
            details.cost_nanousd = used.cost_nanousd + (details.cost_nanousd or 0)
            details.cost_source = "reported"
        if used.model is not None:
            details.model = used.model
        if used.provider is not None:
            details.provider = used.provider

    def _assign_id(self) -> int:
        """Return this call's serial, and assign one if it has none."""
        if not self._serial:
            root = self._root_serial  # known inside a span
            serial = int(root) if root and self._parent_serial is None else next(ids.serials)
            if not self._serial:  # no other thread runs from here to the stores: see `_add_used`
                self._root_serial = self._root_serial or serial
                self._serial = serial
        return self._serial

    def _set_parent(self, parent: ToolCall) -> None:
        """Make this call a child of the one around it."""
        self._parent_serial = parent._assign_id()
        self._root_serial = parent._root_serial

    def _add_tags(self, tags: Mapping[str, object]) -> None:
        """Move the running call to the place of the same tool with these tags."""
        if not tags:
            return
        node = self._node or detached.root.child(tool_key(self.tool_name))
        # With a serial it may have calls inside.
        self._node = (node.parent or node.tree.root).child(node.key.with_tags(tags, is_late=bool(self._serial)))
        node.tree.on_tags(self)

    @property
    def _own_tags(self) -> Mapping[str, TagValue]:
        """The call's own labels as they were given, secrets included."""
        return NO_TAGS if self._node is None else self._node.key.tags

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """The call's own labels, those of its tool and of `setup()` among them."""
        return NO_TAGS if self._node is None else self._node.key.shown_tags()

    @property
    def _cost_nanousd(self) -> int | None:
        """Nano-dollars, or None if the cost is unknown."""
        if self._details is not None:
            return self._details.cost_nanousd
        return self._node.key.cost_nanousd if self._node is not None and self.outcome == "success" else None

    @property
    def cost_source(self) -> CostSource | None:
        """Where the cost comes from: `reported` by the code or the result, `declared` on the decorator, `priced`."""
        if self._details is not None:
            return self._details.cost_source
        return None if self._cost_nanousd is None else "declared"

    @property
    def call_id(self) -> int:
        """64 bits, never 0: a W3C span id."""
        return ids.mix(self._assign_id())

    @property
    def parent_id(self) -> int | None:
        """The `call_id` of the call inside which this one was opened; None for an outermost call."""
        return None if self._parent_serial is None else ids.mix(self._parent_serial)

    @property
    def trace_id(self) -> int:
        """128 bits, never 0: a W3C trace id, shared by every call under one outermost call.

        With the sink `"otlp"` it is that of the span of OpenTelemetry inside which the outermost call ran, if any.
        """
        self._assign_id()
        return ids.trace_of(self._root_serial)

    @property
    def started_at(self) -> float:
        """Unix seconds at which the call was opened. A label only: durations never come from the wall clock."""
        return clock.wall_time_s(self._opened_at)

    @property
    def cost_usd(self) -> float | None:
        """Dollars, or None if the cost is unknown. Unknown is never 0."""
        nano = self._cost_nanousd
        return None if nano is None else nano / NANO

    @property
    def error(self) -> str:
        """The error's text without secrets, at most 256 characters; empty if there was no error."""
        details = self._details
        if details is None or not details.raw_error:
            return ""
        return details.raw_error if details.redacted else redact.scrub(details.raw_error)

    @property
    def is_error(self) -> bool:
        """Whether this call counts as an error in the error rate."""
        return self.outcome in ERROR_OUTCOMES

    def as_dict(self) -> dict[str, Any]:
        """Return the call as plain data for JSON, without what is unknown or empty.

        Returns:
            Always `tool_name`, `outcome`, `duration_s` (seconds), `started_at` (Unix seconds), and `call_id` and
            `trace_id` (in the hexadecimal form of W3C). If the call has one: `parent_id`, `error_type`, `error`,
            `tokens` (in total), `input_tokens`, `output_tokens`, `cached_tokens`, `cost_usd`, `cost_source`, `model`,
            `provider`, `cached`, `attempt` (from 2), `first_item_s`, `items`, `arguments`, `result`, `tags`.
        """
        shown: dict[str, Any] = {
            "tool_name": self.tool_name,
            "outcome": self.outcome,
            "duration_s": self.duration_s,
            "started_at": self.started_at,
            "call_id": f"{self.call_id:016x}",
            "trace_id": f"{self.trace_id:032x}",
        }
        if self.parent_id is not None:
            shown["parent_id"] = f"{self.parent_id:016x}"
        shown |= {name: value for name in _SHOWN_IF_SET if (value := getattr(self, name))}
        if self.cost_usd is not None:
            shown["cost_usd"] = self.cost_usd
        if self.attempt > 1:
            shown["attempt"] = self.attempt
        if self.tags:
            shown["tags"] = dict(self.tags)
        return shown

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
        **tags: Any,
    ) -> None:
        """Record what the running call used. Tokens and costs add up over several records; the rest is overwritten.

        Never raises. A value that makes no sense (negative, NaN, text) is ignored and counted as invalid. A record on a
        closed call is ignored and counted as late. Safe to call from several threads.

        Args:
            tokens: tokens that are not split into input and output.
            input_tokens: tokens sent to the model, cached ones included.
            output_tokens: tokens produced by the model.
            cached_tokens: the part of `input_tokens` served from the provider's cache.
            cost: dollars.
            model: the model's name, as its price list spells it. With tokens of two models a call has no price: give
                each its own `track` block, or the cost.
            provider: the name of the service, such as `"openai"`.
            cached: whether your own cache answered the whole call, which then costs 0.
            attempt: the number of this try of a retried operation, from 1.
            **tags: your own labels; values that are not strings or numbers become text. `tags={...}` gives several.
                Figures may have their names in results: `cost_usd`, `prompt_tokens`, `completion_tokens`,
                `total_tokens`, `tokens_used`, and `usage=response.usage` with all of them. Of a figure that one record
                tells twice the argument above counts, then `usage=`, then the others. Every other keyword is a tag,
                also a misspelt figure: a number under a name such as `token` is a warning in the log and a problem in
                `Monitor.health`.
        """
        if self.outcome != "open":
            Diagnostics.late_records += 1
            return
        used: CallDetails
        if (
            type(cost) is float and 0.0 <= cost <= 1e6 and not tags and self._details is None
            and (tokens is None or (type(tokens) is int and 0 <= tokens <= MAX_FAST))
            and input_tokens is output_tokens is cached_tokens is None and model is provider is None
        ):  # fmt: skip
            used = CompactDetails(tokens or 0, cost)
        else:
            used = usage_details(tokens, input_tokens, output_tokens, cached_tokens, cost, model, provider)
        named = used.model
        if named is not None and tags and not has_no_figures(tags):
            used.model = None  # it is that of the figures which follow
        if self._details is None:  # no other thread runs from here to the store: see `_add_used`
            self._details = used
        else:
            self._add_used(used)
        if cached is not None:
            self._ensure_details().cached = cached is True
        if attempt is not None:
            self._ensure_details().attempt = max(1, token_count(attempt))
        if tags:
            with _recording:  # what follows takes more than one step
                told = (tokens, input_tokens, output_tokens, cached_tokens, used.cost_nanousd, named, used.provider)
                tags = take_figures(self, tags, told)
                self._add_tags(tags)
        if self._admission is not None:
            self._admission.note(self)
        if tags:
            warn_of_misspelt(tags)

    def budget_left(self) -> float | None:
        """Return the dollars that the budgets of this call have left for it and for calls inside it.

        Never raises. What other running calls have set aside is not left. An agent can choose a cheaper tool before an
        expensive one is rejected.

        Returns:
            Dollars of the budget with the least left, at least 0.0. None if no budget in dollars applies to this call,
            and outside any call.
        """
        left = None if self._admission is None else self._admission.left()
        return None if left is None else max(0, left) / NANO

    def fail(self, reason: str) -> None:
        """Mark this call as a failure although nothing is raised. For tools that return their errors.

        Never raises. On a closed call it is ignored and counted as late.

        Args:
            reason: the text of the error; secrets are removed from it, and at most 256 characters are shown.
        """
        if self.outcome != "open":
            Diagnostics.late_records += 1
            return
        details = self._ensure_details()
        details.error_type = details.error_type or TOOL_ERROR
        details.raw_error = plain_text(reason, MAX_ERROR_CHARS) or "failed"

    def __reduce__(self) -> tuple[Callable[..., ToolCall], tuple[type[ToolCall], dict[str, Any], Any]]:
        """Support pickle and `copy.deepcopy`, without the fields that tie the call to this process."""
        self._assign_id()
        tied = ("_token", "_admission", "_node", "_key", "_reusable")  # the last ones are fields of a block
        values = {name: getattr(self, name) for name in self.__struct_fields__ if name not in tied}
        place = [] if self._node is None else [node.key for node in self._node.upwards()]
        return _rebuild, (type(self), values, place)

    def __repr__(self) -> str:
        if self.outcome == "open":
            return f"<ToolCall {self.tool_name!r}: open>"
        cost = "" if self.cost_usd is None else f", ${self.cost_usd:.6g}"
        return f"<ToolCall {self.tool_name!r}: {self.outcome} in {self.duration_s:.6f} s{cost}>"

    def _redact(self, scrub: Callable[[str, int], str]) -> None:
        """Remove secrets from the call's texts. The bus does so once, before any sink sees the call.

        Args:
            scrub: returns the text to show, given a text and the most characters to show of it.
        """
        if self._details is not None and not self._details.redacted:
            self._details.redact(scrub)


_SHOWN_IF_SET = (
    "error_type", "error", "tokens", "input_tokens", "output_tokens", "cached_tokens", "cost_source", "model",
    "provider", "cached", "first_item_s", "items", "arguments", "result",
)  # fmt: skip


def _rebuild(kind: type[ToolCall], values: dict[str, Any], place: Sequence[ToolKey] = ()) -> ToolCall:
    call = kind(**values)
    for key in reversed(place):
        call._node = (call._node or detached.root).child(key)
    return call


def _detail_property(name: str) -> property:
    return property(lambda call: getattr(call._details or NO_DETAILS, name), doc=f"See `CallDetails.{name}`.")


_INTERNAL = ("unsplit_tokens", "saved_nanousd", "cache_write_1h_tokens", "audio_tokens", "rare_parts", "service_tier")

for _name in (*CallDetails.__struct_fields__, "tokens"):
    # A property each instead of one __getattr__, which would slow down every read of every field (30 ns, CPython 3.11).
    if _name not in (
        "raw_error", "redacted", "inside", "is_repeat", "has_cost_of_result", "holds_attempts", "is_of_inside",
        "cost_nanousd", "cost_source"):  # fmt: skip
        setattr(ToolCall, f"_{_name}" if _name in _INTERNAL else _name, _detail_property(_name))


answer_guesses(ToolCall, NAMES_OF_CALLS)
use_plain_setattr(ToolCall(""))

_recording = locks.new_rlock("recording on a call")

if not locks.HAS_GIL:
    for _name in ("_assign_id", "record", "fail"):
        setattr(ToolCall, _name, locks.locked(_recording, getattr(ToolCall, _name)))
