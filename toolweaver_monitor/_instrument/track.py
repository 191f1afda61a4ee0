"""A block of code as a call: `track()`."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Never, cast, overload

import msgspec

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import NOOP_CALL
from toolweaver_monitor._core.context_tree import NO_KEY, ToolKey
from toolweaver_monitor._core.figure_words import FIGURES, READ_AS_RESULT, split_keywords, warn_of_misspelt
from toolweaver_monitor._core.sanitize import NANO, nanodollars
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor._instrument.hot_path import (
    append_call,
    ask_budgets,
    begin,
    finish,
    finish_with_error,
    get_current,
    is_complete,
    recover,
    reset_current,
    set_current,
)
from toolweaver_monitor._instrument.opening import BLOCK
from toolweaver_monitor._instrument.tool import ToolSpec, _specs, tool_for
from toolweaver_monitor.errors import ConfigurationError


@types.coroutine
def _return_none() -> Generator[None, None, None]:
    return
    yield


_DONE = cast("Coroutine[Any, Any, None]", _return_none())
"""A coroutine that has completed. Awaiting it, any number of times and anywhere, gives None at once, 60 ns faster than
a new coroutine that returns None.
"""
next(cast("Generator[None, None, None]", _DONE), None)


class ReusableBlock(msgspec.Struct, eq=False):
    """A block that is entered more than once, also inside itself or in several tasks."""

    _tool: ToolSpec
    _key: ToolKey
    _opened: tuple[ToolCall, ...] = ()
    """The calls of this block that may still be open, in the order in which they were opened."""
    _figures: dict[str, Any] | None = None
    """What each of its calls records when it opens."""

    def __enter__(self) -> ToolCall:
        """Open the call and return it, for `record()`."""
        if bus.active is None:
            return NOOP_CALL
        call = ToolCall(self._tool.name, "open", 0.0, monotonic_s())
        try:
            begin(call, self._tool, BLOCK, {}, self._key)
            self._opened = (*self._opened, call)
            if self._figures:
                call.record(**self._figures)
        except BaseException as error:  # an interrupt: the block has not begun
            finish_with_error(self._tool, call, error)
            raise
        return call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close the call. An exception of the block propagates."""
        self._close(error)

    def _close(self, error: BaseException | None) -> None:
        """Close the call that ends."""
        call = None
        try:
            call = self._find_ending()
            _finish_block(self._tool, call, error)
        except BaseException as interrupt:  # a Ctrl-C: the call is closed all the same
            call = call or self._find_ending()
            if call is not None:
                finish_with_error(self._tool, call, interrupt)
            raise
        self._opened = tuple(other for other in self._opened if other._token is not None)

    def _find_ending(self) -> ToolCall | None:
        """Return the call that ends: the current one, if it is one of this block, else the last one opened."""
        opened = [call for call in self._opened if call._token is not None]
        inner = get_current()
        return inner if inner in opened else opened[-1] if opened else None

    async def __aenter__(self) -> ToolCall:
        """Open the call and return it, for `record()`."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close the call. An exception of the block propagates."""
        self.__exit__(kind, error, traceback)

    def __call__(self, *_function: Never) -> None:
        """Raise: a block is not a decorator."""
        _reject_function(self._tool.name)


NO_NAME: Any = object()
MAX_BLOCK_KEYS = 4_096
_block_keys: dict[tuple[str, tuple[tuple[str, Any], ...]], ToolKey] = {}
"""Keys by the tool's name and its tags, for tags whose values are all strings."""


def _find_key(tool: ToolSpec, tags: dict[str, Any]) -> ToolKey:
    """Return the key of a tool with tags."""
    for value in tags.values():
        if type(value) is not str:
            warn_of_misspelt(tags)
            return tool.key.with_tags(tags)
    named = (tool.name, tuple(tags.items()))
    key = _block_keys.get(named)
    if key is None:
        key = tool.key.with_tags(tags)
        if len(_block_keys) < MAX_BLOCK_KEYS:
            _block_keys[named] = key
    return key


