"""The copies of the hot path: one text, written out for functions and coroutines, and for both kinds of blocks."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import pytest

from toolweaver_monitor._instrument.track import Block
from toolweaver_monitor._instrument.wrappers import wrap_coroutine, wrap_function


def steps_of(function: Any) -> str:
    """Return the code of a copy, or of the `run` inside it, without docstring, comments, and all that is async."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    copy = [node for node in ast.walk(tree) if isinstance(node, kinds)][-1]
    steps = "\n".join(
        ast.unparse(step) for step in copy.body if ast.get_docstring(copy) is None or step is not copy.body[0]
    )
    steps = steps.replace("await ", "").removesuffix("\nreturn _DONE")
    return re.sub(r"body = (.+)\n *args = kwargs = None\n *(.*)\bbody\b", r"\2\1", steps)


@pytest.mark.parametrize(
    ("copy", "other"),
    [(wrap_function, wrap_coroutine), (Block.__enter__, Block.__aenter__), (Block.__exit__, Block.__aexit__)],
    ids=["function", "enter", "exit"],
)
def test_copies_differ_in_nothing_but_await(copy: Any, other: Any) -> None:
    """A change to one copy is made to the other as well.

    Seen red: with the store of the outcome left out of `wrap_coroutine`, and `_abort` out of `Block.__aexit__`.
    """
    assert len(steps_of(copy)) > 500
    assert steps_of(copy) == steps_of(other)
