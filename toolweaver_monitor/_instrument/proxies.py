"""Monitored proxies of callables that are no plain function: partials, bound methods, builtins, callable objects."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:

    class Proxy(wrapt.ObjectProxy[Any]):
        """A proxy, with the attributes that this module keeps on it."""

        # Declared for type checkers only: a proxy class that has annotations shows them as those of the wrapped object.

        _self_rewrap: Callable[[Any], Any]
        """Monitors another object in the same way."""

        _self_wrap: Callable[[Any], Callable[..., Any]]
        """Returns a function that runs another object as calls of the same tool."""

        _self_run: Callable[..., Any]
        """Runs a bound object under a call."""
else:
    Proxy = wrapt.ObjectProxy  # older versions cannot be subscripted at run time


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
    """A monitored object as it is read from an instance. Each read makes a new one, so it has no class of its own."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it under a call."""
        return self._self_run(*args, **kwargs)


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
    members: dict[str, Any] = {"__call__": staticmethod(run)}
    if hasattr(type(target), "__get__"):
        members["__get__"] = _bind
    if hasattr(type(target), "__set_name__"):
        members["__set_name__"] = _forward_set_name
    proxy = type(kind.__name__, (kind,), members)(target)
    # wrapt keeps attributes that begin with _self_ on the proxy itself.
    proxy._self_rewrap, proxy._self_wrap = rewrap, wrap
    return proxy


def _forward_set_name(self: Any, owner: type, name: str) -> None:
    """Pass a new class on to the wrapped object. Python looks for this method on the type only."""
    type(self.__wrapped__).__set_name__(self.__wrapped__, owner, name)


def _bind(self: Any, instance: Any, owner: type | None = None) -> Any:
    """Return what reading the object from a class or an instance gives, monitored."""
    target = self.__wrapped__
    bound = type(target).__get__(target, instance, owner)
    if bound is target:
        return self
    if type(bound) is types.MethodType and bound.__func__ is target:
        return types.MethodType(self, bound.__self__)
    proxy: Any = BoundObject(bound)
    proxy._self_rewrap, proxy._self_wrap = self._self_rewrap, self._self_wrap
    proxy._self_run = self._self_wrap(bound)
    return proxy
