"""Where can the tool calls of an MCP server or client be intercepted, and what do their results say?

What is known of each library:

- `mcp` 2: `MCPServer.call_tool` is looked up anew for every request, so watching that method is enough.
- `mcp` 1: `FastMCP` hands its `call_tool` out while it is built; its tool manager is asked for every call.
- `fastmcp` 2 and later: a middleware is the documented way, and sees each call once (`call_tool` calls itself).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolweaver_monitor._core.context import current_call
from toolweaver_monitor._core.introspect import is_class, label, mro_of, namespace
from toolweaver_monitor._instrument.closing import Settings
from toolweaver_monitor._instrument.decorator import watch
from toolweaver_monitor._usage import Usage, get_field, read_fields, reader_for
from toolweaver_monitor.errors import ConfigurationError


def is_from_package(target: Any, package: str, name: str = "") -> bool:
    """Whether an object or class is of a package's class, or of any of its classes."""
    for kind in mro_of(target if is_class(target) else type(target)):
        home = namespace(kind).get("__module__")
        if isinstance(home, str) and f"{home}.".startswith(f"{package}.") and name in ("", label(kind)):
            return True
    return False


def tool_manager_of(target: Any) -> Any:
    """The part of a server that every call goes through; any other target itself."""
    if is_from_package(target, "mcp.server.fastmcp", "FastMCP") and not is_class(target):
        return target._tool_manager
    return target


def takes_middleware(target: Any) -> bool:
    """Whether it is a server of `fastmcp`.

    Raises:
        ConfigurationError: it is the class of these, not one of them.
    """
    if not is_from_package(target, "fastmcp", "FastMCP"):
        return False
    if is_class(target):
        raise ConfigurationError("a FastMCP server is instrumented as an object: instrument(server), not its class")
    return True


def add_middleware(server: Any, tool_name: str | Callable[..., str] | None) -> None:
    """Watch the tool calls of a `fastmcp` server, outermost, so that what other middleware refuses is seen, too."""
    from fastmcp.server.middleware import Middleware

    async def call_tool(context: Any, call_next: Any) -> Any:
        return await call_next(context)

    def name_from(context: Any, _call_next: Any) -> str:
        name, arguments = context.message.name, context.message.arguments
        return tool_name(name, arguments) if callable(tool_name) else tool_name or name

    watched = watch(call_tool, name_from, usage=usage_of_result)

    class ToolCalls(Middleware):  # type: ignore[misc]  # made here, as fastmcp is imported only where it is used
        """Watches tool calls for `instrument(server)`."""

        __module__ = __name__

        async def on_call_tool(self, context: Any, call_next: Any) -> Any:
            return await watched(context, call_next)

    remove_middleware(server)
    server.middleware.insert(0, ToolCalls())


def remove_middleware(server: Any) -> None:
    """Take it out again."""
    server.middleware[:] = [each for each in server.middleware if not is_from_package(each, __name__)]


def usage_of_result(result: Any) -> Usage | None:
    """What a tool's answer says of its usage, unless a watched tool inside has said it: it is the same money.

    An answer that says of itself that it is an error makes the call a failure.
    """
    call = current_call()
    fields = read_fields(result) or {}
    if get_field(fields, "is_error") is True or get_field(fields, "isError") is True:
        content = get_field(fields, "content")
        first = read_fields(content[0]) if type(content) is list and content else None
        call.fail((first and get_field(first, "text")) or "the server answered with an error")
    if not Settings.read_results or (call._details is not None and call._details.seen):
        return Usage()  # nothing; None would have the answer itself looked at
    if type(result) is tuple:  # mcp 1: the content, and what it was made of
        result = result[-1]
    elif is_from_package(result, "fastmcp"):
        result = get_field(fields, "structured_content")
    reader = reader_for(type(result))
    return None if reader is None else reader(result)
