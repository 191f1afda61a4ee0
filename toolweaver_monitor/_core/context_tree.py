"""The calling-context tree: one node for each chain of tools that was seen.

As in Ammons, Ball and Larus, "Exploiting hardware performance counters with flow and context sensitive profiling"
(PLDI 1997). A call is opened at its node, which holds what is the same for all calls there: the tool's name, tags,
declared cost, and the tools around it. So opening a nested call takes one dict lookup, and calls are counted by the
node, not one by one. Nodes hold no counts: `_stats` keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from toolweaver_monitor._core.sanitize import NO_TAGS, TagValue, merge_tags, scrub_tags
from toolweaver_monitor._text.names import MAX_NAMES, OVERFLOW, declared_names
from toolweaver_monitor._text.redact import scrub

MAX_NODES = 10_000
"""Nodes of a tree. Beyond, a call counts at the `__overflow__` path of its tool."""
MAX_TAGGED_NODES = 1_000
"""Of these, nodes for tags that were given to single calls. Beyond, a call counts at the node without them."""
MAX_KEYS = 8_192
MAX_TAGGED_KEYS = 2_048
"""Keys that are interned, of tools and with the tags of single calls. At the limit all are forgotten: a name or a tag
that comes again has a second node then, and both add up."""


class ToolKey:
    """What is the same for calls of one tool: its name, tags and declared cost. Interned, and compared by identity.

    Attributes:
        base: the key of the same tool without the tags that were given to single calls.
        is_late: whether its calls got tags after they could have others inside them.
        node: the place of its outermost calls in the tree in which it was placed last.
    """

    __slots__ = ("_shown", "base", "cost_nanousd", "is_late", "node", "tags", "tool_name")
    any_late = False
    """Whether there has been a late key in this process."""
    any_declared = False
    """Whether there has been a key with a declared cost."""

    def __init__(
        self,
        tool_name: str,
        tags: Mapping[str, TagValue],
        cost_nanousd: int | None,
        base: ToolKey | None = None,
        is_late: bool = False,
    ) -> None:
        self.tool_name = tool_name
        self.tags = tags
        self.cost_nanousd = cost_nanousd
        self.base: ToolKey = base or self
        self.is_late = is_late
        if is_late:
            ToolKey.any_late = True
        if cost_nanousd is not None:
            ToolKey.any_declared = True
        self.node: Node = UNPLACED
        self._shown: tuple[object, Mapping[str, TagValue]] | None = None

    def place(self, tree: ContextTree) -> Node:
        """Return the place of its outermost calls in a tree, and remember it."""
        node = self.node = tree.root.child(self)
        return node

    def shown_tags(self) -> Mapping[str, TagValue]:
        """Return the tags without secrets, unless `setup(redact=False)`."""
        if not self.tags:
            return NO_TAGS
        shown = self._shown
        if shown is None or shown[0] is not TagRedaction.scrub:
            shown = self._shown = TagRedaction.scrub, scrub_tags(self.tags, TagRedaction.scrub)
        return shown[1]

    def with_tags(self, tags: Mapping[str, object], is_late: bool = False) -> ToolKey:
        """Return the key of single calls of the same tool with more tags; of one tag the new value counts."""
        merged, is_late = merge_tags(self.tags, tags), is_late or self.is_late
        identity = (self.base, is_late, *_identity_of(merged))
        key = _tagged_keys.get(identity)
        if key is None:
            key = ToolKey(self.tool_name, merged, self.cost_nanousd, self.base, is_late)
            if len(_tagged_keys) >= MAX_TAGGED_KEYS:
                _tagged_keys.clear()
            key = _tagged_keys.setdefault(identity, key)
        return key

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickle: the key of the process it arrives in."""
        if self.base is not self:
            return ToolKey.with_tags, (self.base, dict(self.tags), self.is_late)
        return tool_key, (self.tool_name, dict(self.tags), self.cost_nanousd)

    def __repr__(self) -> str:
        return f"ToolKey({self.tool_name!r}, {dict(self.tags)!r}, {self.cost_nanousd!r})"


class _Unplaced:
    """Stands for the node of a key that has not been placed."""

    __slots__ = ()
    tree: Any = object()
    """No tree."""


UNPLACED: Any = _Unplaced()


class TagRedaction:
    """How secrets are removed from tags; set by `setup()`."""

    scrub: Callable[[str, int], str] = staticmethod(scrub)


_keys: dict[tuple[object, ...], ToolKey] = {}
_tagged_keys: dict[tuple[object, ...], ToolKey] = {}


def tool_key(tool_name: str, tags: Mapping[str, TagValue] = NO_TAGS, cost_nanousd: int | None = None) -> ToolKey:
    """Return the key of a tool with these declared tags and this declared cost, the same object each time."""
    identity = (tool_name, cost_nanousd, *_identity_of(tags)) if tags else (tool_name, cost_nanousd)
    key = _keys.get(identity)
    if key is None:
        key = ToolKey(tool_name, tags, cost_nanousd)
        if len(_keys) >= MAX_KEYS:
            _keys.clear()
        key = _keys.setdefault(identity, key)
    return key


NO_KEY = tool_key("")
"""No tool's. It is never placed."""


