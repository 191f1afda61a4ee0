"""The command `toolweaver-monitor`. Each subcommand has a module of its own."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import toolweaver_monitor
from toolweaver_monitor._cli import run as run_command
from toolweaver_monitor._cli import serve as serve_command
from toolweaver_monitor._cli import top as top_command
from toolweaver_monitor._cli.dashboards import command as dashboards_command
from toolweaver_monitor._cli.doctor import command as doctor_command
from toolweaver_monitor._cli.store import compare, dashboard, forget, mcp_server, query, replay, report, tail, tree
from toolweaver_monitor.errors import ToolweaverMonitorError

COMMANDS = (
    report,
    top_command,
    tail,
    tree,
    compare,
    query,
    replay,
    forget,
    dashboard,
    mcp_server,
    serve_command,
    dashboards_command,
    doctor_command,
    run_command,
)
"""Each has `add(commands)`, which adds its options, and `run(options)`, which returns the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its arguments; those of the process if not given.

    Returns:
        The exit code: 0 all is well, 1 something is wrong. A command line that cannot be understood exits with 2.
    """
    command_line = parser()
    options = command_line.parse_args(argv)
    if "run" not in options:
        command_line.print_help(sys.stderr)
        raise SystemExit(2)
    if sys.stdout is None and "keeps_stdout" not in options:  # in a process started without it: `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper) and "keeps_stdout" not in options:
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that the terminal cannot show appears as its code
    try:
        code: int = options.run(options)
        if sys.stdout is not None:  # None for `run` in a process started without it
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries again at its end
        if not isinstance(error, BrokenPipeError):  # a full disk, for example; `| head` closes the pipe on purpose
            sys.stderr.write(f"toolweaver-monitor: {error.strerror or error}\n")
        return 1
    except ToolweaverMonitorError as error:
        sys.stderr.write(f"toolweaver-monitor: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return code


class CommandLine(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and what to do, and exit with 2."""
        cure = "" if ";" in message else f"; `{self.prog} --help` shows what there is"
        self.exit(2, f"{self.prog}: error: {message}{cure}\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    command_line = CommandLine(
        prog="toolweaver-monitor",
        description="Count, time and price the calls of AI tools.",
        epilog="`toolweaver-monitor COMMAND --help` shows the options of a command.",
    )
    version = f"toolweaver-monitor {toolweaver_monitor.__version__}"
    command_line.add_argument("--version", action="version", version=version)
    commands = command_line.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return command_line
