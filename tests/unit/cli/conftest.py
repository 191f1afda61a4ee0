"""What the tests of the commands share."""

from __future__ import annotations

import pytest
from shell import Shell


@pytest.fixture
def sh(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run the command: `sh("report", path, "--json")`."""
    capsys.readouterr()
    return Shell(capsys)
