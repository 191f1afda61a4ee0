"""Objects and classes that resist, lie or raise are monitored, or rejected with a cure, and never harmed."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import dataclasses
import enum
import functools
import gc
import inspect
import pickle
import pydoc
import threading
import weakref
from typing import Any
from unittest import mock

import pytest
import wrapt

from toolweaver_monitor import instrument, monitored, uninstrument
from toolweaver_monitor._instrument.patching.patch import patches
from toolweaver_monitor.errors import ConfigurationError


class Plain:
    """One method."""

    def execute_tool(self, tool_name: str) -> str:
        """Run it."""
        return tool_name


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen(Plain):
    """Has no room for an attribute."""

    number: int = 1


class Meta(type):
    """Refuses whatever is done to its classes."""

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError("this class is finished")

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(f"do not ask for {name}")

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("do not compare")


def refusing() -> Any:
    """An object of a class that raises when it is asked anything. Made here, as pytest would ask."""

    class Refusing(metaclass=Meta):
        def execute_tool(self, tool_name: str) -> str:
            return tool_name

    return Refusing()


class Lying(Plain):
    """Says that it is an int, and raises for all else."""

    @property
    def __class__(self) -> Any:
        return int

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError


class Grown(dict):  # type: ignore[type-arg]
    """Made in C at heart."""

    def execute_tool(self, tool_name: str) -> str:
        return tool_name


class Member(enum.Enum):
    """Enums have methods, too."""

    A = 1

    def execute_tool(self, tool_name: str) -> str:
        return tool_name


@pytest.mark.parametrize(
    "make", [Frozen, refusing, Lying, Grown, lambda: Member.A], ids=["slots", "refusing", "lying", "c", "enum"]
)
def test_an_object_or_its_class_is_watched_whatever_it_is_made_of(names: Any, make: Any) -> None:
    """Slots, frozen ones, classes that refuse to be changed, objects that lie about their class."""
    thing = make()
    kind = type(thing)
    for target in (thing, kind):
        assert instrument(target) is target
        assert thing.execute_tool("ocr") == "ocr"
        uninstrument(target)
        thing.execute_tool("unseen")
    assert names() == ["ocr", "ocr"]


def test_a_watched_object_equals_its_like_and_a_copy_of_it_is_not_watched(names: Any) -> None:
    """Copies, pickles and `dataclasses.replace` know nothing of it."""
    thing = instrument(Frozen())
    assert (thing, hash(thing)) == (Frozen(), hash(Frozen()))
    for made in (copy.copy(thing), copy.deepcopy(thing), dataclasses.replace(thing), pickle.loads(pickle.dumps(thing))):
        made.execute_tool("unseen")
    pickle.loads(pickle.dumps(thing.execute_tool))("unseen")
    thing.execute_tool("seen")
    assert names() == ["seen"]
    uninstrument(thing)


def test_an_object_is_not_kept_alive_and_its_id_may_be_used_again(names: Any) -> None:
    """Thousands of short-lived orchestrators leave nothing behind."""
    for _ in range(200):
        thing = instrument(Plain())
        gone = weakref.ref(thing)
        del thing
        assert gone() is None
    for other in [Plain() for _ in range(200)]:
        other.execute_tool("unseen")
    assert not next(iter(patches.values())).single
    uninstrument(instrument(Plain()))
    assert not patches
    assert names() == []


def test_an_object_that_no_weak_reference_can_point_to_lives_until_it_is_uninstrumented(names: Any) -> None:
    """Else another that got its id could be taken for it."""
    ended: list[str] = []

    class Slots:
        __slots__ = ()

        def execute_tool(self, tool_name: str) -> str:
            return tool_name

        def __del__(self) -> None:
            ended.append("ended")

    thing = instrument(Slots())
    del thing
    gc.collect()
    assert not ended
    (request,) = next(iter(patches.values())).single.values()
    request.target().execute_tool("alive")
    uninstrument(request.target())
    del request
    gc.collect()
    assert ended == ["ended"]
    assert names() == ["alive"]


class OwnMethods:
    """Keeps its methods in itself."""

    def __init__(self) -> None:
        self.execute_tool = lambda tool_name: tool_name
        self.call_tool = self._call

    async def _call(self, name: str) -> Any:
        return self, name


def test_methods_that_stand_in_the_object_itself_are_watched_there(names: Any) -> None:
    """If `methods=` names them; they are put back, and the object can still be copied and is not kept alive."""
    methods = ["execute_tool", "call_tool"]
    thing = OwnMethods()
    before = dict(vars(thing))
    with pytest.raises(ConfigurationError, match="such as call_tool, execute_tool"):
        instrument(thing)
    for _ in range(2):
        instrument(thing, methods=methods)
    assert thing.execute_tool("ocr") == "ocr"
    assert inspect.iscoroutinefunction(thing.call_tool)
    assert asyncio.run(thing.call_tool("search"))[0] is thing
    assert names() == ["ocr", "search"]
    instrument(thing, methods=methods, tool_name="renamed")
    thing.execute_tool("ocr")
    assert names() == ["renamed"]
    copied = copy.deepcopy(thing)
    assert asyncio.run(copied.call_tool("x"))[0] is copied
    names()
    uninstrument(thing)
    assert vars(thing) == before
    assert all(vars(thing)[name] is value for name, value in before.items())
    gone = weakref.ref(instrument(thing, methods=methods))
    del thing, before
    gc.collect()
    assert gone() is None


def test_an_attribute_of_an_object_that_hides_a_method_of_its_class_is_watched(names: Any) -> None:
    """As a method that an object has replaced for itself is the one that runs.

    Seen red: with `in_object = False` in `_locate`, the hidden method of the class was patched and no call seen.
    """
    thing = Plain()
    thing.execute_tool = lambda tool_name: tool_name  # type: ignore[method-assign]
    before = dict(vars(thing))
    instrument(thing)
    thing.execute_tool("ocr")
    assert names() == ["ocr"]
    uninstrument(thing)
    assert vars(thing) == before


class Stands:
    """Answers for another."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.other, name)


