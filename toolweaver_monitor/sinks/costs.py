"""What did it cost, and what cost most? The in-memory costs."""

from __future__ import annotations

from collections.abc import Iterator

from toolweaver_monitor.call import NANO
from toolweaver_monitor.sinks.view import View, recorded, table
from toolweaver_monitor.tally import Tally
from toolweaver_monitor.text import visible


class CostTracker(View):
    """Dollars and calls by operation; also of use alone, without `setup()`."""

    name = "costs"

    def __init__(self) -> None:
        super().__init__(max_operations=1)

    def record(self, operation: str, cost: float) -> None:
        """Count one operation and its cost.

        Args:
            operation: its name.
            cost: dollars; what is no amount (negative, NaN) is counted as invalid and as a call of unknown cost.
        """
        self._own.record(recorded(operation, cost=cost))

    @property
    def costs(self) -> dict[str, float]:
        """Dollars by operation, all-time."""
        return {operation: tally.cost_nanousd / NANO for operation, tally in self._with_cost()}

    @property
    def counts(self) -> dict[str, int]:
        """Calls by operation, of those that had a cost."""
        return {operation: tally.costed for operation, tally in self._with_cost()}

    def most_expensive(self, n: int = 5) -> list[tuple[str, float]]:
        """The `n` operations that cost most in all, with their dollars, the dearest first."""
        return sorted(self.costs.items(), key=lambda item: -item[1])[: max(0, n)]

    def report(self) -> str:
        """Print what each operation cost, the dearest first, with total, calls and average; gives the text."""
        text = self.text()
        print(text)
        return text

    def text(self) -> str:
        """What `report` prints."""
        tools = self.by_tool()
        costed = sorted(((n, t) for n, t in tools.items() if t.costed), key=lambda item: -item[1].cost_nanousd)
        lines = ["Costs"]
        if costed:
            rows = [["operation", "total", "calls", "average"]]
            rows += [_row(visible(operation), tally) for operation, tally in costed]
            total = Tally()
            for _, tally in costed:
                total.add(tally)
            lines += table([*rows, _row("total", total)])
        else:
            lines.append("  nothing has cost anything yet")
        unpriced = {operation: tally.unpriced for operation, tally in sorted(tools.items()) if tally.unpriced}
        if unpriced:
            lines.append(
                "  of unknown cost (not in the total): "
                + ", ".join(f"{visible(o)} {c} calls" for o, c in unpriced.items())
            )
            lines.append(
                "  to price them: setup(prices=...), cost= on @monitored, or pip install 'toolweaver_monitor[prices]'"
            )
        saved = sum(tally.saved_nanousd for tally in tools.values())
        if saved:
            lines.append(f"  saved by caches: {_dollars(saved)}")
        return "\n".join(lines)

    def _with_cost(self) -> Iterator[tuple[str, Tally]]:
        return ((operation, tally) for operation, tally in self.by_tool().items() if tally.costed)


def _row(operation: str, tally: Tally) -> list[str]:
    return [operation, _dollars(tally.cost_nanousd), str(tally.costed), _dollars(tally.cost_nanousd / tally.costed)]


def _dollars(nano: float) -> str:
    return f"${nano / NANO:,.4f}" if nano >= 100_000 or not nano else f"${nano / NANO:,.9f}".rstrip("0")
