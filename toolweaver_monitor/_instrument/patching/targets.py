"""What in a target is to be watched? The functions of a module, the methods by which an orchestrator runs tools."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from toolweaver_monitor._core.introspect import (
    can_be_changed,
    definer,
    is_a,
    is_class,
    is_module,
    label,
    mro_of,
    name_of,
    namespace,
    own_namespace,
)
from toolweaver_monitor._instrument.patching.executors import is_pool
from toolweaver_monitor._instrument.patching.patch import MISSING, PatchDescriptor
from toolweaver_monitor._instrument.patching.tool_names import ORCHESTRATOR_METHODS, USUAL_METHODS
from toolweaver_monitor.errors import ConfigurationError

Spot = tuple[Any, str]
"""An owner and the name of an attribute of its."""

OwnSpot = tuple[str, Any]
"""The name of an attribute that stands in an object itself, and what stands there."""

NO_DETAILS: Mapping[str, Any] = types.MappingProxyType({})
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, functools._lru_cache_wrapper)


def spots(target: Any, methods: tuple[str, ...] | None) -> tuple[list[Spot], list[OwnSpot]]:
    """What is to be watched in a target: attributes of classes and modules, and such as stand in the object itself.

    Args:
        target: a module, a class or an object.
        methods: the names of what to watch in it; None: what is usual for its kind.

    Raises:
        ConfigurationError: there is nothing of the kind; the message says what could be meant.
    """
    if is_module(target):
        return [(target, _checked(target, name)) for name in methods] if methods else _spots_of_module(target), []
    if is_class(target):
        names = methods or (("submit",) if is_pool(target) else methods_of(target))
        if not names:
            raise none_found(target)
        return [(target, _checked(target, name)) for name in names], []
    refuse_what_is_no_orchestrator(target)
    return _spots_of_object(target, methods)


def _checked(owner: Any, name: str) -> str:
    found = vars(owner).get(name, MISSING) if is_module(owner) else find(owner, name)
    if found is MISSING or not can_be_watched(found):
        raise not_found(owner, name)
    return name


def _spots_of_object(target: Any, methods: tuple[str, ...] | None) -> tuple[list[Spot], list[OwnSpot]]:
    kind, own = type(target), own_namespace(target)
    mine = own or {}
    names = methods or (("submit",) if is_pool(target) else methods_of(kind, mine))
    if not names and definer(kind, "__getattr__") is not None:  # it answers for another
        names = tuple(name for name in USUAL_METHODS if callable(answer(target, name)))
    if not names:
        raise none_found(target)
    in_class: list[Spot] = []
    in_object: list[OwnSpot] = []
    for name in names:
        owner = definer(kind, name)
        if name in mine or owner is None:
            found = mine[name] if name in mine else answer(target, name)
            if not callable(found):
                raise not_found(target, name)
        elif not can_be_watched(find(kind, name)):
            raise not_found(target, name)
        else:
            owner = next((each for each in (owner, kind) if can_be_changed(each)), None)
            if owner is not None:
                in_class.append((owner, name))
                continue
            found = answer(target, name)
        if own is None:
            raise ConfigurationError(
                f"{label(target)} has no room of its own and a class made in C; instrument what calls its {name}()"
            )
        in_object.append((name, found))
    return in_class, in_object


def answer(target: Any, name: str) -> Any:
    """What an object gives for an attribute; None where it gives nothing or raises."""
    try:
        return getattr(target, name, None)
    except Exception:  # noqa: BLE001 - code of the target's
        return None


def _spots_of_module(module: Any) -> list[Spot]:
    """Every public function and method that is defined in a module; in a package, also what it shows of its own."""
    found: list[Spot] = []
    seen: set[int] = set()
    for name, value in list(vars(module).items()):
        if name.startswith("_") or not _belongs(value, module):
            continue
        if is_class(value):
            found.extend(_spots_of_inside(value, seen))
        elif is_a(value, _FUNCTIONS):
            found.append((module, name))
    if not found:
        homes = sorted({_home(value) for name, value in vars(module).items() if not name.startswith("_")} - {""})
        raise ConfigurationError(
            f"no public function or method is defined in {label(module)}; instrument the module that defines them"
            + (f", such as {', '.join(homes[:3])}" if homes else "")
        )
    return found


def _home(value: Any) -> str:
    """The module that says it defines a thing; empty for what is neither function nor class."""
    if not is_class(value) and not is_a(value, _FUNCTIONS):
        return ""
    home = namespace(value).get("__module__") if is_class(value) else getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""


def _belongs(value: Any, module: Any) -> bool:
    name, home = label(module), _home(value)
    return home == name or ("__path__" in vars(module) and home.startswith(f"{name}."))


def _spots_of_inside(kind: Any, seen: set[int]) -> Iterator[Spot]:
    """The public methods written in a class and in the public classes inside it. A property is none."""
    if id(kind) in seen:
        return
    seen.add(id(kind))
    home = _home(kind)
    for name, raw in list(namespace(kind).items()):
        if name.startswith("_"):
            continue
        inner = original_of(raw)
        if is_a(inner, _FUNCTIONS) and _home(inner) == home:
            yield kind, name
        elif is_class(raw) and _home(raw) == home and name_of(raw) == f"{name_of(kind)}.{name}":
            yield from _spots_of_inside(raw, seen)


def original_of(raw: Any) -> Any:
    """The function in a class or static method, in a partial one or behind a `PatchDescriptor`; else itself."""
    if type(raw) is PatchDescriptor:
        raw = raw.place.original
    if is_a(raw, functools.partialmethod):
        raw = raw.func
    return raw.__func__ if is_a(raw, (classmethod, staticmethod)) else raw


def methods_of(kind: Any, own: Mapping[str, Any] = NO_DETAILS) -> tuple[str, ...]:
    """The methods by which orchestrators run tools that a class has, or an object of it in its own namespace."""
    known = set(own).union(*(namespace(each) for each in mro_of(kind)))
    return tuple(
        name
        for name in ORCHESTRATOR_METHODS
        if name in known and (callable(own[name]) if name in own else can_be_watched(find(kind, name)))
    )


def find(kind: Any, name: str) -> Any:
    """An attribute of a class as it stands in its or a base's namespace; MISSING where there is none."""
    for each in mro_of(kind):
        if name in namespace(each):
            return namespace(each)[name]
    return MISSING


