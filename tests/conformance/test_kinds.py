"""Every kind of callable: each works under the decorator."""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import enum
import functools
import inspect
import operator
import pickle

import pytest


def test_without_parentheses(peer, the_call):
    """Without parentheses, the function's own name is the tool's."""

    def lookup(word):
        return word.upper()

    assert peer.decorate_bare(lookup)("a") == "A"
    assert the_call("lookup").name == "lookup"


def test_named_by_the_arguments(peer, the_call):
    """One function that runs many tools names each call by the call's own arguments."""

    @peer.decorate_by(lambda tool, **_: f"run_{tool}")
    def run(tool, *, quick=True):
        return tool, quick

    assert run("ocr", quick=False) == ("ocr", False)
    assert the_call("run_ocr").name == "run_ocr"


def test_lambda(watched, the_call):
    """A lambda."""
    assert watched("tool")(lambda x, *, y=2: x * y)(3, y=4) == 12
    assert the_call().name == "tool"


def test_builtin(watched, the_call):
    """A function written in C."""
    assert watched("tool")(len)([1, 2]) == 2
    assert watched("other")(operator.itemgetter(1))("abc") == "b"
    assert the_call().name == "tool"


def test_partial(watched, the_call):
    """A `functools.partial`, whose parts can still be read."""
    tool = watched("tool")(functools.partial(int, base=2))
    assert tool("101") == 5
    assert tool.func is int
    assert tool.keywords == {"base": 2}
    assert isinstance(tool, functools.partial)
    assert the_call().name == "tool"


async def test_partial_of_a_coroutine_function(watched, the_call, stopwatch):
    """A `functools.partial` of a coroutine function stays one, and is timed to the end of the await."""

    async def work(x, *, y):
        await asyncio.sleep(0)
        stopwatch.spend()
        return x, y

    tool = watched("tool")(functools.partial(work, y=2))
    assert inspect.iscoroutinefunction(tool)
    assert await tool(1) == (1, 2)
    stopwatch.assert_covers(the_call().duration_s)


def test_partial_of_a_generator_function(watched, the_call, stopwatch):
    """A `functools.partial` of a generator function stays one, and is timed to its end."""

    def work(n):
        for item in range(n):
            stopwatch.spend()
            yield item

    tool = watched("tool")(functools.partial(work, 2))
    assert inspect.isgeneratorfunction(tool)
    assert list(tool()) == [0, 1]
    stopwatch.assert_covers(the_call().duration_s)


def test_callable_object(watched, the_call):
    """An object with `__call__`, whose attributes are read and set on the object itself."""

    class Model:
        temperature = 0.0

        def __call__(self, prompt):
            return prompt, self.temperature

    model = Model()
    tool = watched("tool")(model)
    tool.temperature = 0.7
    assert model.temperature == 0.7
    assert tool("hello") == ("hello", 0.7)
    assert isinstance(tool, Model)
    assert the_call().name == "tool"


async def test_async_callable_object(watched, the_call, stopwatch):
    """An object with `async __call__` is timed to the end of the await."""

    class Model:
        async def __call__(self, prompt):
            await asyncio.sleep(0)
            stopwatch.spend()
            return prompt

    tool = watched("tool")(Model())
    assert await tool("hello") == "hello"
    assert inspect.iscoroutinefunction(tool.__call__)
    stopwatch.assert_covers(the_call().duration_s)


def test_callable_object_that_is_not_iterable(watched):
    """A decorated object can do what the object can, and no more."""

    class Model:
        def __call__(self):
            pass

    tool = watched("tool")(Model())
    assert callable(tool)
    with pytest.raises(TypeError):
        iter(tool)
    with pytest.raises(TypeError):
        len(tool)
    assert not inspect.isroutine(tool)


def test_method(watched, the_call):
    """A method, called on an instance and on the class."""

    class Shelf:
        @watched("tool")
        def read(self, page):
            return self, page

    shelf = Shelf()
    assert shelf.read(1) == (shelf, 1)
    assert inspect.ismethod(shelf.read)
    assert shelf.read.__self__ is shelf
    assert the_call().name == "tool"
    assert Shelf.read(shelf, page=2) == (shelf, 2)


async def test_async_method(watched, the_call, stopwatch):
    """An async method."""

    class Shelf:
        @watched("tool")
        async def read(self, page):
            await asyncio.sleep(0)
            stopwatch.spend()
            return self, page

    shelf = Shelf()
    assert inspect.iscoroutinefunction(shelf.read)
    assert await shelf.read(1) == (shelf, 1)
    stopwatch.assert_covers(the_call().duration_s)


def test_bound_method(watched, the_call):
    """A bound method, decorated by hand."""

    class Shelf:
        def read(self, page):
            return self, page

    shelf = Shelf()
    tool = watched("tool")(shelf.read)
    assert tool(1) == (shelf, 1)
    assert tool.__self__ is shelf
    assert the_call().name == "tool"


