"""D2 and D11: everything is delivered when a program ends, in whichever way it ends."""

from __future__ import annotations

import signal
import sys
import sysconfig
from pathlib import Path

import pytest
from helpers import CONTAINER, require_pid_namespaces
from programs import TOOL, delivered, run_program

pytestmark = pytest.mark.system

SILENT = "setup(FileSink())\nget_monitor()._components.runners[0].worker.interval_s = 60\n"
"""A sink that writes only when it is made to: what arrives, the end has delivered."""
THOUSAND = "for _ in range(1000): tool()\n"


def kill(how: str) -> str:
    return THOUSAND + f"leaving()\nos.kill(os.getpid(), signal.{how})\ntime.sleep(30)"


@pytest.mark.parametrize(
    ("ending", "code", "says"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise ValueError('their own')", 1, "ValueError: their own"),
        ("import asyncio\nasync def main(): tool()\nasyncio.run(main())", 0, ""),
        ("t = threading.Thread(target=lambda: (time.sleep(0.3), tool()))\nt.start()", 0, ""),
        ("signal.raise_signal(signal.SIGINT)\ntime.sleep(30)", -signal.SIGINT, "KeyboardInterrupt"),
    ],
    ids=["last line", "sys.exit", "uncaught", "event loop", "thread after main", "SIGINT"],
)
def test_d2_every_way_to_end_delivers_everything(ending: str, code: int, says: str, tmp_path: Path) -> None:
    """The last line, `sys.exit`, an error, an event loop's end, a thread that outlives it, Ctrl-C: 1,000 of 1,000.

    Seen red: with `atexit.register` left out, none arrived.
    """
    out = tmp_path / "calls"
    ended = run_program(TOOL + SILENT + THOUSAND + "leaving()\n" + ending, str(out))
    # Raised on the main thread: a signal that another thread takes just before a wait, CPython forgets until its end.
    # CPython forgets that it was Ctrl-C if any thread compiles text meanwhile; the exit code is 1 then.
    assert ended.code == code or (says == "KeyboardInterrupt" and ended.code == 1), ended.err
    assert says in ended.err
    assert ended.err.count("Traceback") == (1 if says else 0)
    assert "toolweaver" not in ended.err
    assert len(delivered(out)) in {1_000, 1_001}
    assert len(delivered(out)) == 1_000 + ending.count("tool()")
    assert ended.exit_s() <= 2.5


def test_d2_sigterm_delivers_all_and_kills_as_it_would_have(tmp_path: Path) -> None:
    """1,000 of 1,000 within 2.5 s, and the exit code is that of SIGTERM.

    Seen red: with no handler, none arrived; with the handler returning, the program slept on.
    """
    out = tmp_path / "calls"
    ended = run_program(TOOL + SILENT + kill("SIGTERM"), str(out))
    assert ended.code == -signal.SIGTERM
    assert ended.err == ""
    assert len(delivered(out)) == 1_000
    assert ended.exit_s() <= 2.5
    print(f"D2: 1,000 of 1,000 in {ended.exit_s():.3f} s")


def test_d2_sigterm_with_a_hung_sink_ends_in_time_and_the_other_sink_has_all(tmp_path: Path) -> None:
    """The hung one is given up after 2 s, and said so.

    Seen red: with the deadline left out of the wait, the program hung until it was killed.
    """
    out = tmp_path / "calls"
    hung = "from toolweaver_monitor.testing.faults import HangSink\nsetup(HangSink(), FileSink())\n"
    ended = run_program(TOOL + hung + kill("SIGTERM"), str(out))
    assert ended.code == -signal.SIGTERM
    assert ended.err == "toolweaver_monitor: 1,000 calls were not delivered: hang 1,000 (1,000 shutdown)\n"
    assert len(delivered(out)) == 1_000
    assert ended.exit_s() <= 2.5


@pytest.mark.parametrize("when", ["before", "after"])
def test_d2_a_handler_of_the_users_is_called_and_monitoring_goes_on(when: str, tmp_path: Path) -> None:
    """Theirs runs, set before or after ours, and what they still call on the way out is delivered, too.

    Seen red: with the handler shutting down instead of flushing, the calls made after it were missing.
    """
    out = tmp_path / "calls"
    theirs = "def handler(number, frame):\n    print('theirs', flush=True)\n    tool()\n    ended.set()\n"
    theirs += "ended = threading.Event()\n"
    install = "signal.signal(signal.SIGTERM, handler)\n"
    steps = [install, SILENT] if when == "before" else [SILENT, install]
    rest = THOUSAND + "leaving()\nos.kill(os.getpid(), signal.SIGTERM)\nended.wait()\ntool()\n"
    ended = run_program(TOOL + theirs + "".join(steps) + rest, str(out))
    assert (ended.code, ended.err) == (0, "")
    assert "theirs" in ended.out
    assert len(delivered(out)) == 1_002


