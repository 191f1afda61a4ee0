"""Which tags were meant as figures? `record(token=3)` is a tag, since any keyword may be one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from toolweaver_monitor._stats.rollup import Rollup
from toolweaver_monitor._stats.tool_stats import Tallies

FIGURES = ("tokens", "input_tokens", "output_tokens", "cached_tokens", "cost", "attempt")
"""The numbers that `ToolCall.record` takes."""
ELSEWHERE = {
    "cost_usd": "cost", "price": "cost", "tokens_used": "tokens", "total_tokens": "tokens",
    "prompt_tokens": "input_tokens", "completion_tokens": "output_tokens",
}  # fmt: skip
"""What others call them."""


def meant_as_figures(sources: Iterable[Tallies]) -> dict[str, str]:
    """Keys of tags that hold a number and are called almost as a figure is, each with that figure's name."""
    try:
        from difflib import get_close_matches  # 1 ms that the import need not take
    except ImportError:  # a program that gave up its rights may no longer read Python's own library
        return {}
    found: dict[str, str] = {}
    for source in sources:
        with source.lock:
            found.update(_in(source.rollup, get_close_matches))
    return found


def _in(rollup: Rollup, close: Callable[..., list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in rollup.tag_keys():
        near = [ELSEWHERE[key]] if key in ELSEWHERE else close(key.lower(), FIGURES, 1, 0.8)
        if near and any(map(_is_number, rollup.by_tag(key))):
            found[key] = near[0]
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
