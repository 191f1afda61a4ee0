"""Does a watched object say of itself what the object says, where ours might stand before it?"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from typing import Any

import pytest

from toolweaver_monitor import instrument, monitored, uninstrument


@functools.cache
def cached(page: int) -> list[str]:
    """Read a page."""
    return [str(page)]


class Reader:
    """Has what is no plain function: its bound methods, and a cached one."""

    def read(self, page: int) -> list[str]:
        """Read a page."""
        return [str(page)]

    cached = cached
    watched = monitored("cached")(cached)


@pytest.mark.parametrize(
    ("plain", "tool"),
    [
        (Reader().read, monitored("read")(Reader().read)),
        (cached, monitored("cached")(cached)),
        (Reader().cached, Reader().watched),
    ],
    ids=["a bound method", "a cached function", "a cached method"],
)
def test_annotations_are_those_of_the_object(plain: Any, tool: Any) -> None:
    """Annotations and type hints of a watched object are the object's own.

    Mutation: annotate an attribute in a class of the proxy; a bound method then had `_self_again` for its parameter.
    """
    assert tool.__annotations__ == plain.__annotations__ == {"page": "int", "return": "list[str]"}
    assert inspect.get_annotations(tool) == plain.__annotations__
    assert typing.get_type_hints(tool) == typing.get_type_hints(plain) == {"page": int, "return": list[str]}


def test_annotations_of_what_is_planted_are_those_of_the_object() -> None:
    """As above, where `instrument()` has put the watched object into a module."""
    module: Any = types.ModuleType("pages")
    module.cached = functools.cache(cached.__wrapped__)
    module.cached.__module__ = "pages"
    instrument(module)
    try:
        assert type(module.cached) is not type(cached)
        assert typing.get_type_hints(module.cached) == {"page": int, "return": list[str]}
    finally:
        uninstrument(module)
