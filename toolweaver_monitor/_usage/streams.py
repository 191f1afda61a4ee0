"""The usage of a stream, collected from its items.

Providers send the usage of a stream in its last chunk, or in several chunks that each cover the answer so far: of
those, the largest counts. A stream may carry several answers, which add up; `boundaries` tells where one ends. Values
at the top level of a plain dict (a cost, tokens) and those of LangChain's chunks are increments, and add up.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from toolweaver_monitor._core.sanitize import EXACT, nanodollars
from toolweaver_monitor._usage import boundaries
from toolweaver_monitor._usage.fields import read_fields
from toolweaver_monitor._usage.readers import find_reader
from toolweaver_monitor._usage.usage import COUNT_FIELDS, Usage, checked


class StreamUsage:
    """The usage of one stream, collected item by item."""

    __slots__ = ("_completed", "_current", "_has_begun", "_has_ended", "_kind", "_last", "_response_id")

    def __init__(self) -> None:
        self._completed: Usage | None = None
        """The sum of all increments and of the answers that have ended."""
        self._current: Usage | None = None
        """The largest values of the answer that is running."""
        self._last: Usage | None = None
        """The usage of the last item that carried any."""
        self._response_id: str | None = None
        self._kind: boundaries.Kind = "chunk"
        """The kind of the last item with a usage."""
        self._has_ended = False
        """Whether an item said that the answer has ended."""
        self._has_begun = False
        """Whether an item said since then that another one begins."""

    def observe(self, item: object, *, is_last: bool = False) -> bool:
        """Add the usage of the next item, and return whether it carries any.

        Costs one dict lookup if items of this type carry no usage.

        Args:
            item: the item.
            is_last: whether it is the very object that carried usage last: its figures count again if they changed.
        """
        reader = find_reader(type(item))
        usage = reader(item) if reader is not None else None
        if usage is None:
            if self._current is not None and reader is not None and (fields := read_fields(item)) is not None:
                self._has_begun = self._has_begun or boundaries.is_begin_mark(fields)
                self._has_ended = self._has_ended or boundaries.is_end_mark(fields)
            return False
        if is_last and usage == self._last:
            return True
        self._last = usage
        if usage.increment:
            self._completed = add_usage(self._completed, usage)
            return True
        fields = read_fields(item) or {}
        response_id = boundaries.read_response_id(fields)
        item_kind = boundaries.kind_of(fields)
        current = self._current
        if current is None:
            self._current = usage
        elif item_kind != "first" and usage.cost is None and not any(_counts(usage)):
            if None in (current.model, current.provider, current.service_tier):  # it names these, as most chunks do
                self._current = _combine(current, usage, max)
            return True
        elif self._has_begun or self._begins_answer(current, usage, response_id, item_kind):
            self._completed = add_usage(self._completed, self._current)
            self._current = usage
            self._response_id = None
        else:
            self._current = _combine(current, usage, max)
        self._response_id = response_id or self._response_id
        self._kind, self._has_begun = item_kind, False
        self._has_ended = item_kind == "last" or boundaries.is_end_mark(fields)
        return True

    def add(self, usage: Usage, *, is_last: bool = False) -> None:
        """Add the usage of an item as a callable of the user has read it: it says itself whether it is an increment."""
        usage = checked(usage)
        if is_last and usage == self._last:
            return
        self._last = usage
        if usage.increment:
            self._completed = add_usage(self._completed, usage)
        else:
            self._current = usage if self._current is None else _combine(self._current, usage, max)

    def _begins_answer(self, current: Usage, usage: Usage, response_id: str | None, kind: boundaries.Kind) -> bool:
        """Return whether an item belongs to another answer than the one before it."""
        has_ids = response_id is not None and self._response_id is not None
        if has_ids and response_id == self._response_id:
            return False
        if kind == "first":
            return True
        repeats = _counts(usage) == _counts(current)
        if kind == "answer":
            return has_ids or not repeats or self._kind == "answer"
        if kind == "continued":
            return False
        if self._has_ended or self._kind == "answer":
            return has_ids or not repeats
        if has_ids:  # a gateway that gives each chunk an id of its own repeats the input, and the output grows
            return usage.input_tokens != current.input_tokens or usage.output_tokens < current.output_tokens
        return 0 < usage.output_tokens < current.output_tokens or 0 < usage.input_tokens < current.input_tokens

    def total(self) -> Usage | None:
        """Return the usage of the stream so far, or None if no item has reported any."""
        return add_usage(self._completed, self._current)


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return the sum of both. None stands for no usage.

    Of two models or service tiers, the tokens of the first are not split, and the cost is unknown: the prices of the
    second do not apply to them. If one used tokens and says no cost, the cost of the other is not that of both.
    """
    if one is None or other is None:
        return one or other
    if (one.cost is None) != (other.cost is None) and any(_counts(one)) and any(_counts(other)):
        one, other = msgspec.structs.replace(one, cost=None), msgspec.structs.replace(other, cost=None)
    is_other_model = one.model != other.model and None not in (one.model, other.model)
    if (is_other_model or one.service_tier != other.service_tier) and any(_counts(one)) and any(_counts(other)):
        split = dict.fromkeys(COUNT_FIELDS, 0)
        tokens = one.tokens + one.input_tokens + one.output_tokens
        one = msgspec.structs.replace(one, **{**split, "tokens": tokens, "other_units": 1}, model=None)
    return _combine(one, other, lambda first, second: first + second)


def _counts(usage: Usage) -> tuple[int, ...]:
    return tuple(getattr(usage, name) for name in COUNT_FIELDS)


def _combine(one: Usage, other: Usage, join: Callable[[int, int], int]) -> Usage:
    counts: dict[str, Any] = {name: join(getattr(one, name), getattr(other, name)) for name in COUNT_FIELDS}
    first, second = nanodollars(one.cost), nanodollars(other.cost)  # integers join without rounding
    cost = second if first is None else first if second is None else join(first, second)
    return msgspec.structs.replace(
        other,
        model=other.model or one.model,
        provider=other.provider or one.provider,
        cached=other.cached and one.cached,
        service_tier=other.service_tier or one.service_tier,
        cost=None if cost is None else EXACT.scaleb(Decimal(cost), -9),
        **counts,
    )
