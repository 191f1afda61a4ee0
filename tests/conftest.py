"""What all tests share: the calls that were seen, and real programs, which CI has and a user's machine may lack."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import toolweaver_monitor
from toolweaver_monitor import ToolCall, flush, setup
from toolweaver_monitor._core.context import current
from toolweaver_monitor._text.names import exposed_tools

if (HERE := str(Path(__file__).parent)) not in sys.path:
    sys.path.append(HERE)  # for `helpers` and the modules beside it
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.fixture(scope="session")
def require_program() -> Callable[..., str]:
    """Return the path of a program: `require_program("promtool", "apt-get install prometheus")`.

    On a user's machine that has none the test is skipped with a message; where the variable `CI` is set it fails.
    """

    def require(name: str, cure: str = "") -> str:
        path = shutil.which(name)
        if path is not None:
            return path
        message = f"this test needs the program {name!r}: {cure or f'apt-get install {name}'}"
        if IN_CI:
            pytest.fail(f"{message} (in CI it must be there)", pytrace=False)
        pytest.skip(message)

    return require


@pytest.fixture(scope="session")
def require_package() -> Callable[..., None]:
    """Continue only if a package is installed; otherwise skip or fail as `require_program`."""

    def require(name: str, cure: str) -> None:
        if importlib.util.find_spec(name) is None:
            if IN_CI:
                pytest.fail(f"this test needs the package {name!r}: {cure} (in CI it must be there)", pytrace=False)
            pytest.skip(f"this test needs the package {name!r}: {cure}")

    return require


@pytest.fixture(scope="session")
def real_wandb(require_package: Callable[..., None]) -> None:
    """For tests of the real W&B: `pytestmark = pytest.mark.usefixtures("real_wandb")`."""
    require_package("wandb", "pip install 'toolweaver_monitor[wandb]'")


@pytest.fixture(scope="session")
def real_otlp(require_package: Callable[..., None]) -> None:
    """For tests of the real OpenTelemetry SDK and a real receiver, which they import from `otlp_receiver`."""
    require_package("opentelemetry", "pip install 'toolweaver_monitor[otlp]'")


@pytest.fixture
def calls() -> Iterator[Callable[[], list[ToolCall]]]:
    """Return the calls since the last request."""
    seen: list[ToolCall] = []
    setup(seen.append)

    def taken() -> list[ToolCall]:
        assert flush()
        found = seen.copy()
        seen.clear()
        return found

    yield taken
    assert not taken(), "a call that the test did not ask for"


@pytest.fixture(autouse=True)
def nothing_is_left_set_up() -> Iterator[None]:
    """End what a test has set up, so that the next one starts with nothing monitored."""
    exposed_tools.clear()  # those of other tests would all be exposed
    folder = os.environ.get("TOOLWEAVER_MONITOR_SHARED")
    yield
    toolweaver_monitor.shutdown()
    if folder is None:  # what `setup(shared=True)` writes for children; other tests' programs would join that run
        os.environ.pop("TOOLWEAVER_MONITOR_SHARED", None)
    assert current.get() is None, "the test left a call open in this context: the next one's calls would be inside it"
