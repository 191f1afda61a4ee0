"""D4 and D5: the calls of child processes, and of a parent that forks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from programs import TOOL, delivered, run_program

pytestmark = pytest.mark.system

QUIET = ("-W", "ignore::DeprecationWarning")  # 3.12 warns of every fork in a process with threads

POOLS = (
    TOOL
    + """
import multiprocessing

def work(n):
    for _ in range(100): tool()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    setup(FileSink())
    get_monitor()._components.runners[0].worker.interval_s = 60  # nothing is written until the end
    get_monitor()._components.runners[0].worker.wake()
    for _ in range(250): tool()
    get_monitor().summary()  # these wait in the queue of the sink now, and the next in the inbox
    for _ in range(250): tool()
    children = [context.Process(target=work, args=(n,)) for n in range(4)]
    for child in children: child.start()
    for child in children: child.join(20)
    assert [child.exitcode for child in children] == [0] * 4
elif sys.argv[2] != "fork":
    setup(FileSink())
"""
)


def counted(out: Path) -> list[int]:
    """Calls by process, the most first."""
    return sorted(Counter(process for _, process in delivered(out)).values(), reverse=True)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_d4_children_of_multiprocessing_deliver_everything(method: str, tmp_path: Path) -> None:
    """4 children with 100 calls each and no flush: 400 of 400; and the parent's 500 once.

    Seen red: without `watch_in_child`, 0 of 400 with fork and forkserver (a spawned child runs its exit hooks); with
    the queue of the sink, or the inbox, not emptied in a forked child, half of the parent's came five times.
    """
    out = tmp_path / "calls"
    ended = run_program(POOLS, str(out), method, script=tmp_path / "program.py", options=QUIET)
    assert (ended.code, ended.err) == (0, "")
    assert counted(out) == [500, 100, 100, 100, 100]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_d4_a_process_pool_delivers_everything(method: str, tmp_path: Path) -> None:
    """`ProcessPoolExecutor` with two workers and 8 tasks of 50 calls: all 400.

    Seen red: without `watch_in_child`, at most 150 of 400 with fork and forkserver.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def work(n):
    for _ in range(50): tool()

if __name__ == "__main__":
    setup(FileSink())
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[2])) as pool:
        list(pool.map(work, range(8)))
elif sys.argv[2] != "fork":
    setup(FileSink())
