"""Interrupt a function between two steps of the interpreter, at each place where a signal can.

CPython checks for signals and asynchronous exceptions after a call that returned, on entering a function and when a
loop jumps back, and nowhere else. What stands between two such places is one step.
"""

from __future__ import annotations

import _thread
import dis
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import toolweaver_monitor

OURS = str(Path(toolweaver_monitor.__file__).parent)
LOOKS_AFTER = ("CALL", "RESUME", "JUMP_BACKWARD", "SEND")
HANDLES = ("PUSH_EXC_INFO", "COPY", "CLEANUP_THROW")
"""How the handlers of exceptions begin. CPython does not look after a call that raised: an error that strikes before
these would leave the earlier one as the handled one of the thread for good."""
TOOL_ID = 4
"""An id that no kind of tool (debugger, coverage, profiler, optimizer) has by convention."""


def places_in(function: Callable[[], object], within: str = OURS) -> int:
    """Return how many places `function` has in files below the folder `within`."""
    return _traced(function, lambda _: None, within)


def interrupted(
    function: Callable[[], object], place: int, interrupt: Callable[[], object], within: str = OURS
) -> bool:
    """Run `function` and call `interrupt` at its `place`-th place in files below `within`.

    What `interrupt` raises is raised there. To simulate a signal, let it call `signal.raise_signal(...)`.

    Returns:
        False if the function has fewer places.
    """
    struck = False

    def at(count: int) -> None:
        nonlocal struck
        if count == place:
            struck = True
            interrupt()

    _traced(function, at, within, lambda: struck)
    return struck


def _traced(
    function: Callable[[], object], at: Callable[[int], None], within: str, done: Callable[[], bool] = lambda: False
) -> int:
    count = 0
    before: dict[FrameType, str] = {}

    def look(frame: FrameType) -> None:
        nonlocal count
        name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if name not in HANDLES and before.get(frame, "RESUME").startswith(LOOKS_AFTER):
            count += 1
            at(count)
        before[frame] = name

    collecting = gc.isenabled()
    gc.disable()  # the package's collector hook is no place of the function, and Python ignores what is raised there
    try:
        if sys.version_info >= (3, 13):
            _trace_by_monitoring(function, look, before, within, done)
        else:
            _trace_by_settrace(function, look, before, within)
    finally:
        if collecting:
            gc.enable()
    return count


def _trace_by_settrace(
    function: Callable[[], object], look: Callable[[FrameType], None], before: dict[FrameType, str], within: str
) -> None:
    """Call `look` before every instruction, by `sys.settrace`."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            look(frame)
        elif event == "return":
            before.pop(frame, None)
        return trace

    earlier = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # else CPython 3.12 does not trace opcodes
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(earlier)


def _trace_by_monitoring(
    function: Callable[[], object],
    look: Callable[[FrameType], None],
    before: dict[FrameType, str],
    within: str,
    done: Callable[[], bool],
) -> None:
    """As `_trace_by_settrace`, by `sys.monitoring`: CPython 3.13 calls no trace function for a code's first call."""
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    events = monitoring.events
    this_thread = _thread.get_ident()

    def instruction(code: CodeType, _: int) -> Any:
        if not code.co_filename.startswith(within):
            return monitoring.DISABLE
        if done():  # events come from every thread, and the threads that deliver must not be slowed down
            monitoring.set_events(TOOL_ID, 0)
        elif _thread.get_ident() == this_thread:
            look(sys._getframe(1))
        return None

    def left(*_: object) -> None:
        before.pop(sys._getframe(1), None)

    monitoring.use_tool_id(TOOL_ID, "opcodes")
    monitoring.register_callback(TOOL_ID, events.INSTRUCTION, instruction)
    for event in (events.PY_RETURN, events.PY_YIELD, events.PY_UNWIND):
        monitoring.register_callback(TOOL_ID, event, left)
    monitoring.set_events(TOOL_ID, events.INSTRUCTION | events.PY_RETURN | events.PY_YIELD | events.PY_UNWIND)
    try:
        function()
    finally:
        monitoring.set_events(TOOL_ID, 0)
        monitoring.free_tool_id(TOOL_ID)
        monitoring.restart_events()
