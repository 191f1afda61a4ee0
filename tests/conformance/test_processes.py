"""Other processes: a decorated function can be sent to them."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
import sent


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    """A module's function and its classes' methods are pickled by reference, in every protocol."""
    for thing in (sent.doubled, sent.doubled_later, sent.Shelf.times, sent.Shelf.halved):
        assert pickle.loads(pickle.dumps(thing, protocol)) is thing
    assert pickle.loads(pickle.dumps(sent.Shelf.made, protocol))(3).factor == 3
    assert pickle.loads(pickle.dumps(sent.Shelf(3).times, protocol))(2) == 6


def test_deepcopy():
    """`copy.copy` and `copy.deepcopy` return the function itself, and a bound method of the copied object."""
    assert copy.copy(sent.doubled) is copy.deepcopy(sent.doubled) is sent.doubled
    shelf = sent.Shelf(3)
    times = copy.deepcopy({"times": shelf.times, "shelf": shelf})
    assert times["times"](2) == 6
    assert times["times"].__self__ is times["shelf"] is not shelf


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_process_pool(method):
    """A `ProcessPoolExecutor` runs a function, and methods, however its processes are started."""
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(sent.doubled, 2).result(30) == 4
        assert pool.submit(sent.Shelf(3).times, 2).result(30) == 6
        assert list(pool.map(sent.Shelf.halved, [2, 4])) == [1, 2]


async def test_process_pool_of_the_loop():
    """`loop.run_in_executor` with a process pool runs a function."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert await asyncio.get_running_loop().run_in_executor(pool, sent.doubled, 2) == 4
