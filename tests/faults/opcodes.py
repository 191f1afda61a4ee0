"""What if a signal comes in between two steps of the interpreter? It is made to, at each place where one can.

CPython looks for signals and asynchronous exceptions after a call, on entering a function and when a loop goes round,
and nowhere else: what stands between two such places is one step.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import toolweaver_monitor

OURS = str(Path(toolweaver_monitor.__file__).parent)
LOOKS_AFTER = ("CALL", "RESUME", "JUMP_BACKWARD", "SEND")


def places_in(function: Callable[[], object], within: str = OURS) -> int:
    """How many places `function` has in files below the folder `within`."""
    return _traced(function, lambda _: None, within)


def interrupted(
    function: Callable[[], object], place: int, interrupt: Callable[[], object], within: str = OURS
) -> bool:
    """Run `function` and call `interrupt` at its `place`-th place in files below `within`. False if it has fewer.

    What `interrupt` raises is raised there. To have a signal come in, let it `signal.raise_signal(...)`.
    """
    struck = False

    def at(count: int) -> None:
        nonlocal struck
        if count == place:
            struck = True
            interrupt()

    _traced(function, at, within)
    return struck


def _traced(function: Callable[[], object], at: Callable[[int], None], within: str) -> int:
    count = 0
    before: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before.get(frame, "RESUME").startswith(LOOKS_AFTER):
                count += 1
                at(count)
            before[frame] = name
        elif event == "return":
            before.pop(frame, None)
        return trace

    earlier = sys.gettrace()
    collecting = gc.isenabled()
    gc.disable()  # our hook in the collector is no place of the function's, and Python ignores what is raised there
    sys._getframe().f_trace_opcodes = True  # else CPython 3.12 does not begin to look at opcodes
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(earlier)
        if collecting:
            gc.enable()
    return count
