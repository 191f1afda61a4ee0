"""Warn of `@monitored` above a decorator that has registered the bare function: the framework does not call ours."""

from __future__ import annotations

import gc
import sys
from typing import Any

from toolweaver_monitor._core.introspect import own_namespace, vars_of
from toolweaver_monitor._instrument.shield import log

_RETURN_IT = ("fastmcp", "mcp", "pydantic_ai")
"""The frameworks whose decorators return the function that they were given."""


def warn_if_registered(function: Any, name: str) -> None:
    """Warn if an object of such a framework holds a function that is about to be monitored.

    Looks at what refers to the function: 15 ms among 130,000 objects, where one of them is loaded. A list of all young
    objects would be quicker, but while it holds a tuple that another thread is still making, CPython raises SystemError
    in that thread.

    Args:
        function: what `@monitored` stands above.
        name: its tool's name.
    """
    if not any(package in sys.modules for package in _RETURN_IT):
        return
    holders = gc.get_referrers(function)
    namespaces = [each for each in holders if type(each) is dict]
    for thing in (*holders, *(gc.get_referrers(*namespaces) if namespaces else ())):
        home = vars_of(type(thing)).get("__module__")
        package = home.partition(".")[0] if type(home) is str else ""
        if package in _RETURN_IT and any(value is function for value in (own_namespace(thing) or {}).values()):
            log.warning(
                "toolweaver_monitor: @monitored(%r) stands above the decorator by which %s has registered %s already, "
                "so that what it runs is not monitored; put @monitored below that decorator",
                name, package, getattr(function, "__name__", "the function"),
            )  # fmt: skip
            return
