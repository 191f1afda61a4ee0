"""D12: what of a second interpreter in the process, and of one without a GIL?"""

from __future__ import annotations

import sys
import sysconfig

import pytest
from programs import OURS, run_program

INSIDE = """
import sys
sys.path[:0] = {path!r}
try:
    from toolweaver_monitor import monitored, setup
except ImportError as error:
    print("refused:", error)
else:
    seen = []
    monitor = setup(lambda call: seen.append(call.tool_name))
    @monitored("tool")
    def tool(): pass
    for _ in range(1000): tool()
    assert monitor.summary()["count"] == 1000
    assert monitor.flush(5.0)
    assert len(seen) == 1000
    assert monitor.shutdown()
    print("watched")
"""

HOST = """
import sys, _thread, time
from toolweaver_monitor import monitored, setup
@monitored("tool")
def tool(): pass
monitor = setup()
tool()
inside = sys.argv[1]
isolated = sys.argv[2] == "isolated"
try:
    import _interpreters as interpreters
    create = lambda: interpreters.create("isolated" if isolated else "legacy")
    run = lambda one: interpreters.exec(one, inside)
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(isolated=isolated)
    run = lambda one: interpreters.run_string(one, inside)
one = create()
failed = run(one)
assert failed is None, failed
sys.stdout.flush()
interpreters.destroy(one)
tool()
assert monitor.summary()["count"] == 2
print("fine")
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_d12_a_second_interpreter_is_watched_or_refused_and_the_first_goes_on(kind: str) -> None:
    """Where the packages this one is made of can be loaded there it works, thread or not; else the import says why.

    msgspec cannot be loaded in an interpreter with a GIL of its own (3.12 and later): that is an ImportError there, and
    nothing else happens. The first interpreter is not touched.

    Seen red: with `signal.signal` not shielded, `setup()` raised ValueError in the second.
    """
    if kind == "legacy" and sys.version_info[:2] == (3, 12):
        pytest.skip("msgspec alone crashes CPython 3.12 in an interpreter that shares the GIL")
    inside = INSIDE.format(path=[OURS, *sys.path])
    ended = run_program(HOST, inside, kind, options=("-W", "ignore"))
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    first, *_, last = ended.out.splitlines()
    assert last == "fine"
    assert first == "watched" or (kind == "isolated" and first.startswith("refused:"))
    print(f"D12: {kind}: {first}")


def test_d12_without_a_gil() -> None:
    """A free-threaded build runs the whole suite; here it is only asked whether this is one.

    The rows A1 and D7 are the stress: run them with such a build (`python3.13t -m pytest tests/faults`).
    """
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this is a build with a GIL, and there is none without at hand")
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined]
