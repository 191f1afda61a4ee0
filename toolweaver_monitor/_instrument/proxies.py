"""How is a callable watched that is not a plain function: a partial, a bound method, a builtin, a callable object?"""

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
        """A proxy, and what ours keep on it."""

        # Declared here only: a class of a proxy that has annotations shows these for those of what it stands for.

        _self_again: Callable[[Any], Any]
        """Watches another object just like this one."""

        _self_drive: Callable[[Any], Callable[..., Any]]
        """Gives what runs another object under calls of the same tool."""

        _self_run: Callable[..., Any]
        """Runs a bound object under a call."""
else:
    Proxy = wrapt.ObjectProxy  # older versions cannot be subscripted while the program runs


class MonitoredProxy(Proxy):
    """A transparent proxy: everything but calling goes to the object itself.

    Each has a class of its own, whose `__call__` is the driver: no frame stands between it and its caller.
    """

    def __repr__(self) -> str:
        """As the object itself, where a program shows it: in a log, or in what holds it."""
        return repr(self.__wrapped__)

    def __copy__(self) -> Any:
        """A watched copy."""
        return self._self_again(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A watched deep copy."""
        return self._self_again(copy.deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as the object is: by name where that is by name, else its pickle, to be watched again."""
        reduced = self.__wrapped__.__reduce_ex__(protocol)
        return reduced if isinstance(reduced, str) else (self._self_again, (self.__wrapped__,))

    def __reduce__(self) -> Any:
        """As `__reduce_ex__`."""
        return self.__reduce_ex__(2)


class BoundObject(MonitoredProxy):
    """A watched object as it is read from an instance: made anew at each look, so of no class of its own."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it under a call."""
        return self._self_run(*args, **kwargs)


def proxy(
    kind: type[MonitoredProxy], target: Any, drive: Callable[[Any], Callable[..., Any]], again: Callable[[Any], Any]
) -> Any:
    """A proxy of `target` whose calls are watched.

    Args:
        kind: the class of the proxy.
        target: the callable object.
        drive: gives what runs an object under calls of the tool.
        again: watches another object in the same way, as where this one is copied.
    """
    run, call = drive(target), inspect.getattr_static(type(target), "__call__")
    if type(call) in (types.FunctionType, staticmethod, classmethod):  # frameworks make their schema of an object's
        functools.update_wrapper(run, call.__get__(target, type(target)))
    members: dict[str, Any] = {"__call__": staticmethod(run)}
    if hasattr(type(target), "__get__"):
        members["__get__"] = _bind
    if hasattr(type(target), "__set_name__"):
        members["__set_name__"] = _tell_name
    watched = type(kind.__name__, (kind,), members)(target)
    # What begins with _self_ wrapt keeps on the proxy itself.
    watched._self_again, watched._self_drive = again, drive
    return watched


def _tell_name(self: Any, owner: type, name: str) -> None:
    """A class has been made with this in it, and says so to the object, as a class asks the type only."""
    type(self.__wrapped__).__set_name__(self.__wrapped__, owner, name)


def _bind(self: Any, instance: Any, owner: type | None = None) -> Any:
    """Read from a class or an instance: bound as the object would be, and watched."""
    target = self.__wrapped__
    bound = type(target).__get__(target, instance, owner)
    if bound is target:
        return self
    if type(bound) is types.MethodType and bound.__func__ is target:
        return types.MethodType(self, bound.__self__)
    watched: Any = BoundObject(bound)
    watched._self_again, watched._self_drive = self._self_again, self._self_drive
    watched._self_run = self._self_drive(bound)
    return watched