@pytest.mark.parametrize("stand_in", [Stands, wrapt.ObjectProxy, lambda _: mock.Mock()], ids=["own", "wrapt", "mock"])
def test_a_proxy_is_watched_by_what_it_answers(names: Any, stand_in: Any) -> None:
    """One that passes everything on has no method of its own; what it returns for `methods=` is monitored there."""
    proxy = stand_in(Plain())
    before = set(vars(proxy))
    with pytest.raises(ConfigurationError, match=r"methods=\[...\]"):
        instrument(proxy)
    instrument(proxy, methods=["execute_tool"])
    proxy.execute_tool("ocr")
    assert names() == ["ocr"]
    uninstrument(proxy)
    proxy.execute_tool("unseen")
    assert set(vars(proxy)) - before <= {"method_calls"}
    assert names() == []


def test_an_object_that_raises_for_every_question_is_refused_with_a_cure() -> None:
    """And no error of its own comes through."""

    class Raises:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    class RaisesOther:
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    for thing in (Raises(), RaisesOther()):
        with pytest.raises(ConfigurationError, match="has none of the methods"):
            instrument(thing)
        assert uninstrument(thing) is thing


class Descriptors:
    """Methods of the kinds that are no functions."""

    def _run(self, tool_name: str, times: int) -> str:
        return tool_name * times

    call_tool = functools.partialmethod(_run, times=2)

    @functools.lru_cache  # noqa: B019 - it is this that is tested
    def run_tool(self, tool: str) -> str:
        return tool

    @contextlib.contextmanager
    def use_tool(self, tool: str) -> Any:
        yield tool

    @property
    def execute_tool(self) -> Any:
        return lambda tool_name: tool_name

    @wrapt.decorator
    def theirs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    @theirs
    def run_agent(self, agent_name: str, task: str) -> str:
        return agent_name

    def execute_skill(self, skill: str) -> Any:
        yield skill

    async def call_skill(self, skill: str) -> Any:
        yield skill