class Block(ToolCall, gc=False, eq=False):
    """A block that is entered once, as nearly all are. It is itself the call.

    It costs little more than a monitored function, because it is one object and not two, and its fields are stored as
    `_core/structs.py` describes: 0.1 us each. `begin` and `finish` are inlined, once for `with` and once for
    `async with`, since a call from one to the other takes 0.03 us; and the end of `async with` awaits no new coroutine:
    0.15 us in all.
    """

    _key: ToolKey = NO_KEY
    """The name and the tags of its calls."""
    _reusable: ReusableBlock | None = None
    """Opens the later calls of this block, and finds out which of all its calls ends."""

    def __enter__(self) -> ToolCall:
        """Open the call and return it, for `record()`."""
        policy = bus.active
        if policy is None:
            return NOOP_CALL
        around = get_current()
        if self._opened_at or policy.needs_slow_open or (around is not None and not around._opened_at):
            try:
                return self._enter_slow()
            except BaseException as error:
                self._abort(error)
                raise
        self._opened_at = monotonic_s()
        node = self._key.node
        if around is None and node.tree is policy.plain_tree:
            self._node = node
        else:
            if around is None:
                self._node = self._key.place(policy.tree)
            else:
                self._parent_serial = around._serial or around._assign_id()
                self._root_serial = around._root_serial
                self._node = (around._node or policy.tree.root).child(self._key)
            if policy.admit is not None:
                ask_budgets(policy.admit, self, None)
        try:
            append_call(self)
            self._token = set_current(self)
        except BaseException as error:  # an interrupt: the block has not begun
            finish_with_error(tool_for(self.tool_name), self, error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close the call. An exception of the block propagates."""
        token = self._token
        try:
            if (
                error is None
                and token is not None
                and self._reusable is None
                and (self._details is None or is_complete(self, token.old_value))
            ):
                self.duration_s = monotonic_s() - self._opened_at
                try:
                    reset_current(token)
                    self._token = None
                    self.outcome = "success"
                    for _ in bus.ticks:
                        break
                    else:
                        bus.apply_backpressure()
                except Exception as own:  # noqa: BLE001 - the block succeeded, and its user must see just that
                    recover(self, "success", own)
            else:
                self._exit_slow(error)
        except BaseException as interrupt:  # a Ctrl-C: the call is closed all the same
            self._abort(interrupt)
            raise

    async def __aenter__(self) -> ToolCall:
        """Open the call and return it, for `record()`."""
        policy = bus.active
        if policy is None:
            return NOOP_CALL
        around = get_current()
        if self._opened_at or policy.needs_slow_open or (around is not None and not around._opened_at):
            try:
                return self._enter_slow()
            except BaseException as error:
                self._abort(error)
                raise
        self._opened_at = monotonic_s()
        node = self._key.node
        if around is None and node.tree is policy.plain_tree:
            self._node = node
        else:
            if around is None:
                self._node = self._key.place(policy.tree)
            else:
                self._parent_serial = around._serial or around._assign_id()
                self._root_serial = around._root_serial
                self._node = (around._node or policy.tree.root).child(self._key)
            if policy.admit is not None:
                ask_budgets(policy.admit, self, None)
        try:
            append_call(self)
            self._token = set_current(self)
        except BaseException as error:  # an interrupt: the block has not begun
            finish_with_error(tool_for(self.tool_name), self, error)
            raise
        return self

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """Close the call. An exception of the block propagates."""
        token = self._token
        try:
            if (
                error is None
                and token is not None
                and self._reusable is None
                and (self._details is None or is_complete(self, token.old_value))
            ):
                self.duration_s = monotonic_s() - self._opened_at
                try:
                    reset_current(token)
                    self._token = None
                    self.outcome = "success"
                    for _ in bus.ticks:
                        break
                    else:
                        bus.apply_backpressure()
                except Exception as own:  # noqa: BLE001 - the block succeeded, and its user must see just that
                    recover(self, "success", own)
            else:
                self._exit_slow(error)
        except BaseException as interrupt:  # a Ctrl-C: the call is closed all the same
            self._abort(interrupt)
            raise
        return _DONE

    def __call__(self, *_function: Never) -> None:
        """Raise: a block is not a decorator."""
        _reject_function(self.tool_name)

    def _enter_slow(self) -> ToolCall:
        """Open a call inside another call, under a policy that takes more than the plain steps, or once more."""
        if not self._opened_at:
            self._opened_at = monotonic_s()
            return begin(self, tool_for(self.tool_name), BLOCK, {}, self._key)
        if self._reusable is None:
            self._reusable = ReusableBlock(tool_for(self.tool_name), self._key, (self,))
        return self._reusable.__enter__()

    def _exit_slow(self, error: BaseException | None) -> None:
        """Close the call of a block that raised or has details, or close another call of the same block."""
        if self._reusable is not None:
            self._reusable._close(error)
        elif self._token is not None:
            _finish_block(tool_for(self.tool_name), self, error)

    def _abort(self, interrupt: BaseException) -> None:
        """Close the call after an interrupt has struck while it was opening or closing."""
        if self._reusable is None and self._opened_at:
            finish_with_error(tool_for(self.tool_name), self, interrupt)


use_plain_setattr(Block(""))


def _reject_function(name: str) -> None:
    """Raise `ConfigurationError`: the `record()` of a decorated function would belong to no one call of it."""
    raise ConfigurationError(
        f"track() monitors a block: `with track({name!r}):`", hint=f"decorate a function with @monitored({name!r})"
    )


def _finish_block(tool: ToolSpec, call: ToolCall | None, error: BaseException | None) -> None:
    """Close the call of a block, if there is one, in whichever way it ended."""
    if call is None:
        return
    try:
        if error is None:
            finish(tool, call, None)
        else:
            finish_with_error(tool, call, error)
    except BaseException as interrupt:  # a Ctrl-C: the call is closed all the same
        finish_with_error(tool, call, interrupt)
        raise


@overload
def track(tool_name: str, /, **tags: Any) -> Block: ...


@overload
def track(*, name: str, **tags: Any) -> Block: ...


def track(tool_name: str = NO_NAME, /, **tags: Any) -> Block:
    """Monitor a block of code as one call of a tool.

    Write `with track("parse", customer="acme") as call:` or `async with ...`. Inside, `call.record(tokens=120,
    cost=0.002)` records what the call used, and `call.fail("no total")` marks it as failed without an exception.

    Args:
        tool_name: the tool's name, also as `name=` where it is not given by position. Anything but a name becomes
            `unnamed` and is counted as invalid.
        **tags: your own labels for this call. `tags={...}` gives several. `cost=` is what the block costs if it
            succeeds, in dollars, as for `monitored`. What `record()` takes as figures it is here, too: `tokens`,
            `input_tokens`, `output_tokens`, `cached_tokens`, `attempt`, `cost_usd`, `prompt_tokens`, `usage` and so on;
            `model` and `provider` beside such a figure are the call's own as well as tags.

    Returns:
        A context manager that returns the open `ToolCall`.
    """
    try:
        tool = _specs[tool_name]
    except (KeyError, TypeError):
        if tool_name is NO_NAME:
            if "name" not in tags:
                raise TypeError("track() needs the name of a tool; write track('ocr')") from None
            tool_name = tags.pop("name")
        tool = tool_for(tool_name)
    block = Block(tool.name)
    if tags and not _has_only_labels(tags):
        return _with_figures(block, tool, tags)
    block._key = _find_key(tool, tags) if tags else tool.key
    return block


_has_only_labels = frozenset({*FIGURES, *READ_AS_RESULT, "tags"}).isdisjoint
MAX_DECLARED = 256
_declared: dict[tuple[str, int], ToolSpec] = {}
"""Tools with the cost that `track(cost=)` declares. Costs beyond this number are no declarations, but worked out."""


def _with_figures(block: Block, tool: ToolSpec, keywords: dict[str, Any]) -> Block:
    """Return the block with a declared cost and with figures, which each of its calls records when it opens."""
    figures, tags = split_keywords(keywords)
    figures |= {name: tags.pop(name) for name in FIGURES if name in tags}
    figures |= {name: tags[name] for name in ("model", "provider") if name in tags and figures}
    cost = nanodollars(figures.pop("cost", None))
    if cost is not None:
        spec = _declared.get((tool.name, cost))
        if spec is None and len(_declared) < MAX_DECLARED:
            spec = _declared.setdefault((tool.name, cost), ToolSpec(tool.name, cost=cost / NANO))
        if spec is None:
            figures["cost"] = cost / NANO
        tool = spec or tool
    block._key = tool.key.with_tags(tags) if tags else tool.key
    warn_of_misspelt(tags)
    block._opened_at = monotonic_s()  # not to be opened itself
    block._reusable = ReusableBlock(tool, block._key, (), figures)
    return block
