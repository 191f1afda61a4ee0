"""Invisible: code that inspects the function sees what it would see without the decorator."""

from __future__ import annotations

import collections.abc
import contextlib
import contextvars
import dataclasses
import functools
import inspect
import math
import os
import pydoc
import sys
import types
import typing

import sent


def original(x: int, /, y: list[str], *rest: float, flag: bool = True, **others: object) -> dict[str, int]:
    """Says what it does."""
    return {"x": x}


original.version = 3


async def original_coroutine(x: int) -> str:
    """Says what it does."""
    return str(x)


def test_signature(watched):
    """`inspect.signature` is the same."""
    for function in (original, original_coroutine, functools.partial(original, 1, flag=False)):
        assert inspect.signature(watched("tool")(function)) == inspect.signature(function)


def test_method_signature(watched):
    """`inspect.signature` of methods is the same on the class and on an instance, class and static ones included."""

    class Plain:
        def method(self, x: int) -> str: ...
        @classmethod
        def make(cls, x: int) -> str: ...
        @staticmethod
        def size(x: int) -> str: ...

    class Watched:
        method = watched("method")(Plain.__dict__["method"])
        make = watched("make")(Plain.__dict__["make"])
        size = watched("size")(Plain.__dict__["size"])

    for name in ("method", "make", "size"):
        assert inspect.signature(getattr(Watched, name)) == inspect.signature(getattr(Plain, name))
        assert inspect.signature(getattr(Watched(), name)) == inspect.signature(getattr(Plain(), name))


def test_metadata(watched):
    """Name, qualified name, module, docstring, annotations and the function's own attributes are the same."""
    tool = watched("tool")(original)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "version"):
        assert getattr(tool, name) == getattr(original, name), name


def test_wrapped(watched):
    """`__wrapped__` leads to the function itself."""
    assert watched("tool")(original).__wrapped__ is original
    assert inspect.unwrap(watched("tool")(original)) is original


def test_type_hints(watched):
    """`typing.get_type_hints` resolves annotations that are text, in the function's own module."""
    assert typing.get_type_hints(watched("tool")(original)) == typing.get_type_hints(original)
    assert typing.get_type_hints(sent.annotated) == {"page": sent.Page, "return": list[sent.Page]}


def test_type_parameters(watched):
    """Type parameters (PEP 695) are the same."""
    if sys.version_info < (3, 12):
        assert not hasattr(watched("tool")(original), "__type_params__")
        return
    space = {"__name__": "space"}
    exec("def first[T](things: list[T]) -> T: return things[0]", space)  # older Pythons cannot read it
    tool = watched("tool")(space["first"])
    assert tool.__type_params__ == space["first"].__type_params__ != ()
    assert tool.__annotations__ == space["first"].__annotations__


def test_source(watched):
    """`inspect.getsource` and `help()` show the function."""
    assert inspect.getsource(watched("tool")(original)) == inspect.getsource(original)
    assert pydoc.plain(pydoc.render_doc(watched("tool")(original))) == pydoc.plain(pydoc.render_doc(original))


def test_kind_of_function(watched):
    """A function stays a function for `inspect`, and each kind stays its kind and no other."""

    def function(): ...
    def generator():
        yield

    async def coroutine(): ...
    async def async_generator():
        yield

    questions = (
        inspect.isfunction,
        inspect.isroutine,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        callable,
    )
    for each in (function, generator, coroutine, async_generator):
        assert [ask(watched("tool")(each)) for ask in questions] == [ask(each) for ask in questions]


def test_call_of_an_object(watched):
    """The `__call__` of a callable object has the same signature, type hints and docstring: schemas are derived from
    it.
    """

    class Model:
        def __call__(self, page: sent.Page, *, quick: bool = True) -> list[sent.Page]:
            """Read it."""

    class AsyncModel(Model):
        async def __call__(self, page: sent.Page) -> sent.Page: ...

    for plain in (Model(), AsyncModel()):
        tool = watched("tool")(plain)
        assert inspect.signature(tool.__call__) == inspect.signature(plain.__call__)
        assert typing.get_type_hints(tool.__call__) == typing.get_type_hints(plain.__call__)
        assert tool.__call__.__doc__ == plain.__call__.__doc__
        assert inspect.iscoroutinefunction(tool.__call__) == inspect.iscoroutinefunction(plain.__call__)


def test_kind_of_object(watched):
    """Builtins, partials, bound methods and callable objects stay what they are for `isinstance` and `inspect`."""

    class Model:
        def __call__(self): ...
        def method(self): ...

    class Pages(Model):
        def __iter__(self): ...
        def __len__(self): ...
        def __enter__(self): ...
        def __exit__(self, *error): ...
        def __int__(self): ...

    # Seen red: with wrapt.ObjectProxy as the base of proxies, for 14 of these.
    abstract = [getattr(collections.abc, name) for name in collections.abc.__all__ if name != "ByteString"]
    abstract += [contextlib.AbstractContextManager, contextlib.AbstractAsyncContextManager, os.PathLike]
    abstract += [getattr(typing, name) for name in dir(typing) if name.startswith("Supports")]
    for each in (len, math.sqrt, functools.partial(len), Model().method, Model(), Pages()):
        tool = watched("tool")(each)
        assert isinstance(tool, type(each))
        for ask in (inspect.isbuiltin, inspect.ismethod, inspect.isroutine, inspect.isfunction):
            assert ask(tool) == ask(each), (each, ask)
        assert [kind for kind in abstract if isinstance(tool, kind) != isinstance(each, kind)] == []
        for name in ("__iter__", "__len__", "__enter__", "__int__", "__getitem__"):
            assert hasattr(tool, name) == hasattr(each, name), (each, name)


def test_printed(watched):
    """Printed, on its own or in a container, each looks as it would without the decorator."""

    @dataclasses.dataclass
    class Step:
        run: object

        def __call__(self): ...

    for each in (len, functools.partial(max, 5), Step(len).__call__, Step(len)):
        assert repr(watched("tool")(each)) == repr(each)
        assert str(watched("tool")(each)) == str(each)
        assert repr(Step(watched("tool")(each))) == repr(Step(each))


def test_equality(watched):
    """A method that is read twice gives equal objects with equal hashes, as without the decorator."""

    class Model:
        @watched("tool")
        def method(self): ...

    model = Model()
    assert model.method == model.method
    assert hash(model.method) == hash(model.method)
    assert Model.method is Model.method
    bound = model.method
    assert watched("tool")(bound) == bound


def test_attributes_can_be_set(watched):
    """Attributes can be set on it, as frameworks do to mark functions."""
    tool = watched("tool")(lambda: None)
    tool.marked = True
    assert tool.marked


def test_default_of_a_context_variable(watched):
    """It runs in its caller's context: a variable that it sets there stays set."""
    own = contextvars.ContextVar("own")

    @watched("tool")
    def tool():
        own.set("set by the tool")

    def run():
        tool()
        return own.get()

    assert contextvars.Context().run(run) == "set by the tool"


def test_types_of_methods(watched):
    """`classmethod` and `staticmethod` objects stay such in the class, above and below."""

    class Model:
        make = watched("make")(classmethod(lambda cls: cls))
        size = watched("size")(staticmethod(lambda: 1))

    assert type(Model.__dict__["make"]) is classmethod
    assert type(Model.__dict__["size"]) is staticmethod
    assert type(Model.make) is types.MethodType
