"""The command `toolweaver-monitor` in the process of a test."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor._cli import main


class Shell:
    """Runs the command; keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *argv: Any, code: int = 0) -> str:
        """Run it with these arguments, see that it ends with this exit code, and return what it printed."""
        found = main([str(each) for each in argv])
        self.out, self.err = self.capsys.readouterr()
        assert found == code, self.err
        return self.out
