"""The port of an endpoint that was given none: the usual one, unless a web server runs the program and may want it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from toolweaver_monitor._core.introspect import is_class, is_module, vars_of

PORT_BESIDE_SERVER = 9464
"""The default of OpenTelemetry's Prometheus exporters."""
SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "fastapi", "fastmcp"})
"""Programs that serve HTTP, by their command and their package."""


class PortChoice(NamedTuple):
    """A port, and why it is not the usual one."""

    port: int
    reason: str = ""


def choose_port(usual: int) -> PortChoice:
    """Return the port for an endpoint that was given none.

    Args:
        usual: the port if no web server runs the program.
    """
    server = find_server()
    if not server:
        return PortChoice(usual)
    return PortChoice(PORT_BESIDE_SERVER, f"{PORT_BESIDE_SERVER} and not {usual}, which {server} may serve on")


def find_server() -> str:
    """Return the web server that runs this program, or that its main module has imported; empty if there is none.

    A worker that a server spawned has the server's command line: `multiprocessing` hands it on.
    """
    command = [each for each in sys.argv[:2] if isinstance(each, str)]
    name = _command_name(command[0]) if command else ""
    if name in SERVERS:
        return name
    if command[1:] == ["runserver"] and "django" in sys.modules:
        return "Django's runserver"
    main = sys.modules.get("__main__")
    found = vars(main) if is_module(main) else {}
    names = [getattr(found.get("__spec__"), "name", ""), *map(_origin, list(found.values())), *_imported_later(found)]
    return next((part for name in names for part in name.split(".") if part in SERVERS), "")


def _imported_later(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in the code of the main module: `import uvicorn` may stand below `setup()`, or in a function."""
    for value in list(found.values()):
        if type(value) is FunctionType:
            yield from value.__code__.co_names
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is found:
            yield from frame.f_code.co_names
        frame = frame.f_back


def _command_name(path: str) -> str:
    """Return the name of the command or of the package that runs: `uvicorn` for `python -m uvicorn`, too."""
    folder, file = os.path.split(path)
    return os.path.basename(folder) if file == "__main__.py" else file.removesuffix(".exe")  # noqa: PTH119 - 2 ms


def _origin(value: Any) -> str:
    """Return the module that a value is, or comes from, or whose class it has. Runs no code of the value."""
    if is_module(value):
        name = vars(value).get("__name__")
    elif type(value) is FunctionType:
        name = value.__module__
    else:
        name = vars_of(value if is_class(value) else type(value)).get("__module__")
    return name if isinstance(name, str) else ""
