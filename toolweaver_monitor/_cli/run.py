"""The command `toolweaver-monitor run`: a program, monitored without a line of code in it."""

from __future__ import annotations

import argparse
import atexit
import builtins
import contextlib
import errno
import importlib.machinery
import importlib.metadata
import io
import os
import runpy
import signal
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toolweaver_monitor
from toolweaver_monitor._instrument.patching import watches
from toolweaver_monitor._instrument.patching.everywhere import instrument_everywhere
from toolweaver_monitor._runtime.setup import last_monitor
from toolweaver_monitor._text.display import pluralize

PURPOSE = """\
Runs a Python program as `python` would, with its tools monitored: sets up from the environment
(TOOLWEAVER_MONITOR_SINKS and the other settings), instruments the agent frameworks and clients that it imports, and
prints a report on stderr when the program has ended.
"""

USES = """\
examples:
  toolweaver-monitor run app.py --its-own-option
  toolweaver-monitor run -m package.module
  TOOLWEAVER_MONITOR_SINKS=prometheus toolweaver-monitor run app.py

exit code: that of the program
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "run",
        help="run a program with the tools of known frameworks monitored",
        description=PURPOSE,
        epilog=USES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="PROGRAM is a module, as for python -m")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON in place of the report")
    parser.add_argument("--no-report", action="store_true", help="print nothing at the end")
    parser.add_argument("program", metavar="PROGRAM", help="a file, a folder or zip file with __main__.py, or a module")
    parser.add_argument("args", metavar="...", nargs=argparse.REMAINDER, help="the program's own arguments")
    parser.set_defaults(run=run, keeps_stdout=True)


def run(options: argparse.Namespace) -> int:
    """Run the program, and return its exit code."""
    if not options.is_module and not Path(options.program).exists():
        return _cannot_open(options.program, os.strerror(errno.ENOENT))
    ending = _Ending(options)
    atexit.register(ending)  # before `setup()`, so that it runs after the hooks of the program and of the library
    ending.monitor = toolweaver_monitor.setup()
    before = sys.modules["__main__"]
    start = _prepare(options)
    instrument_everywhere()
    if _has_toolweaver():
        toolweaver_monitor.instrument("toolweaver")
    try:
        start()
    except KeyboardInterrupt as error:
        ending.is_interrupted = True
        _show(error)
        return 130
    except SystemExit as error:
        if isinstance(error.__context__, runpy._Error):  # type: ignore[attr-defined]
            ending.monitor = None  # there is no such module, and nothing to report
        return _exit_code(error)
    except BaseException as error:  # noqa: BLE001 - as the interpreter ends a program, whatever it raises
        _show(error)
        return 1
    finally:
        ending.main = before  # kept alive: a module that is collected loses its names
    return 0


class _Ending:
    """What happens after all that the program does, its threads and `atexit` hooks included."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.monitor: toolweaver_monitor.Monitor | None = None
        self.main: types.ModuleType | None = None
        self.is_interrupted = False

    def __call__(self) -> None:
        """Print the report, and end by the signal if the program was interrupted, so that a shell sees why."""
        with contextlib.suppress(OSError, ValueError):  # stderr is closed
            self._report()
        if self.is_interrupted and os.name == "posix":
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    def _report(self) -> None:
        if self.monitor is None or self.options.no_report or sys.stderr is None:
            return
        monitor = last_monitor() or self.monitor  # the program may have called `setup()` itself
        if self.options.json:
            import json

            sys.stderr.write(json.dumps(monitor.summary(), indent=2) + "\n")
            return
        with contextlib.redirect_stdout(io.StringIO()):
            text = monitor.report()
        sys.stderr.write(f"\n{text}\n\n{_seen(has_calls=bool(monitor.summary()['count']))}\n")


NO_TOOLS = "; put @monitored on your tools, or name them with instrument()"


def _seen(*, has_calls: bool) -> str:
    """Return what was monitored of what the program has imported, how many calls were seen, and what was not."""
    lines = ["Monitored"]
    for target, methods, calls, _ in watches.shown():
        told = "" if calls is None else f": {pluralize(calls, 'call')}"
        lines.append(f"  {target} ({', '.join(methods)}){told}")
    lines += [f"  {problem}" for problem in watches.problems()]
    if len(lines) == 1:
        lines.append("  no known framework or client was imported" + ("" if has_calls else NO_TOOLS))
    return "\n".join(lines)


def _has_toolweaver() -> bool:
    try:
        importlib.metadata.version("toolweaver")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _prepare(options: argparse.Namespace) -> Callable[[], Any]:
    """Make the process look as if `python` had been started with the program, and return what runs it."""
    program: str = options.program
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    sys.modules["__main__"] = main
    if options.is_module:
        sys.argv[:] = ["-m", *options.args]  # replaced by the path of the module
        _set_path(Path.cwd())
        return lambda: runpy._run_module_as_main(program, alter_argv=True)  # type: ignore[attr-defined]
    sys.argv[:] = [program, *options.args]
    if Path(program).is_dir() or zipfile.is_zipfile(program):
        _set_path(Path(program).absolute())
        return lambda: runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
    _set_path(Path(program).resolve().parent)
    return lambda: _run_file(str(Path(program).absolute()), main)


def _set_path(folder: Path) -> None:
    """Put the program's folder where that of this command stands, or in front."""
    if not sys.flags.safe_path:
        sys.path[0] = str(folder)


def _run_file(program: str, main: types.ModuleType) -> None:
    """Run a file as `__main__`."""
    try:
        with io.open_code(program) as file:
            source = file.read()
    except OSError as error:
        raise SystemExit(_cannot_open(program, error.strerror)) from None
    code = compile(source, program, "exec", dont_inherit=True)
    vars(main).update(
        __file__=program,
        __cached__=None,
        __package__=None,
        __spec__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", program),
    )
    exec(code, vars(main))  # noqa: S102 - the program that the user names


def _cannot_open(program: str, reason: str | None) -> int:
    """Say that there is no such program, and return the exit code of `python` for that."""
    sys.stderr.write(f"toolweaver-monitor: can't open file {program!r}: {reason}\n")
    return 2


def _exit_code(error: SystemExit) -> int:
    """Return the exit code of `sys.exit()`: 0 for None, 1 for a text, which is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    if sys.stderr is not None:
        sys.stderr.write(f"{error.code}\n")
    return 1


def _show(error: BaseException) -> None:
    """Print an exception as the interpreter would, without the frames of this command."""
    own = {__file__, runpy.__file__, "<frozen runpy>"}
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename in own:
        traceback = traceback.tb_next
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)