def test_d2_a_handler_that_restores_the_default_and_raises_again_loses_nothing(tmp_path: Path) -> None:
    """As uvicorn does: it goes on for a while, then raises SIGTERM once more with no handler in place.

    Seen red: without `hurry`, the calls of the last while were missing.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
setup(FileSink())
for _ in range(1000): tool()
leaving()
os.kill(os.getpid(), signal.SIGTERM)
stop.wait()
for _ in range(100): tool()
time.sleep(0.1)  # the ending of a server takes longer
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.raise_signal(signal.SIGTERM)
""",
        str(out),
    )
    assert ended.code == -signal.SIGTERM
    assert len(delivered(out)) == 1_100


def test_d2_process_1_of_a_container_goes_on_and_is_monitored(tmp_path: Path) -> None:
    """Linux lets it ignore SIGTERM: it ends when it wants, or is killed after the grace period.

    Seen red: with the setup ended by the signal, the calls of the grace period were missing.
    """
    require_pid_namespaces()
    out = tmp_path / "calls"
    rest = "for _ in range(100): tool()\ntime.sleep(0.5)\nprint(get_monitor().summary()['count'])\n"
    ended = run_program(
        TOOL + SILENT + THOUSAND + "os.kill(1, signal.SIGTERM)\n" + rest + "sys.stdout.flush()\nos._exit(0)",
        str(out),
        python=CONTAINER[0],
        options=(*CONTAINER[1:], sys.executable),
    )
    assert (ended.code, ended.out, ended.err) == (0, "1100\n", "")
    assert len(delivered(out)) == 1_100


def test_d2_asyncios_handler_is_chained(tmp_path: Path) -> None:
    """`loop.add_signal_handler` works as before, set before or after `setup()`.

    Seen red: with every SIGTERM ending the process, it died of it in the first case.
    """
    out = tmp_path / "calls"
    for steps in ("add()\n    setup(FileSink())", "setup(FileSink())\n    add()"):
        out.unlink(missing_ok=True)
        ended = run_program(
            TOOL
            + f"""
import asyncio
async def main():
    stop = asyncio.Event()
    def add(): asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    {steps}
    for _ in range(1000): tool()
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    tool()
asyncio.run(main())
""",
            str(out),
        )
        assert (ended.code, ended.err) == (0, "")
        assert len(delivered(out)) == 1_001


def test_d2_off_the_main_thread_there_is_no_handler_and_no_error(tmp_path: Path) -> None:
    """`setup()` on another thread leaves signals alone; SIGTERM then kills as ever.

    Seen red: without the look at the thread and the shield, `signal.signal` raised ValueError.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
t = threading.Thread(target=lambda: setup(FileSink()))
t.start(); t.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
tool()
""",
        str(out),
    )
    assert (ended.code, ended.err) == (0, "")
    assert len(delivered(out)) == 1


def test_d2_the_handler_can_be_declined(tmp_path: Path) -> None:
    """`TOOLWEAVER_MONITOR_HANDLE_SIGTERM=0`.

    Seen red: with the variable not read, the handler was ours.
    """
    program = TOOL + "setup(FileSink())\nprint(signal.getsignal(signal.SIGTERM))\n"
    ended = run_program(program, str(tmp_path / "calls"), env={"TOOLWEAVER_MONITOR_HANDLE_SIGTERM": "0"})
    assert ended.out.strip() in {"0", "Handlers.SIG_DFL"}


def test_d2_a_sigterm_in_the_middle_of_a_shutdown_finishes_it_first(tmp_path: Path) -> None:
    """The handler goes on with what the program had begun, and no write is entered twice.

    Seen red: with `shutdown` returning at once when called again, what was still queued was lost.
    """
    out = tmp_path / "calls"
    ended = run_program(
        TOOL
        + """
setup(FileSink(write_s=0.2))
for _ in range(3000): tool()
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
shutdown(2.0)
time.sleep(5)
""",
        str(out),
    )
    assert ended.code == -signal.SIGTERM
    assert ended.err == ""
    assert len(delivered(out)) == 3_000


