"""Suggestions for misspelt names."""

from __future__ import annotations

import sys

import pytest

from toolweaver_monitor._text.names import suggest


def test_a_misspelt_name_suggests_the_closest_whatever_its_case() -> None:
    """As many as wanted, in the spelling that is known.

    Seen red: with no `.lower()` of the name, and with none of those that are known.
    """
    known = ("prometheus", "wandb", "LogSink")
    assert suggest("PROMETHUES", known) == ["prometheus"]
    assert suggest("logsnik", known) == ["LogSink"]
    assert suggest("nothing like it", known) == []
    assert suggest("run_tol", ["run_tool", "run_tools", "stop"], count=3) == ["run_tool", "run_tools"]
    assert suggest("token", ["tokens"], cutoff=0.95) == []


def test_without_its_library_there_is_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that gave up its rights may no longer read Python's own library."""
    monkeypatch.setitem(sys.modules, "difflib", None)
    assert suggest("wandb", ["wandb"]) == []
