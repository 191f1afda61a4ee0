"""`track()`: how does a block of code become a call?"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Never, cast

import msgspec

from toolweaver_monitor._bus.bus import HIGH_WATER, bus, inbox
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.context import NOOP_CALL, current
from toolweaver_monitor._core.sanitize import merge_tags
from toolweaver_monitor._core.structs import use_plain_setattr
from toolweaver_monitor._instrument.hot_path import ask_budgets, begin, finish_with_error, leave, recover
from toolweaver_monitor._instrument.opening import BLOCK
from toolweaver_monitor._instrument.tool import Tool, known, named
from toolweaver_monitor.errors import ConfigurationError

_current_call = current.get
_set_current = current.set
_restore = current.reset
_append = inbox.append


@types.coroutine
def _nothing() -> Generator[None, None, None]:
    return
    yield


_DONE = cast("Coroutine[Any, Any, None]", _nothing())
"""Has run to its end, so that awaiting it, any number of times and anywhere, gives None at once: 60 ns less than a
coroutine that only says so.
"""
next(cast("Generator[None, None, None]", _DONE), None)


class ReusableBlock(msgspec.Struct, eq=False):
    """A block with tags, or one that is entered more than once, also inside itself or in several tasks."""

    tool: Tool
    tags: dict[str, Any]
    opened: tuple[ToolCall, ...] = ()
    """The calls of this block that may still be open, in the order they were opened."""

    def __enter__(self) -> ToolCall:
        """Open the call and give it, for `record()`."""
        if bus.active is None:
            return NOOP_CALL
        call = ToolCall(self.tool.name, "open", 0.0, monotonic_s())
        try:
            begin(call, self.tool, BLOCK, self.tags)
            self.opened = (*self.opened, call)
            if self.tags:
                details = call._ensure_details()
                details.tags = merge_tags(details.tags, self.tags)
        except BaseException as error:  # an interrupt: the block has not begun
            finish_with_error(self.tool, call, error)
            raise
        return call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close the call; what the block raised goes on."""
        self.close(error)

    def close(self, error: BaseException | None) -> None:
        """Close the call that ends."""
        call = None
        try:
            call = self.ending()
            _close(self.tool, call, error)
        except BaseException as interrupt:  # a Ctrl-C: it is closed all the same
            call = call or self.ending()
            if call is not None:
                finish_with_error(self.tool, call, interrupt)
            raise
        self.opened = tuple(other for other in self.opened if other._token is not None)

    def ending(self) -> ToolCall | None:
        """The innermost call of this context, if it is one of these, else the last one opened."""
        opened = [call for call in self.opened if call._token is not None]
        inner = _current_call()
        return inner if inner in opened else opened[-1] if opened else None

    async def __aenter__(self) -> ToolCall:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """As `__exit__`."""
        self.__exit__(kind, error, traceback)

    def __call__(self, *_function: Never) -> None:
        """Refuse."""
        _refuse(self.tool.name)


