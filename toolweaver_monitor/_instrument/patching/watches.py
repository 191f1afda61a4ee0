"""What is being monitored by `instrument()`: each target, its methods, and how many calls were seen."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from toolweaver_monitor._core.introspect import is_class, is_module, name_of, namespace
from toolweaver_monitor._instrument.patching.patch import MISSING, Patch, patches, reference


class WatchedTarget(NamedTuple):
    """A target of `instrument()`, as `health()` shows it."""

    target: str
    methods: list[str]
    calls: int | None
    """How many calls were seen so far; None if they all have one fixed name and are not counted by target."""
    tools: list[str]
    """The fixed names of its calls."""


class Watch:
    """One target that `instrument()` was given, and what was patched for it."""

    def __init__(self, target: Any, title: str) -> None:
        key = id(target), title

        def forget(ref: Any) -> None:
            if (watch := watches.get(key)) is not None and watch.target is ref:
                del watches[key]

        self.target = reference(target, forget)
        self.title = title
        self.parts: list[Callable[[], Any]] = []
        """Returns each object, class or module in which something was patched, or None once it has been collected."""
        self.methods: dict[str, None] = {}
        self.tools: set[str] = set()
        self.has_reader = False
        self._counter = itertools.count()
        self.count: Callable[[], object] = self._counter.__next__
        """Called once a call whose name is read from its arguments."""
        self.patches: dict[int, Patch] = {}
        """By their ids."""
        self.cure = ""
        """What to do about names that were imported before, if they cannot be targets themselves."""
        self.framework = ""
        """The known package from which the target is, whose other modules and classes are no surprise."""

    def add_part(self, part: Any) -> None:
        """Note an object in which something is patched."""
        if part is not self.target() and not any(each() is part for each in self.parts):
            self.parts.append(reference(part, lambda _: None))

    def seen(self) -> int:
        """Return how many calls have been counted."""
        return int(repr(self._counter)[len("count(") : -1])  # reading it without counting on

    def shown(self) -> WatchedTarget:
        """Return what `health()` shows."""
        return WatchedTarget(
            self.title, list(self.methods), self.seen() if self.has_reader else None, sorted(self.tools)
        )

    def problems(self, holders: Mapping[int, list[str]]) -> Iterator[str]:
        """Yield why calls may not be seen: names that were imported before, subclasses that override the methods.

        Args:
            holders: where else the functions of patched modules are held, by the id of the function.
        """
        held = sorted(
            name
            for patch in self.patches.values()
            for name in holders.get(id(patch.original), ())
            if not self._is_own(name.partition(":")[0])
        )
        if held:
            shown = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
            cure = self.cure or f"instrument({held[0]!r}) as well, or call instrument() before these imports"
            yield f"{shown}: imported before instrument() was given {self.title}, and not monitored; {cure}"
        for patch in self.patches.values():
            if is_class(patch.owner) and self.target() is patch.owner and not (self.has_reader and self.seen()):
                overriding = [
                    name_of(kind)
                    for kind in _overriding(patch)
                    if not self._is_own(str(namespace(kind).get("__module__")))
                ]
                if overriding:
                    yield (
                        f"instrument({self.title}) does not see {patch.name}() of {', '.join(overriding[:3])}, "
                        f"which override{'s' if len(overriding) == 1 else ''} it; instrument these classes"
                    )

    def _is_own(self, module: str) -> bool:
        """Return whether a module is of the framework from which the target is."""
        return bool(self.framework) and f"{module}.".startswith(f"{self.framework}.")


watches: dict[tuple[int, str], Watch] = {}
"""By the id of the target and what messages call it."""

failures: dict[str, str] = {}
"""Why dotted names could not be instrumented when their modules were imported."""


def _find_holders(patched: Iterable[Patch]) -> dict[int, list[str]]:
    """Return where modules hold the unpatched functions of other modules, as `module:name`, by the functions' ids.

    Where a function is defined it is no surprise, as what `instrument()` was given there is a re-export. It looks at
    copies, since other threads may import something while a list of items is made.
    """
    originals = {id(patch.original): patch for patch in patched if is_module(patch.owner)}
    found: dict[int, list[str]] = {}
    for module_name, module in sys.modules.copy().items() if originals else ():
        if module_name == "__mp_main__" or not is_module(module):  # multiprocessing's second name for __main__
            continue
        for name, value in vars(module).copy().items():
            patch = originals.get(id(value))
            if patch is not None and module is not patch.owner and _home_of(value) != module_name:
                found.setdefault(id(value), []).append(f"{module_name}:{name}")
    return found


def _home_of(function: Any) -> object:
    return getattr(function, "__module__", None)


def _overriding(patch: Patch) -> list[type]:
    """Return the subclasses that have a method of their own in the place of the patched one."""
    found: list[type] = []
    level = [patch.owner]
    while level:
        following = []
        for kind in level:
            for below in type.__subclasses__(kind):
                own = namespace(below).get(patch.name, MISSING)
                if own is MISSING:
                    following.append(below)
                elif (id(below), patch.name) not in patches:
                    found.append(below)
        level = following
    return list(dict.fromkeys(found))


def watch_for(target: Any, title: str) -> Watch:
    """Return the watch of a target, a new one if there is none."""
    watch = watches.get((id(target), title))
    if watch is None or watch.target() is not target:
        watch = watches[id(target), title] = Watch(target, title)
    return watch


def watches_of(target: Any) -> list[Watch]:
    """Return all watches of a target: an object has one, a module one for each dotted name."""
    return [watch for watch in list(watches.values()) if watch.target() is target]


def forget(watch: Watch, names: tuple[str, ...] | None) -> None:
    """Forget the named methods of a watch, and the watch itself if none is left; None for all."""
    for name in list(watch.methods) if names is None else names:
        watch.methods.pop(name, None)
    if not watch.methods:
        watches.pop((id(watch.target()), watch.title), None)


def shown() -> list[WatchedTarget]:
    """Return what is monitored, in the order in which it was requested; objects of one class count as one target."""
    found: dict[str, WatchedTarget] = {}
    for watch in list(watches.values()):
        entry, before = watch.shown(), found.get(watch.title)
        if before is not None:
            calls = None if None in (before.calls, entry.calls) else (before.calls or 0) + (entry.calls or 0)
            methods = list(dict.fromkeys(before.methods + entry.methods))
            entry = WatchedTarget(watch.title, methods, calls, sorted({*before.tools, *entry.tools}))
        found[watch.title] = entry
    return list(found.values())


def problems() -> list[str]:
    """Return what keeps targets from being seen, one sentence each that ends with the cure."""
    found = list(watches.values())
    holders = _find_holders(patch for watch in found for patch in watch.patches.values())
    late = [f"instrument({name!r}) did nothing when it was imported: {why}" for name, why in list(failures.items())]
    return late + [problem for watch in found for problem in watch.problems(holders)]
