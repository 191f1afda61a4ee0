"""Opening a call beyond the plain steps."""

from __future__ import annotations

import pytest

from toolweaver_monitor import ToolCall, monitored, setup
from toolweaver_monitor._core.sanitize import Diagnostics


def test_a_naming_function_that_raises_costs_the_call_nothing_but_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call runs under the function's own name, with the tags and the arguments that this setup asks of every call.

    Seen red: with both under one `try`, tags and arguments were left out.
    """
    monkeypatch.setattr(Diagnostics, "extractor_errors", 0)
    seen: list[ToolCall] = []

    def no_name(question: str) -> str:
        raise LookupError(question)

    @monitored(tool_name=no_name)
    def ask(question: str) -> str:
        return question.upper()

    with setup(seen.append, tags={"customer": "acme"}, capture=True) as monitor:
        assert ask("why") == "WHY"
        assert monitor.flush()
    assert [(call.tool_name, dict(call.tags), call.arguments) for call in seen] == [
        ("ask", {"customer": "acme"}, "question='why'")
    ]
    assert Diagnostics.extractor_errors == 1
