"""Monitor the tool calls of MCP servers and clients.

Each library has one place that sees every call once:

- `mcp` 2 looks up `MCPServer.call_tool` for every request, so that patching the method is enough.
- `mcp` 1 hands out `FastMCP.call_tool` while the server is built, but its tool manager is used for every call.
- `fastmcp` 2 and later documents middleware for this; its `call_tool` calls itself.
"""

from __future__ import annotations

from typing import Any

from toolweaver_monitor._core.context import TagScope, current
from toolweaver_monitor._core.introspect import is_class, label, mro_of, namespace
from toolweaver_monitor._instrument.decorator import wrap
from toolweaver_monitor._instrument.patching.frameworks import SERVER_ROW
from toolweaver_monitor._instrument.patching.known import result_reader
from toolweaver_monitor._instrument.patching.options import InstrumentOptions
from toolweaver_monitor._instrument.patching.watches import Watch
from toolweaver_monitor.errors import ConfigurationError


def is_from_package(target: Any, package: str, class_name: str = "") -> bool:
    """Return whether an object or class is, or inherits from, a class of a package: the named one, or any."""
    for kind in mro_of(target if is_class(target) else type(target)):
        home = namespace(kind).get("__module__")
        if isinstance(home, str) and f"{home}.".startswith(f"{package}.") and class_name in ("", label(kind)):
            return True
    return False


def tool_manager_of(target: Any) -> Any:
    """Return the part of an `mcp` 1 server that every call goes through; any other target as it is."""
    if is_from_package(target, "mcp.server.fastmcp", "FastMCP") and not is_class(target):
        return target._tool_manager
    return target


def takes_middleware(target: Any) -> bool:
    """Return whether a target is a `fastmcp` server.

    Raises:
        ConfigurationError: the target is the class of these servers.
    """
    if not is_from_package(target, "fastmcp", "FastMCP"):
        return False
    if is_class(target):
        raise ConfigurationError(
            "a FastMCP server is instrumented as an object", hint="instrument(server), not its class"
        )
    return True


def add_middleware(server: Any, options: InstrumentOptions, watch: Watch) -> None:
    """Monitor a `fastmcp` server with the outermost middleware, which also sees calls that other middleware rejects."""
    from fastmcp.server.middleware import Middleware

    async def call_tool(context: Any, call_next: Any) -> Any:
        return await call_next(context)

    def read_name(context: Any, _call_next: Any) -> str:
        watch.count()
        name, arguments = context.message.name, context.message.arguments
        return options.tool_name(name, arguments) if callable(options.tool_name) else options.tool_name or name

    declared = dict(options.declarations)
    declared["usage"] = result_reader(SERVER_ROW, declared.get("usage"))
    monitored_call = wrap(call_tool, read_name, **declared)
    watch.methods["call_tool"], watch.has_reader = None, True

    class MonitoringMiddleware(Middleware):  # type: ignore[misc]  # defined here, as fastmcp is imported only if it is used
        """Monitors tool calls for `instrument(server)`."""

        __module__ = __name__

        async def on_call_tool(self, context: Any, call_next: Any) -> Any:
            around = current.get()
            if type(around) is TagScope and around.request is not None:  # its span has the tool's name only later
                around.request.tool_name = context.message.name
            return await monitored_call(context, call_next)

    remove_middleware(server)
    server.middleware.insert(0, MonitoringMiddleware())


def remove_middleware(server: Any) -> None:
    """Remove the middleware from a `fastmcp` server."""
    server.middleware[:] = [each for each in server.middleware if not is_from_package(each, __name__)]
