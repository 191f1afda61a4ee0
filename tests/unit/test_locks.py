"""Every lock is released, whatever interrupts the code that holds it."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType

import pytest

import toolweaver_monitor

PACKAGE = Path(toolweaver_monitor.__file__).parent


def functions(code: CodeType) -> Iterator[CodeType]:
    """The code of a module and of all that is defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from functions(constant)


def left_open(code: CodeType) -> list[int | None]:
    """Lines of loops inside a `with` at whose turn an exception would not reach `__exit__`.

    CPython looks for signals and asynchronous exceptions when a loop jumps back. Since 3.12 the compiler puts that jump
    outside the exception table of the `with` where the loop's body ends in an `if`, as it does in every comprehension
    with a condition.
    """
    instructions = list(dis.get_instructions(code))
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    ends_a_with = {
        instructions[n - 1].offset  # PUSH_EXC_INFO stands before
        for n, instruction in enumerate(instructions)
        if instruction.opname == "WITH_EXCEPT_START"
    }

    def guards(offset: int) -> set[int]:
        """The handlers that an exception at this place goes through, one after the other."""
        found: set[int] = set()
        while True:
            handler = next((entry.target for entry in entries if entry.start <= offset < entry.end), None)
            if handler is None or handler in found:
                return found
            found.add(handler)
            offset = handler

    return [
        jump.positions.lineno if jump.positions else None
        for before, jump in pairwise(instructions)
        if jump.opname == "JUMP_BACKWARD" and before.opname != "CLEANUP_THROW"  # no loop's, but of a `yield from`
        if (guards(jump.argval) - guards(jump.offset)) & ends_a_with
    ]


FINE = """
def fine(lock, calls):
    wanted = [call for call in calls if call]
    with lock:
        for call in wanted:
            call()
"""
OPEN = """
def left_open(lock, calls):
    with lock:
        for call in calls:
            if call:
                call()
"""


def test_a_loop_that_leaves_its_with_open_is_seen() -> None:
    """The check below tells a loop that ends in an `if` from one that does not, where the compiler does so, too."""
    assert [line for code in functions(compile(FINE, "fine", "exec")) for line in left_open(code)] == []
    found = [line for code in functions(compile(OPEN, "open", "exec")) for line in left_open(code)]
    assert len(found) in {0, 1}  # none on CPython 3.11, one on 3.12 and 3.13


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_loop_leaves_a_with_open(path: Path) -> None:
    """A Ctrl-C at any turn of a loop gives back the lock that is held around it.

    The cure is to put the loop, or the comprehension, in front of the `with` or into a function that it calls.
    """
    exposed = [
        f"{code.co_qualname}, line {line}"
        for code in functions(compile(path.read_text(encoding="utf-8"), str(path), "exec"))
        for line in left_open(code)
    ]
    assert exposed == []
