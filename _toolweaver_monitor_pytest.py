"""The pytest plugin: the fixture `toolweaver` gives each test a `toolweaver_monitor.testing.ToolRecorder`.

This module stands beside the package, not in it. So a test run that does not use the fixture imports nothing of the
package, and starts as fast as before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from toolweaver_monitor.testing import ToolRecorder


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that `--strict-markers` accepts it."""
    config.addinivalue_line(
        "markers",
        "toolweaver(**settings): arguments that the fixture `toolweaver` passes to setup(), such as budget=1.0",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Show the calls below a test that has failed, if the failed assertion does not show them itself."""
    outcome = yield
    report = outcome.get_result()
    recorder = getattr(item, "funcargs", {}).get("toolweaver")
    if recorder is not None and call.when == "call" and report.failed and not getattr(recorder, "_has_failed", True):
        report.sections.append(("tool calls", recorder.call_tree()))


@pytest.fixture
def toolweaver(request: pytest.FixtureRequest) -> Iterator[ToolRecorder]:
    """Monitor tools in memory for this test: `toolweaver.assert_called("ocr", times=3, max_cost=0.30)`."""
    from toolweaver_monitor.testing import ToolRecorder

    marker = request.node.get_closest_marker("toolweaver")
    with ToolRecorder(**(marker.kwargs if marker is not None else {})) as recorder:
        yield recorder
