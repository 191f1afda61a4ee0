"""Generators: the whole protocol is kept, and the whole run is timed."""

from __future__ import annotations

import contextvars
import gc
import inspect
import threading
import types
import weakref

import pytest


def test_send(watched):
    """`send()` reaches the body, and the body's next item comes back."""

    @watched("tool")
    def echo():
        received = yield "ready"
        while True:
            received = yield received * 2

    running = echo()
    assert next(running) == "ready"
    assert [running.send(2), running.send("ab")] == [4, "abab"]


def test_throw(watched):
    """`throw()` raises inside the body, which may handle it and continue."""

    @watched("tool")
    def brave():
        try:
            yield 1
        except KeyError as error:
            yield repr(error)

    running = brave()
    next(running)
    assert running.throw(KeyError("x")) == "KeyError('x')"


def test_return_value(watched):
    """The return value comes out of `yield from`."""

    @watched("tool")
    def inner():
        yield 1
        return "result"

    def outer():
        assert (yield from inner()) == "result"

    assert list(outer()) == [1]


def test_close(watched):
    """`close()` runs the body's `finally` before it returns."""
    ran = []

    @watched("tool")
    def careful():
        try:
            yield 1
        finally:
            ran.append(True)

    running = careful()
    next(running)
    running.close()
    assert ran == [True]


def test_close_after_a_return(watched):
    """`close()` treats a body that handles it as Python does, on each version."""

    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            return "closed"

    def deaf():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    plain, running = stubborn(), watched("tool")(stubborn)()
    next(plain), next(running)
    assert running.close() == plain.close()
    running = watched("deaf")(deaf)()
    next(running)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        running.close()


def test_throw_generator_exit(watched):
    """`throw(GeneratorExit)` reaches the body as the same exception, and the body's next item comes back."""
    raised = []

    @watched("tool")
    def stubborn():
        try:
            yield 1
        except GeneratorExit as error:
            raised.append(error)
            yield 2

    running, exit_ = stubborn(), GeneratorExit()
    next(running)
    assert running.throw(exit_) == 2
    assert raised == [exit_]


def test_kind(watched):
    """It stays a generator function, and returns a generator with the function's name."""

    @watched("tool")
    def tool():
        yield 1

    assert inspect.isgeneratorfunction(tool)
    running = tool()
    assert type(running) is types.GeneratorType
    assert running.__name__ == "tool"
    assert running.__qualname__ == "test_kind.<locals>.tool"


def test_generator_based_coroutine(watched):
    """A generator function made awaitable by `types.coroutine` stays awaitable."""

    @watched("tool")
    @types.coroutine
    def tool():
        received = yield "asked"
        return received

    async def outer():
        return await tool()

    running = outer()
    assert running.send(None) == "asked"
    with pytest.raises(StopIteration) as stopped:
        running.send("answer")
    assert stopped.value.value == "answer"


def test_timed_in_full(watched, the_call, stopwatch):
    """It is timed from its first step to its end, not only its creation."""

    @watched("tool")
    def slow():
        for item in range(3):
            stopwatch.spend()
            yield item

    assert list(slow()) == [0, 1, 2]
    assert the_call().outcome in ("success", None)
    stopwatch.assert_covers(the_call().duration_s)


def test_time_to_first_item(watched, the_call, stopwatch):
    """The time to the first item is recorded apart from the whole."""

    @watched("tool")
    def slow():
        stopwatch.spend()
        yield 1
        after.spend()

    after = type(stopwatch)()
    running = slow()
    next(running)
    until_first = type(stopwatch)()
    list(running)
    stopwatch.assert_covers(the_call().first_item_s)
    assert the_call().first_item_s <= the_call().duration_s - sum(after.spans) + 1e-6
    assert until_first.made >= stopwatch.made


def test_items_are_counted(watched, the_call):
    """Its items are counted."""

    @watched("tool")
    def tool():
        yield from "abc"

    list(tool())
    assert the_call().items == 3


def test_raising(watched, the_call):
    """An exception of the body propagates as the same object, and the call is a failure."""
    error = LookupError("no such page")

    @watched("tool")
    def tool():
        yield 1
        raise error

    running = tool()
    next(running)
    with pytest.raises(LookupError) as caught:
        next(running)
    assert caught.value is error
    assert the_call().outcome == "failure"


def test_dropped_early(watched, the_call):
    """A generator that its consumer drops is recorded, although only the garbage collector ends it."""

    @watched("tool")
    def endless():
        while True:
            yield 1

    for _ in endless():
        break
    gc.collect()
    assert the_call().name == "tool"


def test_dropped_in_a_cycle(watched, the_call):
    """A generator that refers to itself is recorded when the garbage collector finds it."""

    @watched("tool")
    def endless(own):
        while True:
            yield own

    own = []
    own.append(endless(own))
    next(own[0])
    del own
    gc.collect()
    assert the_call().name == "tool"


