"""`@monitored` above a decorator that registers the function as it is, and returns it."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import monitored


class RegisteredTool:
    """What such a decorator makes of a function."""

    __module__ = "mcp.server.tools"

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn


class Server:
    """Has a decorator as those of MCP, FastMCP and PydanticAI are."""

    def __init__(self) -> None:
        self.tools: list[RegisteredTool] = []

    def tool(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.tools.append(RegisteredTool(function))
        return function


@pytest.mark.parametrize("is_loaded", [True, False])
def test_it_is_told_at_once_that_the_framework_runs_the_other_function(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    """Objects are looked at only where such a framework is loaded. Seen red: nothing was said."""
    if is_loaded:
        monkeypatch.setitem(sys.modules, "mcp", types.ModuleType("mcp"))
    else:
        for name in ("fastmcp", "mcp", "pydantic_ai"):
            monkeypatch.delitem(sys.modules, name, raising=False)
    server = Server()

    @monitored("read_slip")
    @server.tool
    def read_slip() -> None: ...

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == is_loaded
    assert all("@monitored('read_slip')" in each and "mcp has registered read_slip" in each for each in told)


def test_below_the_decorator_nothing_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", types.ModuleType("mcp"))
    server = Server()

    @server.tool
    @monitored("read_slip")
    def read_slip() -> None: ...

    assert not caplog.records


def test_another_thread_may_make_tuples_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython raises SystemError in a thread whose unfinished tuple another one holds, as the list of all objects does.

    Seen red: with `gc.get_objects()` held while the other thread ran.
    """
    monkeypatch.setitem(sys.modules, "mcp", types.ModuleType("mcp"))
    failures: list[BaseException] = []
    done = threading.Event()

    def make_tuples() -> None:
        try:
            while not done.is_set():
                tuple(number for number in range(100))
        except SystemError as error:
            failures.append(error)

    thread = threading.Thread(target=make_tuples)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(100):
            monitored("read_slip")(lambda: None)
    finally:
        sys.setswitchinterval(before)
        done.set()
        thread.join()
    assert failures == []
