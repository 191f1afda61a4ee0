"""What if something comes in between two steps of the interpreter? It is made to, at each of them in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import toolweaver_monitor

OURS = str(Path(toolweaver_monitor.__file__).parent)


def steps_of(function: Callable[[], object], within: str = OURS) -> int:
    """How many steps (opcodes) `function` takes in files below the folder `within`."""
    return _traced(function, lambda _: None, within)


def interrupted(function: Callable[[], object], step: int, interrupt: Callable[[], object], within: str = OURS) -> bool:
    """Run `function` and call `interrupt` before its `step`-th opcode in files below `within`. False if it is shorter.

    What `interrupt` raises is raised there. To have a signal come in, let it `signal.raise_signal(...)`.
    """
    struck = False

    def at(count: int) -> None:
        nonlocal struck
        if count == step:
            struck = True
            interrupt()

    _traced(function, at, within)
    return struck


def _traced(function: Callable[[], object], at: Callable[[int], None], within: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            count += 1
            at(count)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count