def test_abandoned(watched, the_call):
    """A generator that is dropped before its end is recorded as abandoned."""

    @watched("tool")
    def endless():
        while True:
            yield 1

    running = endless()
    next(running)
    running.close()
    assert the_call().outcome == "abandoned"


def test_never_started(watched, peer):
    """A generator that is created and never started has not run, and is no call."""
    ran = []

    @watched("tool")
    def tool():
        ran.append(True)
        yield 1

    tool()
    tool().close()
    gc.collect()
    assert ran == peer.seen() == []


def test_closed_in_another_thread(watched, the_call):
    """It may be closed in another thread than the one it was started in."""

    @watched("tool")
    def tool():
        try:
            yield 1
        finally:
            ended.append(threading.get_ident())

    ended = []
    running = tool()
    next(running)
    thread = threading.Thread(target=running.close)
    thread.start()
    thread.join()
    assert ended == [thread.ident]
    assert the_call().name == "tool"


def test_closed_elsewhere_with_a_block_open(peer, watched, the_call):
    """If it is closed in another context while it holds a block open, it leaves nothing behind in that context."""

    @watched("helper")
    def helper():
        pass

    @watched("tool")
    def tool():
        with peer.block("block"):
            yield 1

    running = tool()
    next(running)

    def elsewhere():
        running.close()
        helper()

    contextvars.Context().run(elsewhere)
    assert the_call("block").parent_id == the_call().call_id is not None
    assert the_call("helper").parent_id is None


def test_stepped_in_many_contexts(watched, the_call):
    """It may be stepped in another thread and context each time."""

    @watched("tool")
    def tool():
        yield from range(5)

    running, items = tool(), []
    for _ in range(5):
        thread = threading.Thread(target=contextvars.Context().run, args=(lambda: items.append(next(running)),))
        thread.start()
        thread.join()
    assert list(running) == []
    assert items == [0, 1, 2, 3, 4]
    assert the_call().outcome in ("success", None)


def test_no_leak_to_the_consumer(watched, the_call):
    """Calls of the consumer between two items are not part of the generator."""

    @watched("helper")
    def helper():
        pass

    @watched("tool")
    def tool():
        yield 1
        yield 2

    for _ in tool():
        helper()
        break
    gc.collect()
    assert the_call("helper").parent_id is None
    assert the_call("helper").call_id is not None


def test_inside_the_body(watched, the_call):
    """Calls of the body are part of the generator, before and after each item."""

    @watched("first")
    def first():
        pass

    @watched("last")
    def last():
        pass

    @watched("tool")
    def tool():
        first()
        yield 1
        last()

    list(tool())
    assert the_call("first").parent_id == the_call("last").parent_id == the_call().call_id is not None


def test_block_around_items(peer, watched, the_call):
    """A block that the body holds open over an item stays open for the body, and invisible to the consumer."""

    @watched("within")
    def within():
        pass

    @watched("between")
    def between():
        pass

    @watched("tool")
    def tool():
        with peer.block("block"):
            yield 1
            within()

    for _ in tool():
        between()
    assert the_call("within").parent_id == the_call("block").call_id is not None
    assert the_call("block").parent_id == the_call().call_id
    assert the_call("between").parent_id is None


def test_two_at_once(watched, the_call):
    """Two generators that take turns do not become part of each other."""

    @watched("helper")
    def helper():
        pass

    def tool(upto):
        yield from range(upto)
        helper()

    one, two = watched("one")(tool)(2), watched("two")(tool)(4)
    assert list(zip(one, two, strict=False)) == [(0, 0), (1, 1)]
    two.close()
    assert the_call("helper").parent_id == the_call("one").call_id is not None
    assert the_call("one").parent_id is the_call("two").parent_id is None


def test_context_variables_of_the_users(watched):
    """A context variable that the body sets is visible and stays set exactly as it is without the decorator."""
    own = contextvars.ContextVar("own", default="outside")

    def tool():
        own.set("body")
        yield own.get()
        yield own.get()

    def run(function):
        seen, running = [], function()
        seen.append((next(running), own.get()))
        own.set("consumer")
        seen.append((next(running), own.get()))
        return seen

    assert contextvars.copy_context().run(run, watched("tool")(tool)) == contextvars.copy_context().run(run, tool)


def test_items_are_let_go(watched):
    """An item is freed as soon as its consumer drops it: the memory of a stream is not held twice."""

    class Chunk:
        pass

    @watched("tool")
    def tool():
        yield Chunk()
        yield Chunk()

    running = tool()
    item = weakref.ref(next(running))
    gc.collect()
    assert item() is None


def test_context_manager(watched, the_call, stopwatch):
    """Under `contextlib.contextmanager` it covers the whole `with` block, and may suppress the block's exception."""
    import contextlib

    @contextlib.contextmanager
    @watched("tool")
    def tool():
        try:
            yield "resource"
        except ZeroDivisionError:
            pass

    with tool() as resource:
        stopwatch.spend()
        assert resource == "resource"
        1 / 0  # noqa: B018
    stopwatch.assert_covers(the_call().duration_s)