def test_below_classmethod(watched, the_call):
    """Below `@classmethod`."""

    class Shelf:
        @classmethod
        @watched("tool")
        def make(cls, n):
            return cls, n

    class Small(Shelf):
        pass

    assert Small.make(1) == (Small, 1)
    assert the_call().name == "tool"
    assert Shelf().make(2) == (Shelf, 2)


def test_above_classmethod(watched, the_call):
    """Above `@classmethod`."""

    class Shelf:
        @watched("tool")
        @classmethod
        def make(cls, n):
            return cls, n

    class Small(Shelf):
        pass

    assert Small.make(1) == (Small, 1)
    assert the_call().name == "tool"
    assert Shelf().make(2) == (Shelf, 2)


def test_below_staticmethod(watched, peer):
    """Below `@staticmethod`."""

    class Shelf:
        @staticmethod
        @watched("tool")
        def size(n):
            return n

    assert Shelf.size(1) == Shelf().size(1) == 1
    assert len(peer.seen()) == 2


def test_above_staticmethod(watched, peer):
    """Above `@staticmethod`."""

    class Shelf:
        @watched("tool")
        @staticmethod
        def size(n):
            return n

    assert Shelf.size(1) == Shelf().size(1) == 1
    assert len(peer.seen()) == 2


async def test_async_classmethod(watched, the_call, stopwatch):
    """Above and below `@classmethod` of a coroutine function."""

    class Shelf:
        @watched("above")
        @classmethod
        async def one(cls):
            stopwatch.spend()
            return cls

        @classmethod
        @watched("below")
        async def two(cls):
            return cls

    assert inspect.iscoroutinefunction(Shelf.one)
    assert inspect.iscoroutinefunction(Shelf.two)
    assert await Shelf.one() is await Shelf.two() is Shelf
    stopwatch.assert_covers(the_call("above").duration_s)
    assert the_call("below").name == "below"


def test_super_and_inheritance(watched, peer):
    """A method that calls `super()`, if both are decorated."""

    class One:
        @watched("one")
        def run(self):
            return ["one"]

    class Two(One):
        @watched("two")
        def run(self):
            return [*super().run(), "two"]

    assert Two().run() == ["one", "two"]
    assert [call.name for call in peer.seen()] == ["one", "two"]


def test_abstract_method(watched):
    """Above and below `@abstractmethod`, the class stays abstract."""

    class Above(abc.ABC):
        @watched("tool")
        @abc.abstractmethod
        def run(self): ...

    class Below(abc.ABC):
        @abc.abstractmethod
        @watched("tool")
        def run(self): ...

    for kind in (Above, Below):
        with pytest.raises(TypeError, match="abstract"):
            kind()


def test_partialmethod(watched, the_call):
    """Above and below `functools.partialmethod`."""

    class Lamp:
        def switch(self, *, on):
            return self, on

        above = watched("above")(functools.partialmethod(switch, on=True))
        below = functools.partialmethod(watched("below")(switch), on=False)

    lamp = Lamp()
    assert lamp.above() == (lamp, True)
    assert lamp.below() == (lamp, False)
    assert the_call("above").name != the_call("below").name


def test_property_below(watched, the_call):
    """Below `@property` and `functools.cached_property`."""

    class Shelf:
        @property
        @watched("plain")
        def plain(self):
            return 1

        @functools.cached_property
        @watched("cached")
        def cached(self):
            return 2

    shelf = Shelf()
    assert (shelf.plain, shelf.cached, shelf.cached) == (1, 2, 2)
    assert the_call("plain").name != the_call("cached").name


def test_lru_cache(watched, peer):
    """Above `functools.lru_cache`, whose methods stay available; on a method, too."""

    @watched("function")
    @functools.lru_cache
    def square(n):
        return n * n

    class Shelf:
        @watched("method")
        @functools.lru_cache  # noqa: B019
        def read(self, page):
            return page

    assert [square(3), square(3)] == [9, 9]
    assert square.cache_info().hits == 1
    assert [Shelf().read(1), Shelf().read(page=2)] == [1, 2]
    assert Shelf.read.cache_info().misses == 2
    assert [call.name for call in peer.seen()] == ["function"] * 2 + ["method"] * 2


def test_singledispatch(watched, peer):
    """Above and below `functools.singledispatch`, whose `register` stays available."""

    @watched("above")
    @functools.singledispatch
    def above(thing):
        return "object"

    @functools.singledispatch
    @watched("below")
    def below(thing):
        return "object"

    for function in (above, below):
        function.register(int)(lambda thing: "int")
        assert [function("a"), function(1)] == ["object", "int"]
    assert [call.name for call in peer.seen()] == ["above", "above", "below"]


