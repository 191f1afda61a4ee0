"""Answer a name that does not exist with the one that was meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, ParamSpec, TypeVar

from toolweaver_monitor._text.names import suggest

P = ParamSpec("P")
T = TypeVar("T")


_INSTRUMENTED = "setup(PrometheusExporter(port=8000)) and instrument(orchestrator), then orchestrator.execute_tool(...)"
GUIDE_NAMES: Mapping[str, str] = {
    "execute_with_prometheus": _INSTRUMENTED,
    "execute_with_metrics": _INSTRUMENTED,
    "execute_with_cost_tracking": _INSTRUMENTED,
    "execute_with_error_tracking": _INSTRUMENTED,
    **dict.fromkeys(("tool_executions", "tool_duration", "tool_cost", "active_operations"), _INSTRUMENTED),
    "start_http_server": "setup(PrometheusExporter(port=8000))",
    "RotatingMetricsCollector": "MetricsCollector(max_operations=10_000)",
}
"""What to write instead of names that the code of ToolWeaver's guide defines, and that one may look for here."""


def refuse_guide_name(module: str, name: str) -> None:
    """Raise for a name of the guide's code, with what to write instead.

    Raises:
        ImportError: `name` is one. Of an AttributeError, `from module import name` would lose the text.
    """
    if name in GUIDE_NAMES:
        raise ImportError(f"{module} has no {name}; write {GUIDE_NAMES[name]}", name=module)


class AnswersGuesses:
    """Base of what users read: an attribute that does not exist raises with what was meant."""

    _meant: ClassVar[Mapping[str, str]] = {}
    """What to write instead of a name that one guesses, and that is not like the right one."""

    def __getattr__(self, name: str) -> Any:
        kind = type(self)
        text = f"{kind.__name__!r} object has no attribute {name!r}"
        if not name.startswith("_"):
            meant = next((kind._meant[each] for each in (name, name.removeprefix("get_")) if each in kind._meant), None)
            close = suggest(name, [each for each in dir(kind) if not each.startswith("_")])
            text += f"; write {meant}" if meant else f"; did you mean {close[0]!r}?" if close else ""
        # With neither name nor obj Python would set both, and add a guess of its own.
        raise AttributeError(text, name=name)


NAMES_OF_CALLS: Mapping[str, str] = {
    **dict.fromkeys(("set_cost", "add_cost"), "call.record(cost=...)"),
    **dict.fromkeys(("set_tokens", "add_tokens"), "call.record(tokens=...)"),
    **dict.fromkeys(("set_tag", "add_tag", "set_tags", "set_attribute"), "call.record(your_tag=...)"),
    **dict.fromkeys(("set_error", "set_status"), 'call.fail("why")'),
}
"""What to write instead of names that one guesses of a call."""


def answer_guesses(kind: type, meant: Mapping[str, str]) -> None:
    """Have names that one guesses answered by a class for which `AnswersGuesses` is too slow.

    A `__getattr__` slows down the reading of all attributes (CPython 3.11). `dir()` of an object leaves the names out.
    """
    for name, instead in meant.items():
        setattr(kind, name, _GuessedName(name, instead))
    owner: Any = kind
    shown = owner.__dir__
    owner.__dir__ = lambda self: [name for name in shown(self) if name not in meant]


class _GuessedName:
    """Stands in a class for a name that one guesses: reading it raises with what to write instead."""

    def __init__(self, name: str, meant: str) -> None:
        self._name, self._meant = name, meant

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}; write {self._meant}", name=self._name
        )


class GuessedKeys(dict[str, Any]):
    """A dict of figures, ready for JSON, that answers a key which does not exist with the one that was meant.

    Args:
        values: what it holds.
        on_demand: values that are worked out only when they are asked for, and are neither stored nor shown.
    """

    def __init__(self, values: Mapping[str, Any], on_demand: Mapping[str, Callable[[], Any]] | None = None) -> None:
        super().__init__(values)
        self._on_demand = on_demand or {}

    def __missing__(self, key: str) -> Any:
        if key in self._on_demand:
            return self._on_demand[key]()
        names = [*self, *self._on_demand]
        close = (
            [each for each in names if key in each.split("_")] or suggest(key, names) if isinstance(key, str) else []
        )
        raise KeyError(f"{key}; did you mean {close[0]!r}?" if close else key)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def suggest_keywords(
    hint: Callable[[str], str | None] | None = None, **meant: str
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Add to a function's `TypeError` for an unknown keyword which one was meant, or where the keyword belongs.

    Args:
        hint: gets the keyword and returns what to do; None if it knows no better.
        **meant: what to do instead of a keyword that one guesses. Default: take the one that is most like it.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters.values()
        known = tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))
        known = tuple(name for name in known if name != "self")
        is_init = function.__name__ == "__init__"

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known:
                    what = meant.get(name) or (hint and hint(name)) or _closest(name, known)
                    shown = type(args[0]).__name__ if is_init else function.__qualname__
                    raise TypeError(f"{shown}() got an unexpected keyword argument {name!r}; {what}")
            return function(*args, **kwargs)

        return wrapper

    return decorate


def _closest(name: str, known: tuple[str, ...]) -> str:
    close = suggest(name, known)
    return f"did you mean {close[0]}=?" if close else f"there are {', '.join(known)}"