def can_be_watched(raw: Any) -> bool:
    """Whether it is a function or method of any kind, and no property or class."""
    inner = original_of(raw)
    return callable(inner) and not is_class(inner)


def none_found(target: Any) -> ConfigurationError:
    """The error for a target without any method that runs tools."""
    public = _public(target)
    return ConfigurationError(
        f"{label(target)} has none of the methods by which orchestrators run tools "
        f"({', '.join(USUAL_METHODS)}, ...); name its own with methods=[...]"
        + (f", such as {', '.join(public[:12])}" if public else "")
    )


def not_found(target: Any, name: str) -> ConfigurationError:
    """The error for a method that a target does not have, with what could be meant."""
    public = _public(target)
    import difflib  # slow, and for this message only

    close = difflib.get_close_matches(name, public, n=3, cutoff=0.5)
    if not public:
        said = "it has none that is public: name the module or class that defines it"
    elif close:
        said = f"did you mean {' or '.join(close)}?"
    else:
        said = "name one of its own:"
    rest = [other for other in public if other not in close]
    return ConfigurationError(
        f"{label(target)} has no function or method {name!r}; {said}"
        + (f"{' It also has: ' if close else ' '}{', '.join(rest[:12])}" if rest else "")
    )


def _public(target: Any) -> list[str]:
    """The names of what could be watched. Only what stands there is looked at: no property runs for a message."""
    if is_module(target):
        found = {name for name, value in vars(target).items() if is_a(value, _FUNCTIONS)}
    else:
        kind = target if is_class(target) else type(target)
        found = {name for each in mro_of(kind)[:-1] for name in namespace(each) if can_be_watched(find(kind, name))}
    return sorted(name for name in found if not name.startswith("_"))


def refuse_what_is_no_orchestrator(target: Any) -> None:
    """Complain of a target that is a function or method: the decorator is for these.

    Raises:
        ConfigurationError: it is one.
    """
    if is_a(target, types.MethodType):
        name = target.__name__
        raise ConfigurationError(
            f"instrument() was given the method {name}; give it the object: instrument(obj, methods=[{name!r}])"
        )
    if is_a(target, (*_FUNCTIONS, functools.partial)):
        name = getattr(target, "__name__", "partial")
        raise ConfigurationError(
            f"instrument() was given the function {name}; decorate it with @monitored, give its module, "
            "or its dotted name: instrument('package.module:function')"
        )
    if target is None:
        raise ConfigurationError("instrument() was given None; give it an orchestrator, a class, a module or a name")
