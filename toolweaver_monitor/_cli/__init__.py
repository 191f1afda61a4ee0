"""Which commands are there? Each has its own module; here they are put together."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import toolweaver_monitor
from toolweaver_monitor._cli.doctor import command as doctor_command

COMMANDS = (doctor_command,)
"""Each has `add(commands)`, which gives it its options, and `run(options)`, which gives the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its arguments; those of the process if not given.

    Returns:
        The exit code: 0 all is well, 1 something is wrong. A command line that cannot be understood exits with 2.
    """
    whole = parser()
    options = whole.parse_args(argv)
    if "run" not in options:
        whole.print_help(sys.stderr)
        raise SystemExit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter gets its code
    try:
        code: int = options.run(options)
        if sys.stdout is not None:  # it is where the program was started with none: the exit code says it all
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter would try again at its end
        if not isinstance(error, BrokenPipeError):  # the disk is full; not only that `| head` has read enough
            sys.stderr.write(f"toolweaver-monitor: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """All that can be written on the command line."""
    whole = argparse.ArgumentParser(
        prog="toolweaver-monitor",
        description="How often each AI tool ran, how long it took, what it cost and how it failed.",
        epilog="`toolweaver-monitor COMMAND --help` says more about a command.",
    )
    whole.add_argument("--version", action="version", version=f"toolweaver-monitor {toolweaver_monitor.__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return whole
