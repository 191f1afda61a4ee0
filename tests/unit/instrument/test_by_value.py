"""Monitored functions sent by value, as Ray, Dask and joblib send the functions of a script or a notebook.

Their pickler (cloudpickle) sends a function's code, its closure, and each global that its code names, but modules by
name. The same is done here with the standard library, so that no more has to be installed.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import marshal
import pickle
import string
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import CodeType, ModuleType
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


class Pickler(pickle.Pickler):
    """Sends modules by name, as cloudpickle does."""

    def reducer_override(self, thing: object) -> Any:
        return (importlib.import_module, (thing.__name__,)) if isinstance(thing, ModuleType) else NotImplemented


def dumps(thing: object) -> bytes:
    sent = io.BytesIO()
    Pickler(sent).dump(thing)
    return sent.getvalue()


def named_in(function: Any) -> dict[str, Any]:
    """Return the globals that a function's code names."""
    names = function.__code__.co_names
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


@pytest.mark.parametrize("function", [doubled, doubled_later, counted, counted_later])
def test_what_a_monitored_function_refers_to_is_met_again_where_it_arrives(function: Any) -> None:
    """No part of a monitored function is bound to its process: modules and the bus are sent by name.

    Red without `__reduce__` of the bus, and with the bound methods of the context variable, the inbox or the handlers
    imported into `wrappers` by name.
    """
    monitored_function: Any = monitored("tool", cost=0.01, tags={"customer": "acme"})(function)
    for name, thing in named_in(monitored_function).items():
        assert pickle.loads(dumps(thing)) == thing, name
    arrived = [pickle.loads(dumps(cell.cell_contents)) for cell in monitored_function.__closure__]
    assert any(thing is bus for thing in arrived)


ARRIVED = """
import pickle, sys
from marshal import loads
from types import CellType, FunctionType
from toolweaver_monitor import setup

monitor = setup()
code, named, cells = pickle.load(sys.stdin.buffer)
monitored = FunctionType(loads(code), {"__builtins__": __builtins__, **named}, "run", None, tuple(map(CellType, cells)))
assert monitored("coffee to go") == "Coffee To Go"
print(monitor.metrics.cost_by_operation(), dict(monitor.costs.counts))
"""


def test_sent_by_value_it_is_monitored_where_it_arrives() -> None:
    """A monitored function that arrives by value counts its calls and their money in the process it arrived in."""
    capitalize: Any = monitored("caps", cost=0.25, tags={"customer": "acme"})(string.capwords)
    code: CodeType = capitalize.__code__
    sent = dumps((marshal.dumps(code), named_in(capitalize), [cell.cell_contents for cell in capitalize.__closure__]))
    done = subprocess.run([sys.executable, "-c", ARRIVED], input=sent, capture_output=True, timeout=60, check=False)
    assert (done.stdout.decode().strip(), done.stderr) == ("{'caps': 0.25} {'caps': 1}", b"")


def test_context_variables_are_pickled_as_without_this_library() -> None:
    """Nothing is registered for all context variables of the program: pickle refuses them as it always did."""
    assert ContextVar not in copyreg.dispatch_table
    for variable in (current, ContextVar("other")):
        with pytest.raises(TypeError, match=r"cannot pickle '_contextvars\.ContextVar' object"):
            pickle.dumps(variable)
