"""D12: a second interpreter in the process, and one without a GIL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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

    msgspec cannot be loaded in an interpreter with a GIL of its own (3.12 and later), nor in any second one without a
    GIL: that is an ImportError there, and nothing else happens. The first interpreter is not touched.

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
    may_refuse = kind == "isolated" or sysconfig.get_config_var("Py_GIL_DISABLED")
    assert first == "watched" or (may_refuse and first.startswith("refused:"))
    print(f"D12: {kind}: {first}")


WITHOUT_A_GIL = """
import json, sys, threading
from toolweaver_monitor import Budget, BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor.testing.faults import FlappySink, KeepSink
from toolweaver_monitor._core.sanitize import Diagnostics

count = int(sys.argv[1])
raised = []

def together(*works):
    gate = threading.Barrier(len(works))
    def run(work):
        try:
            gate.wait()
            work()
        except BaseException as error: raised.append(repr(error))
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

@monitored("inner")
def inner(): current_call().record(tokens=3, note="x")
@monitored("outer", cost=0.001)
def outer(): inner()

keep = KeepSink()
keep.max_calls = 10**7
monitor = setup(keep, FlappySink(0.01))
off, left, done = 0, 4, threading.Lock()
def call():
    global left
    for _ in range(count): outer()
    with done: left -= 1
def read():
    global off
    while left:
        off += monitor.summary()["count"] < 0
        monitor.health(), monitor.metrics.by_operation(), monitor._text()
        off += sum(book.emitted != book.delivered + book.lost + book.queued or book.queued < 0
                   for book in (runner.stats() for runner in monitor._components.runners))
def look():
    while left: monitor.active()
together(*[call] * 4, read, look)
summary = monitor.summary()
monitor.flush(30.0)  # False: the sink that fails by turns gives some up
outers = {call.call_id: call for call in keep.calls if call.tool_name == "outer"}
inners = [call for call in keep.calls if call.tool_name == "inner"]
ids = {call.call_id for call in keep.calls}
orphans = sum(call.parent_id not in outers or outers[call.parent_id].trace_id != call.trace_id for call in inners)

unsaid = 0
for _ in range(500):
    with track("first words") as call:
        together(lambda: call.record(tokens=1), lambda: call.fail("no"), lambda: call.record(cost=0.5))
    unsaid += (call.tokens, call.error_type, call.cost_usd) != (1, "tool_error", 0.5)

let_in = []
budgets = Budget(limit_usd=1), Budget(limit_usd=1, per="day"), Budget(limit_calls=100), Budget(limit_usd=1, tag="who")
for budget in budgets:
    ran = []
    @monitored("paid", cost=0.01, tags={"who": "me"})
    def paid(): ran.append(1)
    def spend():
        for _ in range(100):
            try: paid()
            except BudgetExceeded: pass
    setup(budget=budget)
    together(*[spend] * 4)
    let_in.append(len(ran))
print(json.dumps({
    "gil": sys._is_gil_enabled(), "raised": raised, "off": off, "orphans": orphans,
    "unsaid": unsaid, "count": summary["count"], "tokens": summary["total_tokens"], "usd": summary["total_cost_usd"],
    "ids": len(ids), "calls": [len(outers), len(inners)],
    "let in": let_in, "mishaps": Diagnostics.internal_errors,
}))
"""


def free_threaded() -> str:
    """The path of a Python without a GIL that has what the package needs; else the test is skipped with a word."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return sys.executable
    named = os.environ.get("FAULT_FREE_THREADED")
    for name in [named] if named else ["python3.15t", "python3.14t", "python3.13t"]:
        path = shutil.which(name)
        if path is None:
            continue
        needs = "import sys, msgspec, wrapt; sys.exit(sys._is_gil_enabled())"
        if subprocess.run([path, "-c", needs], capture_output=True, check=False, timeout=60).returncode == 0:
            return path
        pytest.skip(f"{path} has a GIL, or lacks msgspec or wrapt: {path} -m pip install msgspec wrapt")
    pytest.skip("no Python without a GIL: put python3.14t on the PATH, or name it in FAULT_FREE_THREADED")


def test_d12_without_a_gil_every_figure_is_exact() -> None:
    """Four threads call, record and spend while others read: totals, parents, books and budgets are all exact.

    Seen red on CPython 3.13.5t: with `fail()` without the lock of `record()`, 13 of 2,000 calls had lost their tokens;
    with the inbox copied in one step, `active()` raised RuntimeError.
    """
    count = 5_000
    environment = {"PYTHON_GIL": "0", "FAULT_HANG_S": "100"}
    ended = run_program(WITHOUT_A_GIL, str(count), python=free_threaded(), env=environment, timeout_s=120)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["gil"] is False
    assert (found["raised"], found["mishaps"], found["off"]) == ([], 0, 0)
    assert (found["count"], found["tokens"], found["ids"]) == (8 * count, 12 * count, 8 * count)
    assert found["usd"] == pytest.approx(count * 0.004, rel=1e-12)
    assert (found["calls"], found["orphans"], found["unsaid"]) == ([4 * count] * 2, 0, 0)
    assert found["let in"] == [100] * 4
    print(f"D12: no GIL: {found['count']:,} calls of four threads, all exact, in {ended.took_s:.0f} s")
