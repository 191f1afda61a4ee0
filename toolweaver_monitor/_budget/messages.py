"""How is a refusal said? Which budget, its limit, what is spent, what was asked, when it frees, and the cure."""

from __future__ import annotations

from collections.abc import Callable

from toolweaver_monitor._budget.budget import Unit
from toolweaver_monitor._budget.meter import Meter
from toolweaver_monitor._core.sanitize import NANO
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor.errors import BudgetExceeded


def refusal(meter: Meter, tool_name: str, known_nanousd: int | None) -> BudgetExceeded:
    """The error for a call that would pass this meter's limit."""
    unit = meter.unit
    asked = meter.asked(known_nanousd)
    frees_in_s = meter.frees_in_s(asked)
    said = said_in(unit)
    spent = f"spent {said(meter.spent)}"
    if meter.held:
        spent += f" and {said(meter.held)} set aside for running calls"
    return BudgetExceeded(
        f"budget {meter.name!r} refuses a call of {tool_name!r}: limit {said(meter.limit)} per {meter.budget.per}, "
        f"{spent}, asked {said(asked) if asked else 'an unknown amount'}; {_cure(meter, asked, frees_in_s)}",
        budget=meter.budget.label,
        limit=figure(meter.limit, unit),
        spent=figure(meter.spent + meter.held, unit),
        asked=figure(asked, unit),
        unit=unit,
        frees_in_s=frees_in_s,
    )


def _cure(meter: Meter, asked: int, frees_in_s: float | None) -> str:
    raising = f"raise limit_{meter.unit}="
    if meter.unit == "usd" and not meter.limit:
        return f"only tools that are declared to cost nothing (cost=0) may run: {raising}"
    if max(asked, 1) > meter.limit:
        return f"one such call is more than the whole limit: {raising}"
    if meter.spent + asked <= meter.limit and meter.held:
        return f"room comes when running calls end: run fewer at once, or {raising}"
    if frees_in_s is not None:
        return f"it has room again in {frees_in_s:.1f} s: wait, or {raising}"
    if meter.slots:
        return f"room comes as running calls end and the {meter.budget.per} passes: wait, or {raising}"
    return f"a budget per run never frees: {raising}, or start a new run with setup()"


def figure(amount: int, unit: Unit) -> float:
    """An amount for the outside: dollars as a float, tokens and calls as they are."""
    return amount / NANO if unit == "usd" else amount


def said_in(unit: Unit) -> Callable[[int], str]:
    """How amounts of this unit are written."""
    return dollars if unit == "usd" else lambda amount: pluralize(amount, unit[:-1])


def dollars(nanousd: int) -> str:
    """`$5.00`, with as many of the nine decimals as it takes."""
    decimals = f"{nanousd % NANO:09d}"
    return f"${nanousd // NANO:,}.{decimals[:2]}{decimals[2:].rstrip('0')}"