TEARDOWN = (
    TOOL
    + """
import atexit
class Late:
    def __del__(self, tool=tool, get_monitor=get_monitor, flush=flush):  # its module may be empty by then
        tool()
        get_monitor()
        flush(0.2)
class Kept(Late): pass
atexit.register(tool)
setup(FileSink())
atexit.register(tool)
atexit.register(lambda: (flush(), get_monitor().summary(), get_monitor().health()))
kept = Kept()
ring = Late(); ring.me = ring
sys.modules["late"] = Late()
import builtins; builtins.late = Late()
def outlive():
    time.sleep(0.2)
    for _ in range(100): tool()
    flush()
threading.Thread(target=outlive).start()
lasting = threading.Thread(target=lambda: [(tool(), time.sleep(0.001)) for _ in iter(int, 1)], daemon=True)
lasting.start()
tool()
"""
)


def test_d11_the_end_of_the_interpreter_is_quiet(tmp_path: Path) -> None:
    """Calls from `atexit`, from `__del__` at teardown, from threads after main: no traceback, no hang, nothing lost.

    Seen red: with `get_monitor()` raising once the monitor has ended, each `__del__` at teardown had a traceback.
    """
    program = TEARDOWN
    if sysconfig.get_config_var("Py_GIL_DISABLED"):  # every module is empty there when the last objects go
        program = program.replace("flush(0.2)", "pass")  # what cannot be called then: see docs/reference/faults.md
    out = tmp_path / "calls"
    ended = run_program(program, str(out))
    assert (ended.code, ended.err) == (0, "")
    assert len(delivered(out)) >= 102
    assert ended.took_s < 6.0


OUTLIVED = """
import _thread
from toolweaver_monitor import monitored, setup
@monitored("tool")
def tool(): return 1
@monitored("waits")
async def waits(): return 2
@monitored("gives")
def gives(): yield 3
class Late:
    def __del__(self, tool=tool, waits=waits, gives=gives, write=__import__("os").write):
        try: waits().send(None)
        except StopIteration as done: two = done.value
        write(1, b"%d %d %d" % (tool(), two, *gives()))
_thread.late = Late()  # a module that was there before ours, and is emptied after them
setup(lambda call: None)
tool()
"""


def test_d11_a_function_that_is_called_when_our_modules_are_empty_runs_bare() -> None:
    """An object in a module that Python empties after this library may still call a monitored function of any kind.

    Seen red: with the bus looked up in the module, each `__del__` printed `'NoneType' object has no attribute 'plain'`.
    """
    ended = run_program(OUTLIVED)
    assert (ended.code, ended.out, ended.err) == (0, "1 2 3", "")


def test_d11_moving_our_exit_hook_while_the_exit_is_under_way_loses_nothing(tmp_path: Path) -> None:
    """A sink's library that comes up just when the program ends has our hook run first: 1,000 of 1,000 all the same.

    Seen red: with the earlier hook taken out, there was none left to be run, and none arrived.
    """
    out = tmp_path / "calls"
    late = "import atexit\nfrom toolweaver_monitor._bus import process_exit\natexit.register(process_exit.run_first)\n"
    ended = run_program(TOOL + SILENT + THOUSAND + late, str(out))
    assert (ended.code, ended.err) == (0, "")
    assert len(delivered(out)) == 1_000


IMPATIENT = (
    TOOL
    + """
class Hang(FileSink):
    def write(self, calls): time.sleep(60)

class Telling:
    '''Interrupts whoever waits for the end, as a second Ctrl-C does.'''
    name = "telling"
    def write(self, calls): pass
    def flush(self): pass
    def close(self): os.kill(os.getpid(), signal.SIGINT)

setup(Hang(name="hang"), Telling())
for _ in range(100): tool()
leaving()
"""
)


def test_d2_a_ctrl_c_while_the_end_is_waited_for_ends_it_and_the_loss_is_told(tmp_path: Path) -> None:
    """Somebody who does not wait two seconds for a hung sink gets the line with the lost count, and no traceback.

    Seen red: with only `Exception` suppressed around the shutdown at the exit, there was a traceback and no such line.
    """
    ended = run_program(IMPATIENT, str(tmp_path / "calls"))
    assert ended.code == 0
    assert ended.err == "toolweaver_monitor: 100 calls were not delivered: hang 100 (100 shutdown)\n"
    assert ended.exit_s() < 1.5
