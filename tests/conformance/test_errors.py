"""Errors: the caller gets the same exception, with a traceback that reads as before."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import sys
import traceback
import weakref

import pytest


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Unsettable(Exception):
    def __setattr__(self, name, value):
        raise RuntimeError("frozen")


class NoNotes(Exception):
    __notes__ = property(lambda self: 1 / 0)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Lying(Exception):
    @property
    def __class__(self):
        raise RuntimeError("none of your business")


HOSTILE = (Unprintable, Unsettable, NoNotes, lambda: Frozen(3), Lying, lambda: ExceptionGroup("many", [KeyError(1)]))
LEAVING = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, RecursionError, MemoryError)


@pytest.mark.parametrize("make", HOSTILE, ids=("str", "setattr", "notes", "frozen", "class", "group"))
def test_hostile_exceptions(watched, peer, make):
    """The same object propagates even if it cannot be printed or written to, and cannot report its class or notes."""
    error = make()

    @watched("tool")
    def tool():
        raise error

    caught = None
    try:
        tool()
    except Exception as exception:  # noqa: BLE001
        caught = exception
    assert caught is error
    assert len(peer.seen()) == 1


@pytest.mark.parametrize("kind", LEAVING, ids=lambda kind: kind.__name__)
def test_exceptions_beyond_exception(watched, peer, kind):
    """Ctrl-C, exit, cancellation and the like propagate, and the call is recorded."""
    error = kind()

    @watched("tool")
    def tool():
        raise error

    with pytest.raises(kind) as caught:
        tool()
    assert caught.value is error
    assert len(peer.seen()) == 1


def test_cause_and_context(watched):
    """Its cause, context and notes are as the function left them."""

    @watched("tool")
    def tool():
        try:
            {}["first"]
        except KeyError as first:
            error = LookupError("second")
            error.add_note("a note")
            raise error from first

    with pytest.raises(LookupError) as caught:
        tool()
    assert type(caught.value.__cause__) is type(caught.value.__context__) is KeyError
    assert caught.value.__cause__.__context__ is None
    assert caught.value.__notes__ == ["a note"]


def frames(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_one_frame(watched):
    """The traceback has at most one frame more, for functions, methods and all other callables."""

    def function():
        raise LookupError

    class Model:
        def __call__(self):
            raise LookupError

        method = function = lambda self: {}["no such page"]

    for each in (function, Model().method, functools.partial(function), Model()):
        lengths = []
        for tool in (each, watched("tool")(each)):
            try:
                tool()
            except LookupError as error:
                lengths.append(len(frames(error)))
        assert lengths[1] <= lengths[0] + 1, each


async def test_one_frame_of_a_coroutine(watched):
    """The traceback out of a coroutine, and out of one that a plain function returned, has at most one frame more."""

    async def coroutine():
        await asyncio.sleep(0)
        raise LookupError

    def function():
        return coroutine()

    for each in (coroutine, function):
        with pytest.raises(LookupError) as bare:
            await each()
        with pytest.raises(LookupError) as caught:
            await watched("tool")(each)()
        assert len(frames(caught.value)) <= len(frames(bare.value)) + 1


async def test_one_frame_of_a_generator(watched):
    """The traceback out of a generator has at most one frame more, also for an exception that its consumer throws into
    it.
    """

    def generator():
        yield 1
        raise LookupError

    async def async_generator():
        yield 1
        raise LookupError

    def lengths(error):
        return len(frames(error))

    for thrown in (None, KeyError("thrown")):
        found = []
        for each in (generator, watched("tool")(generator)):
            running = each()
            next(running)
            with pytest.raises(LookupError) as caught:
                running.send(None) if thrown is None else running.throw(thrown.with_traceback(None))
            found.append(lengths(caught.value))
        for each in (async_generator, watched("tool")(async_generator)):
            running = each()
            await anext(running)
            with pytest.raises(LookupError) as caught:
                await (running.asend(None) if thrown is None else running.athrow(thrown.with_traceback(None)))
            found.append(lengths(caught.value))
        assert found[1] <= found[0] + 1
        assert found[3] <= found[2] + 1


def test_error_is_let_go(watched):
    """An exception that was handled is freed at once, with all that its traceback held: no cycle keeps it."""

    class Big:
        pass

    def function(_big):
        raise LookupError

    def generator(_big):
        yield 1
        raise LookupError

    def thrown_into(_big):
        yield 1

    def run(tool):
        big = Big()
        alive.append(weakref.ref(big))
        running = tool(big)
        next(running)
        if tool.__name__ == "thrown_into":
            running.throw(LookupError())
        next(running)

    gc.disable()
    try:
        alive = []
        for tool in map(watched("tool"), (function, generator, thrown_into)):
            try:
                run(tool)
            except LookupError:
                pass
        assert [ref() for ref in alive] == [None] * 3
    finally:
        gc.enable()


def test_wrong_arguments(watched):
    """Wrong arguments raise the function's own TypeError, word for word, when it is called."""

    def tool(x, *, y):
        pass

    for args, kwargs in (((), {}), ((1, 2), {"y": 1}), ((1,), {"z": 1, "y": 1})):
        with pytest.raises(TypeError) as bare:
            tool(*args, **kwargs)
        with pytest.raises(TypeError) as caught:
            watched("tool")(tool)(*args, **kwargs)
        assert str(caught.value) == str(bare.value)


async def test_wrong_arguments_later(watched):
    """For a coroutine function or generator function they raise it at the first await or step at the latest."""

    async def coroutine(x):
        pass

    def generator(x):
        yield

    async def async_generator(x):
        yield

    with pytest.raises(TypeError, match="required positional argument: 'x'"):
        await watched("tool")(coroutine)()
    with pytest.raises(TypeError, match="required positional argument: 'x'"):
        next(watched("tool")(generator)())
    with pytest.raises(TypeError, match="required positional argument: 'x'"):
        await anext(watched("tool")(async_generator)())


def test_deep_recursion(watched, peer):
    """A function may recurse as deep as the interpreter allows, at one frame a call, and every call is recorded."""

    def deep(left):
        return 0 if left == 0 else 1 + tool(left - 1)

    tool = watched("tool")(deep)
    room = (sys.getrecursionlimit() - depth_here()) // 2 - 30
    assert tool(room) == room
    assert len(peer.seen()) == room + 1


def depth_here():
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_too_deep_recursion(watched, peer, the_call):
    """A function that recurses without end raises RecursionError, every call is recorded, and the next one works."""

    def endless():
        nonlocal depth
        depth += 1
        return tool()

    depth = 0
    tool = watched("tool")(endless)
    with pytest.raises(RecursionError):
        tool()
    assert len(peer.seen()) >= depth
    assert watched("after")(lambda: 1)() == 1
    assert the_call("after").parent_id is None
    assert the_call("after").outcome in ("success", None)
