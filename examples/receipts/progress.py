"""Show the progress: a bar on a terminal, a line a receipt anywhere else."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TextIO

from examples.receipts.images import money
from examples.receipts.orchestrator import Reading


class Lines(AbstractContextManager["Lines"]):
    """Progress as one line a receipt.

    Args:
        total: how many there are.
        out: where to say it.
    """

    def __init__(self, total: int, out: TextIO) -> None:
        self.total, self.out, self.count = total, out, 0

    def done(self, reading: Reading) -> None:
        """Report another receipt."""
        self.count += 1
        self.out.write(f"  {self.count:>{len(str(self.total))}}/{self.total}  {describe(reading)}\n")
        self.out.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: there is no bar to close."""


class Bar(Lines):
    """Progress as lines above a bar that moves."""

    def __init__(self, total: int, out: TextIO) -> None:
        super().__init__(total, out)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar: Any = Progress(
            TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(file=out)
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def done(self, reading: Reading) -> None:
        """Report another receipt."""
        self._bar.console.print(f"  {describe(reading)}", markup=False, highlight=False)
        self._bar.advance(self._task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the bar where it is."""
        self._bar.stop()


def progress(total: int, out: TextIO = sys.stderr) -> Lines:
    """Return the bar if it can be seen and `rich` is installed, else lines."""
    try:
        return Bar(total, out) if out.isatty() else Lines(total, out)
    except ImportError:
        return Lines(total, out)


def describe(reading: Reading) -> str:
    """Describe one receipt in one line."""
    if reading.outcome == "read":
        kinds = ", ".join(f"{kind} {money(cents)}" for kind, cents in sorted(reading.kinds.items()))
        return f"{reading.file}  read     {money(reading.total or 0):>6}  ({kinds})"
    return f"{reading.file}  {reading.outcome:<7}  {reading.why}"