def test_special_methods(watched, peer):
    """Special methods: `__call__`, `__init__`, `__enter__`, `__iter__`."""

    class Thing:
        @watched("init")
        def __init__(self):
            self.n = 2

        @watched("call")
        def __call__(self):
            return self.n

        @watched("iter")
        def __iter__(self):
            yield from range(self.n)

        @watched("enter")
        def __enter__(self):
            return self

        @watched("exit")
        def __exit__(self, *_):
            return True

    thing = Thing()
    assert thing() == 2
    assert list(thing) == [0, 1]
    with thing:
        1 / 0  # noqa: B018
    assert [call.name for call in peer.seen()] == ["init", "call", "iter", "enter", "exit"]


def test_object_as_class_attribute(watched, the_call):
    """A decorated object that is a class attribute is bound if the object itself would be, and only then."""

    class Unbound:
        def __call__(self, *args):
            return args

    class Shelf:
        tool = watched("tool")(Unbound())
        builtin = watched("builtin")(len)

    assert Shelf().tool(1) == (1,)
    assert Shelf().builtin("ab") == 2
    assert the_call().name != the_call("builtin").name


def test_descriptor_that_is_told_its_name(watched, the_call):
    """An object with `__set_name__` receives its class and name, and is bound by them."""

    class Kept:
        def __init__(self, function):
            self.function = function

        def __set_name__(self, owner, name):
            self.told = owner, name

        def __get__(self, instance, owner=None):
            return functools.partial(self, instance)

        def __call__(self, instance, page):
            return self.told, self.function(instance, page)

    class Shelf:
        @watched("tool")
        @Kept
        def read(self, page):
            return self, page

    shelf = Shelf()
    assert shelf.read(1) == ((Shelf, "read"), (shelf, 1))
    assert the_call().name == "tool"


def test_other_decorators(watched, peer):
    """Above and below an unrelated decorator of the user's, twice, and on one function under two names."""

    def doubled(function):
        @functools.wraps(function)
        def twice(*args):
            return function(*args), function(*args)

        return twice

    def work(x):
        return x

    assert watched("above")(doubled(work))(1) == (1, 1)
    assert doubled(watched("below")(work))(1) == (1, 1)
    assert watched("outer")(watched("inner")(work))(1) == 1
    assert [call.name for call in peer.seen()] == ["above", "below", "below", "inner", "outer"]


def test_wrapt_decorator(watched, peer):
    """Above a decorator made with wrapt, which still gets the instance it is bound to."""
    import wrapt

    got = []

    @wrapt.decorator
    def noted(wrapped, instance, args, kwargs):
        got.append(instance)
        return wrapped(*args, **kwargs)

    class Shelf:
        @watched("tool")
        @noted
        def read(self, page):
            return self, page

        @watched("make")
        @noted
        @classmethod
        def make(cls):
            return cls

    shelf = Shelf()
    assert shelf.read(1) == (shelf, 1)
    assert shelf.make() is Shelf.make() is Shelf
    assert got == [shelf, Shelf, Shelf]
    assert [call.name for call in peer.seen()] == ["tool", "make", "make"]


def test_enum_and_dataclass(watched, the_call):
    """A method of an enum and of a dataclass with slots."""

    class Page(enum.Enum):
        FIRST = 1

        @watched("enum")
        def number(self):
            return self.value

    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: int

        @watched("dataclass")
        def doubled(self):
            return self.x * 2

    assert list(Page) == [Page.FIRST]
    assert Page.FIRST.number() == 1
    assert Point(2).doubled() == 4
    assert the_call("enum").name != the_call("dataclass").name


def test_class_by_mistake(watched):
    """On a class by mistake, it raises when it is applied."""
    with pytest.raises((TypeError, ValueError, RuntimeError)):

        @watched("tool")
        class Tool:
            pass


def test_property_by_mistake(watched):
    """Above `@property` by mistake, or on an object that cannot be called, it raises when it is applied."""
    for mistake in (property(len), functools.cached_property(len), 3):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            watched("tool")(mistake)


class Double:
    """A callable object that can be copied and pickled."""

    def __init__(self, by):
        self.by = [by]

    def __call__(self, x):
        return x * self.by[0]


def test_copies_of_objects(watched, peer):
    """Copies and deep copies of decorated partials and callable objects are independent, and monitored."""
    tool = watched("tool")(Double(2))
    shallow, deep = copy.copy(tool), copy.deepcopy(tool)
    tool.by[0] = 3
    assert [tool(1), shallow(1), deep(1)] == [3, 3, 2]
    assert copy.deepcopy(watched("tool")(functools.partial(max, 5)))(4) == 5
    assert len(peer.seen()) == 4


def test_pickle_of_objects(watched, peer):
    """Decorated partials and callable objects are pickled as the objects they wrap, and monitored where they are
    unpickled.
    """
    for tool in (watched("tool")(functools.partial(max, 5)), watched("tool")(operator.methodcaller("__abs__"))):
        assert pickle.loads(pickle.dumps(tool))(4) in (5, 4)
    assert len(peer.seen()) == 2