class Block(ToolCall, gc=False, eq=False):
    """A block without tags, entered once, as nearly all are: it is itself the call.

    What makes it cost little more than a watched function: it is one object and not two, and its fields are stored as
    `records` says, 0.1 us each. `begin` and `leave` are written out, once for `with` and, since a call of one by the
    other takes 0.03 us, once for `async with`, whose end awaits no coroutine: 0.15 us in all.
    """

    kept: ReusableBlock | None = None
    """Opens its later calls, and finds which of all ends."""

    def __enter__(self) -> ToolCall:
        """Open the call and give it, for `record()`."""
        policy = bus.active
        if policy is None:
            return NOOP_CALL
        if not policy.needs_slow_open and not self._opened_at and _current_call() is None:
            self._opened_at = monotonic_s()
            if policy.admit is not None:
                ask_budgets(policy.admit, self, None)
            try:
                _append(self)
                self._token = _set_current(self)
            except BaseException as error:  # an interrupt: the block has not begun
                finish_with_error(named(self.tool_name), self, error)
                raise
            return self
        try:
            call = self.enter_slowly()
        except BaseException as error:
            self._abort(error)
            raise
        return call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close the call; what the block raised goes on."""
        token = self._token
        try:
            if error is None and token is not None and self._details is None and self.kept is None:
                self.duration_s = monotonic_s() - self._opened_at
                try:
                    _restore(token)
                    self._token = None
                    self.outcome = "success"
                    if len(inbox) > HIGH_WATER:
                        bus.apply_backpressure()
                except Exception as own:  # noqa: BLE001 - the block succeeded, and its user must see just that
                    recover(self, "success", own)
            else:
                self.exit_slowly(error)
        except BaseException as interrupt:  # a Ctrl-C: it is closed all the same
            self._abort(interrupt)
            raise

    async def __aenter__(self) -> ToolCall:
        """As `__enter__`."""
        policy = bus.active
        if policy is None:
            return NOOP_CALL
        if not policy.needs_slow_open and not self._opened_at and _current_call() is None:
            self._opened_at = monotonic_s()
            if policy.admit is not None:
                ask_budgets(policy.admit, self, None)
            try:
                _append(self)
                self._token = _set_current(self)
            except BaseException as error:
                finish_with_error(named(self.tool_name), self, error)
                raise
            return self
        try:
            call = self.enter_slowly()
        except BaseException as error:
            self._abort(error)
            raise
        return call

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """As `__exit__`."""
        token = self._token
        try:
            if error is None and token is not None and self._details is None and self.kept is None:
                self.duration_s = monotonic_s() - self._opened_at
                try:
                    _restore(token)
                    self._token = None
                    self.outcome = "success"
                    if len(inbox) > HIGH_WATER:
                        bus.apply_backpressure()
                except Exception as own:  # noqa: BLE001 - as above
                    recover(self, "success", own)
            else:
                self.exit_slowly(error)
        except BaseException as interrupt:
            self._abort(interrupt)
            raise
        return _DONE

    def __call__(self, *_function: Never) -> None:
        """Refuse."""
        _refuse(self.tool_name)

    def enter_slowly(self) -> ToolCall:
        """As `__enter__`, inside another call, while something special is asked of calls, or again."""
        if not self._opened_at:
            self._opened_at = monotonic_s()
            return begin(self, named(self.tool_name), BLOCK, {})
        if self.kept is None:
            self.kept = ReusableBlock(named(self.tool_name), {}, (self,))
        return self.kept.__enter__()

    def exit_slowly(self, error: BaseException | None) -> None:
        """As `__exit__`, where the block raised, something was said of it, or it may not be this call that ends."""
        if self.kept is not None:
            self.kept.close(error)
        elif self._token is not None:
            _close(named(self.tool_name), self, error)

    def _abort(self, interrupt: BaseException) -> None:
        """As `exit_slowly`, where an interrupt has struck the opening or the closing itself."""
        if self.kept is None and self._opened_at:
            finish_with_error(named(self.tool_name), self, interrupt)


use_plain_setattr(Block(""))

Tracked = Block | ReusableBlock


def _refuse(name: str) -> None:
    """Refuse to be a decorator: which call would its `record()` be for?"""
    raise ConfigurationError(
        f"track() watches a block: `with track({name!r}):`; a function is decorated with @monitored({name!r})"
    )


def _close(tool: Tool, call: ToolCall | None, error: BaseException | None) -> None:
    """Close the call of a block, if there is one, whichever way it ended."""
    if call is None:
        return
    try:
        if error is None:
            leave(tool, call, None)
        else:
            finish_with_error(tool, call, error)
    except BaseException as interrupt:  # a Ctrl-C: it is closed all the same
        finish_with_error(tool, call, interrupt)
        raise


def track(tool_name: str, /, **tags: Any) -> Tracked:
    """Watch a block of code as one call of a tool.

    `with track("parse", customer="acme") as call:` or `async with ...`; `call.record(tokens=120, cost=0.002)` says what
    it used, `call.fail("no total")` that it failed without an exception.

    Args:
        tool_name: the tool's name; anything that is not a name becomes `unnamed` and is counted as invalid.
        **tags: your own labels for this call.

    Returns:
        A context manager that gives the open `ToolCall`.
    """
    try:
        tool = known[tool_name]
    except (KeyError, TypeError):
        tool = named(tool_name)
    if tags:
        return ReusableBlock(tool, tags)
    return Block(tool.name)
