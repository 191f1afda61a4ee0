"""The policy under which calls open and close: one frozen value, stored at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import force_setattr

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import ContextTree
from toolweaver_monitor._core.sanitize import NO_TAGS, TagValue
from toolweaver_monitor._text.safe_repr import ErrorTextSource


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The settings of the current setup that every call needs.

    Other threads open and close calls while `setup()` runs. They read `bus.policy` once, and so they see either the old
    policy or the new one, never a mixture.
    """

    on: bool = False
    """Whether calls are monitored at all."""
    tree: ContextTree = field(default_factory=ContextTree)
    """Where calls are opened."""
    tags: Mapping[str, TagValue] = NO_TAGS
    """Labels added to every call."""
    needs_tags: bool = False
    """Whether a budget must know the tags of a call before it runs."""
    capture: bool = False
    """Whether arguments and results are kept as text."""
    error_text: ErrorTextSource = "str"
    """Where the text of an exception comes from."""
    control_flow: tuple[type[BaseException], ...] = ()
    """Exceptions that are no errors of any tool."""
    read_results: bool = True
    """Whether results are searched for tokens and cost."""
    priced_tools: frozenset[str] = frozenset()
    """Tools to which the user's price table gives a price per call."""
    price: Callable[[ToolCall], int | None] | None = None
    """Returns the price of a call in nano-dollars, or None if no price is known."""
    admit: Callable[[ToolCall, int | None, bytes | None], None] | None = None
    """Asks the budgets before a call starts. Gets the call, its cost in nano-dollars, if known, and a digest of its
    arguments, if that matters, and raises if a budget rejects it."""
    charge: Callable[[ToolCall], None] | None = None
    """Charges the budgets with a call that was recorded by hand: it has run, and is not rejected."""
    digest: Callable[[str, Sequence[str], tuple[Any, ...], Mapping[str, Any]], bytes | None] | None = None
    """Makes a digest of a call's arguments, for budgets that limit repeats."""
    on_first_call: Callable[[], None] | None = None
    """Runs when the next call opens. Set in a forked child, whose first call starts the dispatcher."""
    number_attempt: Callable[[ToolCall], None] | None = None
    """Gets each call that opens. Set while an operation is retried whose last attempt has failed."""
    needs_slow_open: bool = False
    """Whether opening a call takes more than the plain steps. Computed from the fields above."""
    plain_tree: ContextTree | None = None
    """The tree if opening an outermost call takes its place in there and nothing else. Computed, too."""

    def __post_init__(self) -> None:
        rare = self.on_first_call or self.digest or self.number_attempt
        slow = self.tags or self.needs_tags or self.capture or self.priced_tools or rare
        force_setattr(self, "needs_slow_open", bool(slow))
        force_setattr(self, "plain_tree", None if slow or self.admit else self.tree)
