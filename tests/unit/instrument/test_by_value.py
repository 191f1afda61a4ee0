"""Can a watched function be sent by value, as Ray, Dask and joblib send the functions of a script or a notebook?

Their pickler (cloudpickle) sends a function's code, its closure, and each global that its code names. The same is done
here with the standard library, so that no more has to be installed.
"""

from __future__ import annotations

import marshal
import pickle
import string
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import CodeType
from typing import Any

import pytest

from toolweaver_monitor import monitored
from toolweaver_monitor._bus.bus import bus
from toolweaver_monitor._core.context import current


def doubled(n: int) -> int:
    return 2 * n


async def doubled_later(n: int) -> int:
    return 2 * n


def counted(n: int) -> Iterator[int]:
    yield n


async def counted_later(n: int) -> AsyncIterator[int]:
    yield n


def named_in(function: Any) -> dict[str, Any]:
    """The globals that a function's code names, but for modules: these are sent by their names."""
    names = function.__code__.co_names
    named = {name: function.__globals__[name] for name in names if name in function.__globals__}
    return {name: value for name, value in named.items() if value is not sys}


@pytest.mark.parametrize("function", [doubled, doubled_later, counted, counted_later])
def test_what_a_watched_function_refers_to_is_met_again_where_it_arrives(function: Any) -> None:
    """No part of a watched function is bound to its process: the bus, the inbox and the open call are sent by name.

    Red without any of these: `__reduce__` of the bus, the inbox and the handlers, the reducer of the context variable.
    """
    watched: Any = monitored("tool", cost=0.01, tags={"customer": "acme"})(function)
    for name, thing in named_in(watched).items():
        assert pickle.loads(pickle.dumps(thing)) == thing, name
    arrived = [pickle.loads(pickle.dumps(cell.cell_contents)) for cell in watched.__closure__]
    assert any(thing is bus for thing in arrived)


ARRIVED = """
import pickle, sys
from marshal import loads
from types import CellType, FunctionType
from toolweaver_monitor import setup

monitor = setup()
code, named, cells = pickle.load(sys.stdin.buffer)
watched = FunctionType(loads(code), {"__builtins__": __builtins__, **named}, "run", None, tuple(map(CellType, cells)))
assert watched("coffee to go") == "Coffee To Go"
print(monitor.metrics.cost_by_operation(), dict(monitor.costs.counts))
"""


def test_sent_by_value_it_is_watched_where_it_arrives() -> None:
    """A watched function that arrives by value counts its calls and their money in the process it arrived in."""
    watched: Any = monitored("caps", cost=0.25, tags={"customer": "acme"})(string.capwords)
    code: CodeType = watched.__code__
    sent = pickle.dumps((marshal.dumps(code), named_in(watched), [cell.cell_contents for cell in watched.__closure__]))
    done = subprocess.run([sys.executable, "-c", ARRIVED], input=sent, capture_output=True, timeout=60, check=False)
    assert (done.stdout.decode().strip(), done.stderr) == ("{'caps': 0.25} {'caps': 1}", b"")


def test_no_other_context_variable_is_sent() -> None:
    """Pickle refuses other context variables as it always did."""
    assert pickle.loads(pickle.dumps(current)) is current
    with pytest.raises(TypeError, match=r"cannot pickle '_contextvars\.ContextVar' object"):
        pickle.dumps(ContextVar("other"))