@pytest.mark.parametrize("whole", [True, False], ids=["class", "object"])
async def test_partial_cached_and_generator_methods_keep_what_they_are(names: Any, whole: bool) -> None:
    """A property is not touched: it may give anything."""
    thing = Descriptors()
    before = dict(vars(Descriptors))
    target = instrument(Descriptors if whole else thing)
    assert thing.call_tool("ab") == "abab"
    assert thing.run_tool("cached") == "cached"
    assert thing.run_tool.cache_info().misses >= 0
    assert thing.run_agent("wrapped", "not this") == "wrapped"
    with thing.use_tool("managed") as managed:
        assert managed == "managed"
    assert thing.execute_tool("unseen") == "unseen"
    assert list(thing.execute_skill("generated")) == ["generated"]
    assert [each async for each in thing.call_skill("agenerated")] == ["agenerated"]
    assert inspect.isgeneratorfunction(thing.execute_skill)
    assert inspect.isasyncgenfunction(thing.call_skill)
    assert names() == ["ab", "cached", "wrapped", "managed", "generated", "agenerated"]
    uninstrument(target)
    assert all(vars(Descriptors)[name] is value for name, value in before.items())
    with pytest.raises(ConfigurationError, match="'execute_tool'"):
        instrument(target, methods=["execute_tool"])


def test_methods_made_in_c_are_watched_in_a_class_of_python_only(names: Any) -> None:
    """`dict.get` itself cannot be changed; that of a subclass can."""
    grown = instrument(Grown(a=1), methods=["get"])
    assert grown.get("a") == 1
    assert Grown().get("a") is None
    assert {}.get("a") is None
    assert names() == ["get"]
    uninstrument(grown)
    assert "get" not in vars(Grown)
    with pytest.raises(ConfigurationError, match="made in C"):
        instrument({}, methods=["get"])


def test_mocks_patched_over_a_watched_method_find_it_and_leave_it_as_it_was(names: Any) -> None:
    """`unittest.mock` looks into the class: specs are made of the methods that stand there."""
    thing = instrument(Plain())
    spec = mock.create_autospec(Plain, instance=True)
    assert spec.execute_tool("m") is spec.execute_tool.return_value
    with pytest.raises(TypeError):
        spec.execute_tool("m", "too many")
    with mock.patch.object(Plain, "execute_tool", return_value="mocked"):
        assert thing.execute_tool("unseen") == "mocked"
    assert thing.execute_tool("seen") == "seen"
    assert "Run it." in pydoc.render_doc(Plain)
    assert vars(Plain)["execute_tool"](thing, "by hand") == "by hand"
    assert names() == ["seen"]
    uninstrument(thing)


def test_what_somebody_else_put_there_later_is_left_with_a_word(caplog: Any) -> None:
    """Undoing ours would undo theirs."""

    class Kind:
        def execute_tool(self, tool_name: str) -> str:
            return tool_name

    def theirs(self: Any, tool_name: str) -> str:
        return "theirs"

    instrument(Kind)
    Kind.execute_tool = theirs  # type: ignore[method-assign]
    uninstrument(Kind)
    assert vars(Kind)["execute_tool"] is theirs
    assert "Kind.execute_tool has been replaced" in caplog.text


def test_an_abstract_method_stays_abstract(names: Any) -> None:
    """Watching a base does not make its subclasses complete."""

    class Base(abc.ABC):
        @abc.abstractmethod
        def execute_tool(self, tool_name: str) -> str: ...

    instrument(Base)

    class Incomplete(Base):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()  # type: ignore[abstract]
    uninstrument(Base)


def test_what_is_watched_under_another_decorator_is_left_alone(names: Any) -> None:
    """As far as decorators say what they wrap."""

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return run

    class Kind:
        @logged
        @monitored("mine")
        def execute_tool(self, tool_name: str) -> str:
            return tool_name

        @classmethod
        @monitored("ours")
        def run_tool(cls, tool: str) -> str:
            return tool

        def __init__(self) -> None:
            self.call_tool = self.execute_tool

        execute_skill = functools.partialmethod(monitored("part")(lambda self, skill: skill))

    for target in (Kind, thing := Kind()):
        instrument(target)
        thing.execute_tool("ocr")
        thing.run_tool("ocr")
        thing.call_tool("ocr")
        thing.execute_skill("ocr")
        assert names() == ["mine", "ours", "mine", "part"]
        uninstrument(target)


def test_many_threads_instrument_call_and_undo_at_once(names: Any) -> None:
    """Every call between `instrument` and `uninstrument` of its object is seen, and none outside."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            thing = Plain()
            for _ in range(40):
                instrument(thing)
                thing.execute_tool("seen")
                uninstrument(thing)
                thing.execute_tool("unseen")
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert names() == ["seen"] * 12 * 40
    assert type(vars(Plain)["execute_tool"]) is type(work)
