"""Find the attributes to patch in a target."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

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
from toolweaver_monitor._instrument.patching.patch import find_original
from toolweaver_monitor._instrument.patching.tool_names import ORCHESTRATOR_METHODS, USUAL_METHODS
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor.errors import ConfigurationError

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, functools._lru_cache_wrapper)


class AttributeRef(NamedTuple):
    """An attribute to patch."""

    owner: Any
    """A class or a module, or else the target itself, if the attribute is to be patched in its own namespace."""
    name: str


def find_attributes(target: Any, methods: tuple[str, ...] | None) -> list[AttributeRef]:
    """Return the attributes to patch in a target.

    Args:
        target: a module, a class or an object.
        methods: the names of the attributes; None for the usual ones of this kind of target.

    Raises:
        ConfigurationError: the target has no such attributes; the hint names similar ones.
    """
    if is_module(target):
        return [_locate(target, name) for name in methods] if methods else _module_attributes(target)
    _refuse_functions(target)
    kind = target if is_class(target) else type(target)
    names = methods or (("submit",) if is_pool(target) else methods_of(kind))
    if not names:
        public = _public_names(target)
        usual = f"the methods by which orchestrators run tools ({', '.join(USUAL_METHODS)}, ...)"
        raise ConfigurationError(
            f"{label(target)} has none of {usual}",
            hint="name its own with methods=[...]" + (f", such as {', '.join(public[:12])}" if public else ""),
        )
    return [_locate(target, name) for name in names]


def _locate(target: Any, name: str) -> AttributeRef:
    """Return where to patch an attribute: in a class or module if there is one to change, else in the object itself."""
    if is_class(target) or is_module(target):
        if not _is_patchable(find_original(target, name)):
            raise not_found(target, name)
        return AttributeRef(target, name)
    kind, own = type(target), own_namespace(target)
    if own is not None and name in own:
        value = own[name]
    else:
        defining = definer(kind, name)
        if defining is not None:
            if not _is_patchable(find_original(kind, name)):
                raise not_found(target, name)
            for owner in (defining, kind):
                if can_be_changed(owner):
                    return AttributeRef(owner, name)
        value = safe_getattr(target, name)
    if not callable(value):
        raise not_found(target, name)
    if own is None:
        raise ConfigurationError(
            f"{label(target)} has no `__dict__` and a class made in C", hint=f"instrument what calls its {name}()"
        )
    return AttributeRef(target, name)


def _module_attributes(module: Any) -> list[AttributeRef]:
    """Return all public functions and methods defined in a module; for a package, also those of its submodules."""
    found: list[AttributeRef] = []
    seen: set[int] = set()
    for name in _without_underscore(vars(module)):
        value = find_original(module, name)
        if not _is_defined_in(value, module):
            continue
        if is_class(value):
            found.extend(_class_attributes(value, seen))
        elif is_a(value, _FUNCTIONS):
            found.append(AttributeRef(module, name))
    if not found:
        homes = sorted({_home(vars(module)[name]) for name in _without_underscore(vars(module))} - {""})
        raise ConfigurationError(
            f"no public function or method is defined in {label(module)}",
            hint="instrument the module that defines them" + (f", such as {', '.join(homes[:3])}" if homes else ""),
        )
    return found


def _class_attributes(kind: Any, seen: set[int]) -> Iterator[AttributeRef]:
    """Yield the public methods written in a class and in its public inner classes; properties are left out."""
    if id(kind) in seen:
        return
    seen.add(id(kind))
    home = _home(kind)
    for name in _without_underscore(namespace(kind)):
        raw = find_original(kind, name)
        function = unwrap_method(raw)
        if is_a(function, _FUNCTIONS) and _home(function) == home:
            yield AttributeRef(kind, name)
        elif is_class(raw) and _home(raw) == home and name_of(raw) == f"{name_of(kind)}.{name}":
            yield from _class_attributes(raw, seen)


def _home(value: Any) -> str:
    """Return the name of the module that defines a function or class; "" for other values."""
    if not is_class(value) and not is_a(value, _FUNCTIONS):
        return ""
    home = namespace(value).get("__module__") if is_class(value) else getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""


def _is_defined_in(value: Any, module: Any) -> bool:
    name, home = label(module), _home(value)
    return home == name or ("__path__" in vars(module) and home.startswith(f"{name}."))


def unwrap_method(raw: Any) -> Any:
    """Return the function inside a class method, static method or partial method; other values as they are."""
    if is_a(raw, functools.partialmethod):
        raw = raw.func
    return raw.__func__ if is_a(raw, (classmethod, staticmethod)) else raw


def methods_of(kind: Any) -> tuple[str, ...]:
    """Return the methods of a class by which orchestrators run tools."""
    names = set[str]().union(*(namespace(each) for each in mro_of(kind)))
    return tuple(name for name in ORCHESTRATOR_METHODS if name in names and _is_patchable(find_original(kind, name)))


def _is_patchable(raw: Any) -> bool:
    """Return whether an attribute is a function or method of any kind, and not a property or class."""
    inner = unwrap_method(raw)
    return callable(inner) and not is_class(inner)


def safe_getattr(target: Any, name: str) -> Any:
    """Return an attribute; None if it does not exist or getting it raises."""
    try:
        return getattr(target, name, None)
    except Exception:  # noqa: BLE001 - runs code of the target
        return None


def not_found(target: Any, name: str) -> ConfigurationError:
    """Return the error for a method that a target does not have, with similar names as its hint."""
    public = _public_names(target)
    close = suggest(name, public, count=3, cutoff=0.5)
    rest = ", ".join([other for other in public if other not in close][:12])
    if close:
        hint = f"did you mean {' or '.join(close)}?" + (f" It also has: {rest}" if rest else "")
    else:
        hint = f"it has: {rest}" if rest else "it has no public one: name the module or class that defines it"
    return ConfigurationError(f"{label(target)} has no function or method {name!r}", hint=hint)


def _public_names(target: Any) -> list[str]:
    """Return the public names that could be patched. Nothing of the target is run: a property may do anything."""
    if is_module(target):
        found = {name for name, value in vars(target).items() if is_a(value, _FUNCTIONS) or is_class(value)}
    else:
        kind = target if is_class(target) else type(target)
        found = {
            name for each in mro_of(kind)[:-1] for name in namespace(each) if _is_patchable(find_original(kind, name))
        }
        if kind is not target:
            found |= {name for name, value in (own_namespace(target) or {}).items() if callable(value)}
    return sorted(_without_underscore(found))


def _without_underscore(names: Iterable[str]) -> list[str]:
    return [name for name in list(names) if not name.startswith("_")]  # a copy: another thread may add to a namespace


def _refuse_functions(target: Any) -> None:
    """Raise if a target is a function, a method or None."""
    if is_a(target, types.MethodType):
        name = target.__name__
        raise ConfigurationError(
            f"instrument() got the method {name}", hint=f"give it the object: instrument(obj, methods=[{name!r}])"
        )
    if is_a(target, (*_FUNCTIONS, functools.partial)):
        raise ConfigurationError(
            f"instrument() got the function {getattr(target, '__name__', 'partial')}",
            hint="decorate it with @monitored, or give its module or its dotted name: "
            "instrument('package.module:function')",
        )
    if target is None:
        raise ConfigurationError("instrument() got None", hint="give it an orchestrator, a class, a module or a name")