def _identity_of(tags: Mapping[str, TagValue]) -> tuple[object, ...]:
    """Return a key for a dict: the tags, and the types of their values, since 1, 1.0 and True are equal."""
    return (*tags.items(), *map(type, tags.values()))


class Node:
    """One place in a tree: a tool, below the tools around it.

    Attributes:
        key: the tool at this place.
        parent: the node around it; None for the root of the tree.
        tags: fixed tags of the tool and of all tools around it; of one key the innermost value.
        top: the node of the outermost tool.
        children: the nodes below, by key.
        counts_at: the node at which calls are counted: itself, unless the tree has no room for it.
        again: the ancestor that this node repeats, if the tool is inside itself; its children are the ancestor's.
    """

    __slots__ = ("again", "children", "counts_at", "key", "parent", "tags", "top", "tree")

    def __init__(self, tree: ContextTree, key: ToolKey, parent: Node | None, tags: Mapping[str, TagValue]) -> None:
        self.tree = tree
        self.key = key
        self.parent = parent
        self.tags = tags
        self.top: Node = self if parent is None or parent.parent is None else parent.top
        self.children: dict[ToolKey, Node] = {}
        self.counts_at: Node = self
        self.again: Node | None = None

    def __repr__(self) -> str:
        return f"<Node {' > '.join(self.path())}>"

    def child(self, key: ToolKey) -> Node:
        """Return the node of a tool below this one, made if it is new."""
        return self.children.get(key) or self.tree.grow(self, key)

    def path(self) -> tuple[str, ...]:
        """Return the names of the tools from the outermost to this one."""
        return tuple(node.key.tool_name for node in reversed(list(self.upwards())))

    def upwards(self) -> Iterator[Node]:
        """Yield this node and those around it, without the root of the tree."""
        node: Node | None = self
        while node is not None and node.parent is not None:
            yield node
            node = node.parent


def _same_tool_around(parent: Node, tool_name: str) -> list[Node]:
    """Return the nodes at the place of a tool in the path to `parent`, the innermost first.

    A tool inside itself goes back to its place in the path. What stood between is not around what follows.
    """
    path: dict[str, list[Node]] = {}
    for node in reversed(list(parent.upwards())):
        name = node.key.tool_name
        if name in path:
            while next(reversed(path)) != name:
                path.popitem()
        path.setdefault(name, []).append(node)
    return path.get(tool_name, [])[::-1]


NO_CHILDREN: dict[ToolKey, Node] = {}


class ContextTree:
    """A tree of bounded size.

    Safe without a lock: a node is put in its place by one `dict.setdefault`. At the limit, each thread may add one node
    more.

    Args:
        max_names: how many tool names that are not written in the code get nodes of their own.
        on_tags: gets each running call that has recorded tags. Does not raise.
    """

    def __init__(self, max_names: int = MAX_NAMES, on_tags: Callable[[Any], object] = lambda _: None) -> None:
        self.on_tags = on_tags
        self.root = Node(self, ToolKey("", NO_TAGS, None), None, NO_TAGS)
        self.max_names = max_names
        self._size = 0
        self._tagged = 0
        self._names: set[str] = set()
        self.overflow = Node(self, ToolKey(OVERFLOW, NO_TAGS, None), self.root, NO_TAGS)

    def grow(self, parent: Node, key: ToolKey) -> Node:
        """Return the node of a tool that has none below `parent` yet."""
        parent = parent.again or parent
        tags = (({**parent.tags, **key.tags}) if parent.tags else key.tags) if key.tags else parent.tags
        node = Node(self, key, parent, tags)
        place = self._place_beyond_limits(parent, key)
        if place is not None:
            node.counts_at, node.top = place, place.top  # not itself: no cycle keeps it longer than its call
            node.children = NO_CHILDREN  # none are put below it: the 10,000 last calls may have such a node each
            return node
        for above in _same_tool_around(parent, key.tool_name):
            if above.key is key and above.again is None and _identity_of(above.tags) == _identity_of(tags):
                node.again, node.children, node.top = above, above.children, above.top
                break
        placed = parent.children.setdefault(key, node)
        if placed is node:
            self._size += 1
            self._tagged += key.base is not key
        return placed

    def _place_beyond_limits(self, parent: Node, key: ToolKey) -> Node | None:
        """Return the node that counts a call beyond a limit; None if the call is within the limits."""
        around = parent.counts_at
        if around.parent is self.overflow:
            return self._overflow_node(key)
        if around is not parent or (key.base is not key and self._tagged >= MAX_TAGGED_NODES):
            return around.child(key.base).counts_at
        if self._size >= MAX_NODES or not self._may_have_nodes(key.tool_name):
            return self._overflow_node(key)
        return None

    def _may_have_nodes(self, tool_name: str) -> bool:
        if tool_name in self._names or tool_name in declared_names:
            return True
        if len(self._names) >= self.max_names:
            return False
        self._names.add(tool_name)
        return True

    def _overflow_node(self, key: ToolKey) -> Node:
        name = key.tool_name if self._may_have_nodes(key.tool_name) else OVERFLOW
        key = tool_key(name, cost_nanousd=key.cost_nanousd)
        node = self.overflow.children.get(key)
        if node is None:
            node = self.overflow.children.setdefault(key, Node(self, key, self.overflow, NO_TAGS))
        return node
