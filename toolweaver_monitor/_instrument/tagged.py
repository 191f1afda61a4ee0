"""Tags for all calls inside a block or a function, without a call of its own: `tagged()`.

Inside, the current call of the context is a `TagScope`, which stands for the call around it. It gives new calls that
call as their parent, and a place in the calling-context tree with the tags. So the path of a call is as it was, and
costs nothing where no tags are set.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context import SUPPRESSED, TagScope, call_around, current
from toolweaver_monitor._core.context_tree import ContextTree, Node, ToolKey, tool_key
from toolweaver_monitor._core.sanitize import NO_TAGS, TagValue, merge_tags
from toolweaver_monitor._instrument.hot_path import restore
from toolweaver_monitor.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
MAX_KEPT_PLACES = 1_024
"""Places of outermost calls that are kept for the next block with the same tags."""


class TaggedPlace(Node):
    """Where calls inside a block are opened: below the call around the block, with the tags of the block.

    It is no node of the tree itself. Its `children` stay empty, so that every lookup comes to `child`.
    """

    __slots__ = ("_known", "_outer")

    def __init__(self, outer: Node | None, tags: Mapping[str, TagValue]) -> None:
        tree = bus.policy.tree
        nearer = tags if outer is None else {**outer.tags, **tags}
        super().__init__(tree, tool_key("").with_tags(tags), tree.root, nearer)
        self._outer = outer
        self._known: tuple[ContextTree, dict[ToolKey, Node]] = tree, {}

    def child(self, key: ToolKey) -> Node:
        """Return the node of a tool inside. Its own tags win over those of the block, and these over those of setup."""
        policy = bus.policy
        tree, known = self._known
        if tree is not policy.tree:  # there was another `setup()`
            self._known = tree, known = policy.tree, {}
        node = known.get(key)
        if node is None:
            own, of_setup = key.tags, policy.tags
            added = {n: value for n, value in self.key.tags.items() if n not in own or own[n] == of_setup.get(n)}
            node = (self._outer or tree.root).child(key.with_tags(added) if added else key)
            if len(known) < MAX_KEPT_PLACES:
                known[key] = node
        return node


_places: dict[tuple[object, ...], TaggedPlace] = {}


def _place_for(outer: Node | None, tags: Mapping[str, TagValue]) -> TaggedPlace:
    """Return the place for a block, the same for all outermost blocks with the same tags."""
    if outer is not None:
        return TaggedPlace(outer, tags)
    identity = (*tags.items(), *map(type, tags.values()))
    place = _places.get(identity)
    if place is None:
        if len(_places) >= MAX_KEPT_PLACES:
            _places.clear()
        place = _places.setdefault(identity, TaggedPlace(None, tags))
    return place


class Tagged:
    """A block, or a decorator, whose tags all calls inside get. It may be entered again, also in several tasks."""

    def __init__(self, tags: Mapping[str, object]) -> None:
        self._tags = merge_tags(NO_TAGS, tags)

    def __repr__(self) -> str:
        return f"tagged({', '.join(self._tags)})"

    def __enter__(self) -> None:
        """Give the tags to all calls that begin from now on in this context."""
        around = current.get()
        if around is SUPPRESSED:  # on a thread of this library, whose calls are not published
            return
        tags, call, span, request = self._tags, call_around(around), None, None
        if type(around) is TagScope:
            tags, span, request = merge_tags(around.tags_inside, tags), around.span, around.request
        scope = TagScope("" if call is None else call.tool_name, "open")
        scope.owner, scope.tags_inside, scope.request = self, tags, request
        scope._stand_for(call, span)
        scope._node = _place_for(None if call is None else call._node, tags)
        scope._token = current.set(scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the block. An exception of the block propagates."""
        inner: Any = current.get()
        while isinstance(inner, ToolCall) and not (type(inner) is TagScope and inner.owner is self):
            inner = getattr(inner._token, "old_value", None)  # a block inside is still open
        if type(inner) is TagScope:
            restore(inner)

    async def __aenter__(self) -> None:
        """Begin as `with` does."""
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End as `with` does."""
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Return the function with the tags for all calls inside it.

        Raises:
            ConfigurationError: it is no function, or a generator, whose calls belong to several steps.
        """
        if not callable(function) or isinstance(function, type):
            raise ConfigurationError(
                f"@tagged stands on {type(function).__name__} and not on a function",
                hint="put it on a function, below @staticmethod, @classmethod and @property",
            )
        ways = function, type(function).__call__  # of an object with `__call__` the second is what runs
        if any(inspect.isgeneratorfunction(way) or inspect.isasyncgenfunction(way) for way in ways):
            raise ConfigurationError(
                "@tagged stands on a generator, which runs in steps between those of its consumer",
                hint="give the tags to the calls in it: track(name, customer=...) or @monitored(tags=...)",
            )
        wrapper: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with Tagged(self._tags):
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with Tagged(self._tags):
                    result = function(*args, **kwargs)
                return self._run(result) if type(result) is CoroutineType else result

        decorated: F = wrapper
        return decorated

    async def _run(self, coroutine: CoroutineType[Any, Any, Any]) -> Any:
        """Run what a plain function has returned, as a decorator between does, with the tags."""
        with Tagged(self._tags):
            return await coroutine


def tagged(**tags: TagValue) -> Tagged:
    """Give tags to all calls inside a block or a function, without a call of its own.

    Write `with tagged(customer="acme"):`, `async with ...`, or `@tagged(team="search")` above a function or coroutine
    function. Calls that begin inside, in this task or thread and in tasks started inside, have the tags: in totals by
    tag, in budgets by tag and in what sinks show. Of one tag the innermost value counts: that of the call itself, then
    of the innermost block, then that of `setup()`.

    Args:
        **tags: your own labels, as `track` takes them.

    Returns:
        A context manager, sync and async, that is a decorator as well.
    """
    return Tagged(tags)
