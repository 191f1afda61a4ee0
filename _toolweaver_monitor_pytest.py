"""What does pytest get? The fixture `toolweaver`: a `toolweaver_monitor.testing.ToolRecorder` for each test.

A module beside the package, not in it, so that a test run which does not use the fixture imports nothing of the
package and starts as fast as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from toolweaver_monitor.testing import ToolRecorder


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also to `--strict-markers`."""
    config.addinivalue_line(
        "markers", "toolweaver(**settings): what the fixture `toolweaver` gives to setup(), such as budget=1.0"
    )


@pytest.fixture
def toolweaver(request: pytest.FixtureRequest) -> Iterator[ToolRecorder]:
    """Watches tools in memory for this test: `toolweaver.assert_called("ocr", times=3, max_cost=0.30)`."""
    from toolweaver_monitor.testing import ToolRecorder

    marker = request.node.get_closest_marker("toolweaver")
    with ToolRecorder(**(marker.kwargs if marker is not None else {})) as recorder:
        yield recorder