""",
        str(out),
        method,
        script=tmp_path / "program.py",
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert sum(counted(out)) == 400


@pytest.mark.parametrize(("method", "pools"), [("fork", 100), ("spawn", 2)])
def test_d4_a_pool_that_is_left_ends_and_its_workers_deliver_everything(
    method: str, pools: int, tmp_path: Path
) -> None:
    """`with Pool(4)` ends its workers by SIGTERM once it has the results, and waits: no pool hangs, no call is lost.

    100 pools of forked workers and two of spawned ones, with 8 tasks and with one: most workers have not begun then.

    Seen red: with SIGTERM not held back at the fork, with the handler not taken out in a forked child, and without the
    thread that raises the signal again, a pool hung each time (CPython 3.11 and 3.13; so it does with any handler of
    the user's); with the handler not put in again at a child's first call, calls were lost.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
import multiprocessing

def work(n): tool()

if __name__ == "__main__":
    setup(FileSink())
    for turn in range(int(sys.argv[3])):
        with multiprocessing.get_context(sys.argv[2]).Pool(4) as pool:
            pool.map(work, range(8 if turn % 2 else 1), chunksize=1)
elif sys.argv[2] != "fork":
    setup(FileSink())
""",
        str(out),
        method,
        str(pools),
        script=tmp_path / "program.py",
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert sum(counted(out)) == 9 * pools // 2


def test_d4_a_child_that_becomes_a_daemon_hears_nothing_of_its_closed_descriptors(tmp_path: Path) -> None:
    """A child may close whatever is open, as daemons do, also after its first call, and still delivers all.

    Seen red: with the thread that hears of a SIGTERM not minding that its pipe is gone, it died of that on stderr; with
    the end of the pipe not taken for its own, it went on forever.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
import threading

setup(FileSink())
if os.fork() == 0:
    tool()
    listeners = [thread for thread in threading.enumerate() if "sigterm" in thread.name]
    assert len(listeners) == 1
    os.closerange(3, 256)
    listeners[0].join(5)
    assert not listeners[0].is_alive()
    tool()
    assert flush(5.0)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
""",
        str(out),
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert counted(out) == [2]


def test_d4_a_bare_fork_delivers_everything_when_it_ends_normally(tmp_path: Path) -> None:
    """A forked child that runs to its end, or flushes before `os._exit`, has all its calls out; `_exit` alone does not.

    Nothing can be done at `os._exit`, and it is not patched; what was queued in the parent arrives once.

    Seen red: with the parent's threads kept and taken for running in a child, its flush failed; with the queue, or the
    inbox, not emptied there, it delivered 250 of the parent's, too.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
setup(FileSink())
get_monitor()._components.runners[0].worker.interval_s = 60  # nothing is written until the end
get_monitor()._components.runners[0].worker.wake()
for _ in range(250): tool()
get_monitor().summary()  # these wait in the queue of the sink now, and the next in the inbox
for _ in range(250): tool()
for way in ("exit", "flush", "bare"):
    child = os.fork()
    if child == 0:
        for _ in range(100): tool()
        if way == "flush": assert flush(5.0)
        if way != "exit": os._exit(0)
        sys.exit(0)
    os.waitpid(child, 0)
""",
        str(out),
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert counted(out)[:3] == [500, 100, 100]


def test_d4_a_child_forked_by_a_thread_ends_with_that_thread(tmp_path: Path) -> None:
    """Where a thread forks, the child ends when that thread does, as bare, and has all its calls out before.

    Seen red: with our threads staying, or the one that hears of a SIGTERM, the child never ended.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
setup(FileSink())
tool()
children = []
def fork():
    children.append(os.fork())
    if children == [0]:
        _f.cancel_dump_traceback_later()  # a thread of Python's own, which would stay as well
        for _ in range(1_000): tool()
        time.sleep(0.5)
        tool()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
deadline = time.monotonic() + 10
while (ended := os.waitpid(children[0], os.WNOHANG)) == (0, 0):
    if time.monotonic() > deadline: os.kill(children[0], signal.SIGKILL)
    time.sleep(0.01)
assert ended[1] == 0, ended
""",
        str(out),
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert counted(out) == [1_001, 1]


def test_d4_a_call_that_is_open_at_the_fork_is_the_parents(tmp_path: Path) -> None:
    """The child ends it too, and says nothing of it; its own calls inside it are delivered.

    Seen red: with the inbox not emptied in a child, or the calls set aside not forgotten, `outer` came twice.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
@monitored("outer")
def outer(aside):
    if aside: get_monitor().summary()  # now it is no longer in the inbox: it was looked at, and set aside
    child = os.fork()
    tool()
    if child: os.waitpid(child, 0)
    return child
setup(FileSink())
for aside in [False, True] * 3:
    if outer(aside) == 0: sys.exit()
""",
        str(out),
        options=QUIET,
    )
    assert (ended.code, ended.err) == (0, "")
    assert Counter(tool for tool, _ in delivered(out)) == {"tool": 12, "outer": 6}


LOCKS = (
    TOOL
    + """
from toolweaver_monitor._core import locks
from toolweaver_monitor.sinks import PrometheusExporter, WandBLogger
from toolweaver_monitor.testing.faults import HangSink
hang = HangSink()
setup(FileSink(), hang, WandBLogger(), PrometheusExporter(port=0), budget=5.0, tags={"a": 1})
tool()
get_monitor().summary(); get_monitor().health()
hang.hanging.wait(5)
worst = 0.0
living = locks.live_locks()
print(sorted(living))
for name, held in living.items():
    for lock in held:
        taken, free = threading.Event(), threading.Event()
        def hold():
            with lock:
                taken.set(); free.wait()
        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        assert taken.wait(20), name
        took = []
        while len(took) < 8 and min(took, default=1.0) > 0.010:  # others that run here only add: the least counts
            began = time.monotonic()
            child = os.fork()
            if child == 0: os._exit(0)
            took.append(time.monotonic() - began)
            os.waitpid(child, 0)
        worst = max(worst, min(took))
        child = os.fork()
        if child == 0:
            began = time.monotonic()
            tool()
            get_monitor().summary()
            get_monitor().health()
            get_monitor().costs.report if hasattr(get_monitor().costs, "report") else None
            with tool_block("after"): pass
            flush(0.05)  # the hung sink is hung here, too; the others have it
            os._exit(0 if time.monotonic() - began < 1.0 else 3)
        free.set()
        for _ in range(300):
            done, status = os.waitpid(child, os.WNOHANG)
            if done: break
            time.sleep(0.01)
        else:
            os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
            sys.exit(f"a child forked while {name!r} was held does not go on")
        assert status == 0, (name, status)
print("forked in", worst)
hang.release()
"""
).replace("with tool_block", "from toolweaver_monitor import track\n            with track")


def test_d5_a_fork_while_any_lock_is_held_leaves_a_child_that_works(tmp_path: Path) -> None:
    """For each lock of the library, held by another thread at the fork, and with a sink that hangs: the child's first
    call, its reads and a flush take less than a second; and `fork()` itself is held up 10 ms at most.

    Seen red: with `_at_fork_reinit` left out, the first child hung.
    """
    out = tmp_path / "calls"
    ended = run_program(LOCKS, str(out), options=QUIET)
    assert ended.code == 0, ended.err
    names, forked = ended.out.splitlines()[:2]
    assert len(eval(names)) >= 8
    assert float(forked.split()[-1]) <= 0.010
    assert {tool for tool, _ in delivered(out)} == {"tool", "after"}
    print(f"D5: {len(eval(names))} kinds of locks, fork in {float(forked.split()[-1]) * 1e3:.1f} ms")


MADE = ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier", "allocate_lock")


def test_d5_every_lock_of_the_package_is_known(package_sources: list[Path]) -> None:
    """No file makes a lock of its own: one that `locks` does not know of would stay locked in a child.

    The wake-up flag of a worker and the tickets of the bus are made anew in a child, and so may be bare.

    Seen red: with a `threading.Lock()` put into `tally.py`.
    """
    import ast

    own = []
    for path in package_sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name.split(".")[-1] in MADE and name.split(".")[0] in {"threading", "_thread", "multiprocessing"}:
                    own.append(f"{path.name}: {name}")
    assert sorted(set(own)) == [
        "bus.py: _thread.allocate_lock",
        "locks.py: threading.Lock",
        "locks.py: threading.RLock",
        "worker.py: _thread.allocate_lock",
    ]


@pytest.fixture
def package_sources() -> list[Path]:
    import toolweaver_monitor

    root = Path(toolweaver_monitor.__file__).parent
    return [path for path in root.rglob("*.py") if not {"testing", "_cli"} & set(path.parts)]


def test_d5_a_lock_let_go_is_forgotten() -> None:
    """A program that makes collectors without end does not fill the list of locks.

    Seen red: with the list never swept, 5,000 more.
    """
    from toolweaver_monitor import MetricsCollector
    from toolweaver_monitor._core import locks

    before = len(locks._locks)
    for _ in range(5_000):
        MetricsCollector()
    assert len(locks._locks) < before + 1_000
    assert sys.getsizeof(locks._owners) < 100_000
