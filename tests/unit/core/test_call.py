"""The public members of a call, and its repr."""

from __future__ import annotations

import pickle

import pytest

from toolweaver_monitor import ToolCall, current_call, track
from toolweaver_monitor._core.call import CallDetails

PUBLIC = {
    "tool_name", "outcome", "duration_s", "started_at", "first_item_s", "items", "tokens", "input_tokens",
    "output_tokens", "cached_tokens", "cache_write_tokens", "cost_usd", "cost_source", "model", "provider", "cached",
    "attempt", "tags", "error_type", "error", "is_error", "arguments", "result", "call_id", "parent_id", "trace_id",
    "record", "fail", "as_dict", "budget_left",
}  # fmt: skip


def test_dir_shows_what_a_user_may_touch() -> None:
    """Nothing else is offered by a notebook's Tab.

    Seen red: with `_redact` named `redact`.
    """
    assert {name for name in dir(ToolCall("ocr")) if not name.startswith("_")} == PUBLIC
    with track("ocr") as call:
        assert {name for name in dir(call) if not name.startswith("_")} >= PUBLIC


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (ToolCall("ocr"), "<ToolCall 'ocr': open>"),
        (ToolCall("ocr", "success", 0.25), "<ToolCall 'ocr': success in 0.250000 s>"),
        (
            ToolCall("ocr", "failure", 1e-6, _details=CallDetails(cost_nanousd=1_200_000, raw_error="sk-secret")),
            "<ToolCall 'ocr': failure in 0.000001 s, $0.0012>",
        ),
        (ToolCall("a\n\x1b[31m", "success"), r"<ToolCall 'a\n\x1b[31m': success in 0.000000 s>"),
    ],
)
def test_a_call_shows_itself_in_one_line(call: ToolCall, shown: str) -> None:
    """Tool, outcome, duration and cost, and nothing that could hold a secret."""
    assert repr(call) == shown
    assert repr(pickle.loads(pickle.dumps(call))) == shown


def test_outside_any_call_the_current_one_says_that_it_is_none() -> None:
    """It records nothing, and shows that."""
    assert repr(current_call()) == "<NoopCall>"
