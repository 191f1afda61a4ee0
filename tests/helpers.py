"""What tests of several folders need: a free port, a wait for a condition, a pid namespace, where the package is."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import toolweaver_monitor

T = TypeVar("T")

OURS = str(Path(toolweaver_monitor.__file__).parents[1])
"""The folder with the package, for the `PYTHONPATH` of a program."""


CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What runs a command as process 1 of a pid namespace, as in a container."""


def require_pid_namespaces() -> None:
    """Skip the test where a pid namespace cannot be made."""
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespace can be made here")


def free_port() -> int:
    """Return a port of loopback at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(condition: Callable[[], T], timeout_s: float = 20, *, every_s: float = 0.01, fault: object = "") -> T:
    """Return what a condition gives as soon as that is true; an `OSError` counts as not yet.

    Args:
        condition: asked again and again.
        timeout_s: seconds after which the test fails.
        every_s: seconds between two looks.
        fault: what the failure says; a callable is called then.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = condition()
            seen: object = found
        except OSError as error:
            found, seen = None, error  # type: ignore[assignment]
        if found:
            return found
        assert time.monotonic() < deadline, fault() if callable(fault) else fault or f"after {timeout_s} s: {seen!r}"
        time.sleep(every_s)
