"""Arguments and results: they pass unchanged, whatever they are and whatever their names."""

from __future__ import annotations

import asyncio
import functools

import pytest

NAMES = (
    *("func", "op", "name", "wrapped", "args", "kwargs", "self", "cls", "tool", "tool_name", "call", "function"),
    *("instance", "target", "run", "fn", "key", "step"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names(watched, name):
    """No argument name is reserved: not `func`, `op`, `name`, `wrapped`, `args`, `kwargs`, `self`, nor any other."""

    @watched("tool")
    def tool(*args, **kwargs):
        return args, kwargs

    class Model:
        @watched("tool")
        def method(*args, **kwargs):
            return args[1:], kwargs

        @watched("tool")
        def __call__(*args, **kwargs):
            return args[1:], kwargs

    for each in (tool, Model().method, watched("tool")(Model())):
        assert each(1, **{name: 2}) == ((1,), {name: 2})


async def test_names_of_other_kinds(watched):
    """No name is reserved for coroutines, generators and partials either."""
    given = dict.fromkeys(NAMES, 1)

    @watched("tool")
    async def coroutine(**kwargs):
        return kwargs

    @watched("tool")
    def generator(**kwargs):
        yield kwargs

    @watched("tool")
    async def async_generator(**kwargs):
        yield kwargs

    assert await coroutine(**given) == given
    assert list(generator(**given)) == [given]
    assert [each async for each in async_generator(**given)] == [given]
    assert watched("tool")(functools.partial(dict))(**given) == given


class Hostile:
    """Cannot be printed, copied, pickled, compared, hashed, measured or asked for anything."""

    def _refuse(self, *_):
        raise SystemError("leave me alone")

    __repr__ = __str__ = __format__ = __eq__ = __hash__ = __len__ = __bool__ = __iter__ = __getattr__ = _refuse
    __reduce_ex__ = __deepcopy__ = __copy__ = __sizeof__ = __dir__ = __int__ = __float__ = __contains__ = _refuse


@pytest.mark.parametrize("kind", ["positional", "keyword", "result", "item"])
def test_hostile(watched, peer, kind):
    """An argument, result or item that raises on every access does no harm and passes unchanged."""
    thing = Hostile()

    def tool(x=None, **others):
        return thing

    def generator(x=None, **others):
        yield thing

    if kind == "item":
        (got,) = watched("tool")(generator)(thing)
    elif kind == "positional":
        got = watched("tool")(tool)(thing)
    else:
        got = watched("tool")(tool)(x=thing, y=thing)
    assert got is thing
    assert len(peer.seen()) == 1


def test_cyclic(watched, peer):
    """Arguments and results that contain themselves do no harm."""
    loop = {"tokens_used": 3}
    loop["self"] = [loop]
    assert watched("tool")(lambda x: x)(loop) is loop
    assert len(peer.seen()) == 1


def test_same_object(watched):
    """The result is the same object, and so are the arguments that the function receives."""
    results = (object(), {"cost": 1}, [], None, ..., iter([]), Exception("returned"), type)
    for result in results:
        assert watched("tool")(lambda x: x)(result) is result


async def test_same_object_awaited(watched):
    """The result of an await is the same object."""
    result = object()

    async def tool():
        await asyncio.sleep(0)
        return result

    assert await watched("tool")(tool)() is result
