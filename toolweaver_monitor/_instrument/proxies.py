"""Monitored proxies of callables that are no plain function: partials, bound methods, builtins, callable objects."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, cast

from toolweaver_monitor._core.introspect import definer, mro_of, own_namespace, vars_of

_BINARY = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow",
    "lshift", "rshift", "and", "xor", "or",
)  # fmt: skip
_IN_PLACE = {f"__i{name}__" for name in _BINARY}
_SPECIAL = (
    "__hash__", "__bool__", "__len__", "__length_hint__", "__getitem__", "__setitem__", "__delitem__", "__contains__",
    "__iter__", "__next__", "__reversed__", "__aiter__", "__anext__", "__await__",
    "__enter__", "__exit__", "__aenter__", "__aexit__",
    "__int__", "__float__", "__complex__", "__index__", "__bytes__", "__fspath__",
    "__round__", "__trunc__", "__floor__", "__ceil__", "__abs__", "__neg__", "__pos__", "__invert__",
    "__instancecheck__", "__subclasscheck__",
    *(f"__{side}{name}__" for name in _BINARY for side in ("", "r")), *sorted(_IN_PLACE),
)  # fmt: skip
"""Special methods that Python looks for on the type alone. A proxy has those that the type of its object has."""

_OWN = frozenset({
    "__wrapped__", "_self_rewrap", "_self_wrap", "_self_run", "_self_bound", "_self_before",
    "__call__", "__get__", "__set_name__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__",
})  # fmt: skip
"""Attributes that a proxy does not take from its object."""


# A proxy's own attributes, without the detour through its `__getattribute__` and `__setattr__`.
_get = object.__getattribute__
_set = object.__setattr__


class Proxy:
    """A stand-in for an object, which has its attributes, its class and its special methods, and no others.

    `collections.abc.Iterable` and its like look into the type for a method. A class with every special method, such as
    `wrapt.ObjectProxy`, passes for all of them.
    """

    __slots__ = (
        "__dict__", "__weakref__", "__wrapped__",
        "_self_before", "_self_bound", "_self_rewrap", "_self_run", "_self_wrap",
    )  # fmt: skip

    __wrapped__: Any
    """The object."""

    _self_rewrap: Callable[[Any], Any]
    """Monitors another object in the same way."""

    _self_wrap: Callable[[Any], Callable[..., Any]]
    """Returns a function that runs another object as calls of the same tool."""

    _self_run: Callable[..., Any]
    """Runs a bound object under a call."""

    _self_bound: tuple[type | None, type | None]
    """The type of the object as it was last read from an instance, and the class of the proxies of such."""

    def __init__(self, target: Any, wrap: Callable[[Any], Callable[..., Any]], rewrap: Callable[[Any], Any]) -> None:
        _set(self, "__wrapped__", target)
        _set(self, "_self_wrap", wrap)
        _set(self, "_self_rewrap", rewrap)
        try:
            attributes = own_namespace(target)
        except Exception:  # noqa: BLE001 - a `__dict__` of the user's own
            return
        if attributes is not None:  # shared, for those who look into it: inspect.getattr_static, typing.Protocol
            _set(self, "__dict__", attributes)

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute of the object."""
        if name in _OWN:
            return _get(self, name)
        return getattr(_target_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the object."""
        if name in _OWN:
            _set(self, name, value)
        else:
            setattr(_target_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the object."""
        delattr(_target_of(self), name)

    def __dir__(self) -> Any:
        """Return the names of the object's attributes."""
        return dir(_target_of(self))

    def __str__(self) -> str:
        """Return the object as text."""
        return str(_target_of(self))

    def __format__(self, spec: str) -> str:
        """Return the object as formatted text."""
        return format(_target_of(self), spec)

    def __eq__(self, other: object) -> Any:
        """Compare the object."""
        return _target_of(self) == other

    def __ne__(self, other: object) -> Any:
        """Compare the object."""
        return _target_of(self) != other

    def __lt__(self, other: Any) -> Any:
        """Compare the object."""
        return _target_of(self) < other

    def __le__(self, other: Any) -> Any:
        """Compare the object."""
        return _target_of(self) <= other

    def __gt__(self, other: Any) -> Any:
        """Compare the object."""
        return _target_of(self) > other

    def __ge__(self, other: Any) -> Any:
        """Compare the object."""
        return _target_of(self) >= other

    def __hash__(self) -> int:
        """Return the object's hash."""
        return hash(_target_of(self))


_target_of: Callable[[Any], Any] = vars_of(Proxy)["__wrapped__"].__get__
"""Return the object of a proxy, without the way round `__getattribute__`."""


def _forward(name: str) -> Callable[..., Any]:
    """Return a special method that calls that of the object, as Python would: found on the type."""

    def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        target = _target_of(self)
        kind = type(target)
        result = vars_of(definer(kind, name))[name].__get__(target, kind)(*args, **kwargs)
        return self if result is target and name in _IN_PLACE else result

    forward.__name__ = name
    return forward


_FORWARD = {name: _forward(name) for name in _SPECIAL}


def _special_methods(kind: type) -> dict[str, Any]:
    """Return the special methods for proxies of objects of a type: None where the type has None, which rules it out."""
    methods: dict[str, Any] = {}
    for base in reversed(mro_of(kind)):
        namespace = vars_of(base)
        for name in _FORWARD.keys() & namespace.keys():
            methods[name] = None if namespace[name] is None else _FORWARD[name]
    return methods


class MonitoredProxy(Proxy):
    """A transparent proxy: everything but calling goes to the object itself.

    Each has a class of its own, whose `__call__` is the wrapper: no frame stands between it and its caller.
    """

    def __repr__(self) -> str:
        """Return the text of the object itself, as logs and containers show it."""
        return repr(self.__wrapped__)

    def __copy__(self) -> Any:
        """Return a monitored copy."""
        return self._self_rewrap(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a monitored deep copy."""
        return self._self_rewrap(copy.deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle by name if the object is pickled by name, else pickle the object and monitor the copy."""
        reduced = self.__wrapped__.__reduce_ex__(protocol)
        return reduced if isinstance(reduced, str) else (self._self_rewrap, (self.__wrapped__,))

    def __reduce__(self) -> Any:
        """Do the same as `__reduce_ex__`."""
        return self.__reduce_ex__(2)


class BoundObject(MonitoredProxy):
    """A monitored object as it is read from an instance. Each read makes a new one, so a class stands for a type."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it under a call."""
        return _get(self, "_self_run")(*args, **kwargs)


def make_proxy(
    kind: type[MonitoredProxy], target: Any, wrap: Callable[[Any], Callable[..., Any]], rewrap: Callable[[Any], Any]
) -> Any:
    """Return a proxy of `target` whose calls are monitored.

    Args:
        kind: the class of the proxy.
        target: the callable object.
        wrap: returns a function that runs an object as calls of the tool.
        rewrap: monitors another object in the same way, such as a copy of this one.
    """
    run, call = wrap(target), inspect.getattr_static(type(target), "__call__")
    if type(call) in (
        types.FunctionType,
        staticmethod,
        classmethod,
    ):  # frameworks derive their schema from its `__call__`
        functools.update_wrapper(run, call.__get__(target, type(target)))
    members = {**_special_methods(type(target)), "__call__": staticmethod(run)}
    if hasattr(type(target), "__get__"):
        members["__get__"] = _bind
    if hasattr(type(target), "__set_name__"):
        members["__set_name__"] = _forward_set_name
    proxy = type(kind.__name__, (kind,), members)(target, wrap, rewrap)
    _set(proxy, "_self_bound", (None, None))
    return proxy


def _forward_set_name(self: Any, owner: type, name: str) -> None:
    """Pass a new class on to the wrapped object. Python looks for this method on the type only."""
    type(self.__wrapped__).__set_name__(self.__wrapped__, owner, name)


def _bind(self: Any, instance: Any, owner: type | None = None) -> Any:
    """Return what reading the object from a class or an instance gives, monitored."""
    target = _target_of(self)
    bound = type(target).__get__(target, instance, owner)
    if bound is target:
        return self
    if type(bound) is types.MethodType and bound.__func__ is target:
        return types.MethodType(self, bound.__self__)
    wrap = _get(self, "_self_wrap")
    proxy = _bound_class(self, type(bound))(bound, wrap, _get(self, "_self_rewrap"))
    _set(proxy, "_self_run", wrap(bound))
    return proxy


def _bound_class(self: Any, kind: type) -> type[BoundObject]:
    """Return the class for proxies of what `self` gives when it is read: the last one, if that is of the same type."""
    last, bound_class = _get(self, "_self_bound")
    if last is not kind:
        bound_class = type(BoundObject.__name__, (BoundObject,), _special_methods(kind))
        _set(self, "_self_bound", (kind, bound_class))
    return cast("type[BoundObject]", bound_class)
