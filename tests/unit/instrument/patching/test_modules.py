"""A module is monitored with all that is defined in it, now or when it is imported."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
import types
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import instrument, setup, uninstrument
from toolweaver_monitor._instrument.patching import import_hooks
from toolweaver_monitor.errors import ConfigurationError


def test_a_module_is_watched_with_all_that_is_public_and_defined_in_it(names: Any) -> None:
    """Functions and methods of every kind; no re-export, no property, nothing with an underscore, no class itself."""
    module = types.ModuleType("made_up")
    source = """
from json import dumps
from functools import lru_cache
def plain(): return 1
again = plain
def gives():
    yield 1
async def waits(): return 1
@lru_cache
def kept(x): return x
def _hidden(): return 1
class Kind:
    def method(self): return 1
    @classmethod
    def of(cls): return cls()
    @staticmethod
    def static(): return 1
    @property
    def value(self): return 1
    def _own(self): return 1
    class Inner:
        def deep(self): return 1
"""
    exec(source, vars(module))
    kind: Any = vars(module)["Kind"]
    before, before_in_kind = dict(vars(module)), dict(vars(kind))
    assert instrument(module) is module
    assert module.again is module.plain
    assert (module.Kind, module.dumps) == (before["Kind"], before["dumps"])
    module.plain()
    list(module.gives())
    module.kept(1)
    module._hidden()
    module.dumps(1)
    thing = module.Kind.of()
    thing.method()
    thing.static()
    assert thing.value == thing._own() == 1
    module.Kind.Inner().deep()
    assert names() == ["plain", "gives", "kept", "Kind.of", "Kind.method", "Kind.static", "Kind.Inner.deep"]
    uninstrument(module)
    assert all(vars(module)[name] is value for name, value in before.items())
    assert all(vars(kind)[name] is value for name, value in before_in_kind.items())


def test_a_dotted_name_is_patched_when_it_is_imported(names: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Every importer gets it monitored; what is undone before the import is never patched."""
    (tmp_path / "later_on.py").write_text(
        "class Runner:\n    def go(self, tool_name): return 1\ndef f(): return 2\ndef g(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("later_on:Runner.go", "later_on:f", "later_on:g"):
        assert instrument(name) == name
    uninstrument("later_on:g")
    assert "later_on" not in sys.modules
    from later_on import Runner, f, g  # type: ignore[import-not-found]

    Runner().go("ocr")
    f()
    g()
    assert names() == ["ocr", "f"]
    for name in ("later_on:Runner.go", "later_on:f", "later_on:g"):
        uninstrument(name)
    Runner().go("ocr")
    sys.modules.pop("later_on").f()
    assert names() == []


def test_a_package_is_watched_with_what_it_shows_of_its_own(names: Any, write: Any) -> None:
    """Of its own submodules, that is; a module that only shows what others define has nothing to watch."""
    write("shop/__init__.py", "from shop.core import sell, Till\nfrom json import dumps\n")
    write("shop/core.py", "def sell(): return 1\nclass Till:\n    def open(self): return sell()\n")
    write("front.py", "from shop.core import sell, Till\n")
    import front
    import shop

    instrument(shop)
    shop.sell()
    shop.Till().open()
    shop.dumps(1)
    assert names() == ["sell", "Till.open"]
    uninstrument(shop)
    with pytest.raises(ConfigurationError, match=r"such as shop\.core"):
        instrument(front)


def test_a_reloaded_module_is_instrumented_again(names: Any, write: Any, caplog: Any) -> None:
    """What is replaced stays as it is, with a word; nothing is counted twice; all can be undone."""
    write("again.py", "def f(): return 1\nclass Kind:\n    def m(self): return 1\n")
    import again

    instrument(again)
    again.f()
    importlib.reload(again)
    again.f()
    assert names() == ["f"]
    instrument(again)
    again.f()
    again.Kind().m()
    assert names() == ["f", "Kind.m"]
    fresh = again.f.__wrapped__
    importlib.reload(again)
    uninstrument(again)
    assert "again.f has been replaced" in caplog.text
    assert again.f is not fresh
    again.f()
    assert names() == []


def test_things_that_raise_when_looked_at_are_passed_by(names: Any, write: Any) -> None:
    """A proxy of a request that is not there, as web frameworks keep in their modules."""
    write(
        "proxies.py",
        "class Proxy:\n"
        "    @property\n"
        "    def __class__(self): raise RuntimeError('outside of a request')\n"
        "    def __getattr__(self, name): raise RuntimeError('outside of a request')\n"
        "request = Proxy()\n"
        "def f(): return 1\n",
    )
    import proxies

    instrument(proxies)
    proxies.f()
    assert names() == ["f"]
    uninstrument(proxies)


def test_a_watched_function_of_a_module_is_still_found_by_pickle(names: Any, write: Any) -> None:
    """By reference, as the original: from Python and from C."""
    write("pickled.py", "def f(): return 1\n")
    import cmath

    import pickled

    for module in (pickled, cmath):
        instrument(module)
    assert pickle.loads(pickle.dumps(pickled.f)) is pickled.f
    assert pickle.loads(pickle.dumps(cmath.sin))(0.0) == 0.0
    assert names() == ["sin"]
    for module in (pickled, cmath):
        uninstrument(module)


def test_a_module_may_instrument_itself(names: Any, write: Any) -> None:
    """As its last line."""
    write("itself.py", "from toolweaver_monitor import instrument\ndef f(): return 1\ninstrument(__name__)\n")
    import itself

    itself.f()
    assert names() == ["f"]
    uninstrument("itself")


def test_a_name_that_turns_out_to_be_wrong_does_not_fail_the_import(names: Any, write: Any, caplog: Any) -> None:
    """The importer has done nothing wrong. One line says what could be meant."""
    write("late.py", "def good(): return 1\n")
    instrument("late:god")
    instrument("late:good")
    import late

    late.good()
    assert names() == ["good"]
    assert "instrument('late:god') did nothing: late has no function or method 'god'; did you mean good?" in caplog.text
    uninstrument("late:good")
    with pytest.raises(ConfigurationError, match="did you mean good"):
        instrument("late:god")


def test_an_import_that_fails_is_waited_for_on(names: Any, write: Any) -> None:
    """The module may come later, when the file is fixed."""
    instrument("mended")
    write("mended.py", "def f(): return 1\nraise ValueError('not yet')\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            import mended
    write("mended.py", "def f(): return 1\nprint\n")
    importlib.invalidate_caches()
    import mended

    mended.f()
    assert names() == ["f"]
    uninstrument("mended")


def test_what_a_module_loads_on_request_is_found(names: Any, write: Any) -> None:
    """The `__getattr__` of a module (PEP 562) is asked; where it keeps nothing, the error says where it is defined.

    Seen red: with `inspect.getattr_static` alone, it was no function of the module's.
    """
    write("parts.py", "def work(): return 1\ndef other(): return 2")
    write(
        "lazy.py",
        "def __getattr__(name):\n"
        "    import parts\n"
        "    if name not in ('work', 'other'):\n"
        "        raise AttributeError(name)\n"
        "    if name == 'work':\n"
        "        globals()[name] = parts.work\n"
        "    return getattr(parts, name)\n",
    )
    lazy = importlib.import_module("lazy")
    instrument("lazy:work")
    assert lazy.work() == 1
    assert names() == ["work"]
    uninstrument("lazy:work")
    with pytest.raises(ConfigurationError, match="'parts:other'"):
        instrument("lazy:other")
    with pytest.raises(ConfigurationError, match="did you mean work"):
        instrument("lazy:wurk")


def test_a_dotted_name_that_waits_for_its_import_is_told_of(write: Any) -> None:
    """`health()` lists it until it is imported or withdrawn: a misspelt name would wait forever in silence.

    Seen red: with `_pending` not emptied by `uninstrument`.
    """
    write("late.py", "def work(): return 1")
    with setup() as monitor:
        instrument("late:work")
        instrument("latte:work")
        health = monitor.health()
        assert health["waiting_for_import"] == ["late:work", "latte:work"]
        assert [note for note in health["notes"] if note.startswith("waiting for import: latte:work; import latte")]
        importlib.import_module("late")
        assert monitor.health()["waiting_for_import"] == ["latte:work"]
        uninstrument("late:work")
        uninstrument("latte:work")
        assert monitor.health()["waiting_for_import"] == []
        assert not [note for note in monitor.health()["notes"] if "import" in note]


def test_a_dotted_name_and_the_thing_it_names_are_the_same_target(names: Any, write: Any) -> None:
    """What one asked for, the other takes back."""
    write("both.py", "class Runner:\n    def execute_tool(self, tool_name): return 1\nrunner = Runner()\n")
    instrument("both:Runner")
    import both

    both.Runner().execute_tool("a")
    uninstrument(both.Runner)
    both.Runner().execute_tool("b")
    instrument(both.runner)
    both.runner.execute_tool("c")
    both.Runner().execute_tool("d")
    uninstrument("both:runner")
    both.runner.execute_tool("e")
    instrument("both:Runner.execute_tool", tool_name="f")
    both.runner.execute_tool("e")
    uninstrument("both:Runner")
    assert names() == ["a", "c", "f"]


def test_many_threads_import_and_instrument_at_once(names: Any, write: Any) -> None:
    """In whatever order it happens: every function is monitored in the end, and no thread waits forever."""
    count = 24
    for number in range(count):
        write(f"many_{number}.py", f"import time\ntime.sleep(0.001)\ndef f_{number}(): return 1\n")
    failed: list[BaseException] = []

    def attempt(work: Any, *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = []
    for number in range(count):
        for work, name in ((instrument, f"many_{number}:f_{number}"), (importlib.import_module, f"many_{number}")):
            threads.append(threading.Thread(target=attempt, args=(work, name), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)
    for number in range(count):
        getattr(sys.modules[f"many_{number}"], f"f_{number}")()
        uninstrument(f"many_{number}:f_{number}")
    assert names() == [f"f_{number}" for number in range(count)]


@pytest.mark.parametrize("just_begun", [False, True])
def test_an_import_under_way_in_another_thread_is_waited_for(
    names: Any, write: Any, monkeypatch: Any, just_begun: bool
) -> None:
    """Half a module is not taken for the whole, be it that the import began after we had looked."""
    write("slow.py", "import time\ntime.sleep(0.2)\ndef f(): return 1\n")
    thread = threading.Thread(target=importlib.import_module, args=("slow",))
    thread.start()
    while "slow" not in sys.modules:
        thread.join(0.001)
    if just_begun:
        first_answer = iter([None])
        looks = import_hooks.imported_module
        monkeypatch.setattr(
            import_hooks, "imported_module", lambda name: (next(first_answer, False) is False and looks(name)) or None
        )
    instrument("slow:f")
    thread.join(20)
    sys.modules["slow"].f()
    assert names() == ["f"]
    uninstrument("slow:f")


def test_an_import_that_has_not_made_its_module_yet_is_waited_for(names: Any, write: Any, monkeypatch: Any) -> None:
    """An import that was looking for its file before the hook was there is seen, though nothing shows it.

    Seen red: without the wait for the import's lock the function was never watched.
    """
    write("looking.py", "def f(): return 1\n")
    instrumenting = threading.Thread(target=instrument, args=("looking:f",))

    def looks(name: str, *_: Any) -> None:
        if name == "looking" and instrumenting.ident is None:
            instrumenting.start()
            instrumenting.join(0.2)  # it now waits for this very import, and ends after it

    instrument("never_imported:f")  # has the finder in place that runs hooks; ours is asked after it
    uninstrument("never_imported:f")
    finders = list(sys.meta_path)
    finders.insert(finders.index(PathFinder), types.SimpleNamespace(find_spec=looks))
    monkeypatch.setattr(sys, "meta_path", finders)
    module = importlib.import_module("looking")
    instrumenting.join(20)
    module.f()
    uninstrument("looking:f")
    assert names() == ["f"]


def test_a_module_that_instruments_what_it_has_not_yet_is_told_so(names: Any, write: Any) -> None:
    """The import is its own, so there is nothing to wait for."""
    write("ring.py", "from toolweaver_monitor import instrument\ninstrument('ring:f')\ndef f(): return 1\n")
    with pytest.raises(ConfigurationError, match="being imported right now"):
        import ring  # noqa: F401


def test_real_modules_of_the_standard_library_are_put_back_as_they_were(names: Any) -> None:
    """With classes, generators, coroutines, enums, C functions and what else there is."""
    import asyncio.queues
    import calendar
    import cmath
    import colorsys
    import difflib
    import fractions
    import graphlib
    import statistics

    modules: list[types.ModuleType] = [
        asyncio.queues, calendar, cmath, colorsys, difflib, fractions, graphlib, statistics
    ]  # fmt: skip
    before = {id(module): dict(vars(module)) for module in modules}
    kinds = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    inside = {kind: dict(vars(kind)) for kind in kinds}
    for module in modules:
        instrument(module)
    assert statistics.mean([1, 2, 3]) == 2
    assert calendar.TextCalendar().formatweekheader(1) == "M T W T F S S"
    assert difflib.get_close_matches("ocr", ["ocr", "x"]) == ["ocr"]
    assert list(graphlib.TopologicalSorter({"a": ["b"]}).static_order()) == ["b", "a"]
    assert colorsys.rgb_to_hsv(0, 0, 1)[2] == cmath.sqrt(1) == fractions.Fraction(3, 3).limit_denominator()
    assert {"mean", "TextCalendar.formatweekheader", "get_close_matches", "SequenceMatcher.ratio", "sqrt"} <= set(
        names()
    )
    for module in modules:
        uninstrument(module)
        assert all(vars(module)[name] is value for name, value in before[id(module)].items())
    for kind, attributes in inside.items():
        assert all(vars(kind)[name] is value for name, value in attributes.items())
        assert vars(kind).keys() == attributes.keys()


def test_a_module_that_refuses_to_be_set_is_watched_all_the_same(names: Any, tmp_path: Path) -> None:
    """As lazy modules of some libraries do."""

    class Frozen(types.ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            raise TypeError("frozen")

    module = Frozen("frozen")
    exec("def f(): return 1\nf.__module__ = 'frozen'", vars(module))
    instrument(module)
    module.f()
    assert names() == ["f"]
    uninstrument(module)
