"""The texts of budgets: what `BudgetExceeded` says, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable

from toolweaver_monitor._budget.books import Books
from toolweaver_monitor._budget.budget import Unit
from toolweaver_monitor._core.sanitize import NANO, Diagnostics
from toolweaver_monitor._text.display import format_wait, pluralize
from toolweaver_monitor.errors import BudgetExceeded

log = logging.getLogger("toolweaver_monitor")


def exceeded_error(meter: Books, tool_name: str, known_nanousd: int | None) -> BudgetExceeded:
    """Return the error for a call that would exceed this meter's limit."""
    unit = meter.unit
    asked = meter.estimate(known_nanousd)
    frees_in_s = meter.compute_wait_s(asked)
    limit = _format_amount(meter.limit, unit) + ("" if meter.budget.per == "run" else f" per {meter.budget.per}")
    shown = meter.shown_spent()
    spent = format_dollars(shown) if unit == "usd" else f"{shown:,}"
    state = f"{spent} of {limit} spent"
    if meter.held:
        state += f", {_format_amount(meter.held, unit)} set aside for running calls"
    state += _describe_need(unit, asked, known_nanousd)
    return BudgetExceeded(
        f"budget {meter.name!r} exceeded: call to {tool_name!r} rejected ({state})",
        hint=_choose_hint(meter, asked, frees_in_s),
        budget=meter.budget.label,
        limit=convert_amount(meter.limit, unit),
        spent=convert_amount(shown + meter.held, unit),
        asked=convert_amount(asked, unit),
        unit=unit,
        frees_in_s=frees_in_s,
    )


def repeated_error(meter: Books, tool_name: str, count: int, frees_in_s: float | None) -> BudgetExceeded:
    """Return the error for a call that has run as often with the same arguments as this meter's limit allows."""
    times = pluralize(count, "time")
    wait = f"wait {format_wait(frees_in_s)}, " if frees_in_s is not None else ""
    return BudgetExceeded(
        f"budget {meter.name!r} exceeded: call to {tool_name!r} rejected (it ran {times} with the same arguments)",
        hint=f"{wait}call it with other arguments or raise limit_repeats",
        budget=meter.budget.label,
        limit=meter.limit,
        spent=count,
        asked=1,
        unit="repeats",
        frees_in_s=frees_in_s,
    )


def _describe_need(unit: Unit, asked: int, known_nanousd: int | None) -> str:
    if unit == "calls":
        return ""
    if not asked:
        return f", {'cost' if unit == 'usd' else 'tokens'} of this call unknown"
    return f", this call {'reserves' if known_nanousd is None else 'costs'} {_format_amount(asked, unit)}"


def _choose_hint(meter: Books, asked: int, frees_in_s: float | None) -> str:
    raise_limit = f"raise limit_{meter.unit}"
    if meter.unit == "usd" and not meter.limit:
        return f"call only tools that are declared as free (cost=0), or {raise_limit}"
    if max(asked, 1) > meter.limit:
        return f"{raise_limit}: one such call exceeds the whole limit"
    if meter.shown_spent() + asked <= meter.limit and meter.held:
        return f"run fewer calls at once, or {raise_limit}: there is room again when running calls end"
    if frees_in_s is not None:
        return f"wait {format_wait(frees_in_s)} or {raise_limit}"
    if meter.budget.per != "run":
        return f"wait until running calls end and the {meter.budget.per} passes, or {raise_limit}"
    return f"{raise_limit} or start a new run with setup()"


def warning_text(meter: Books) -> str:
    """Return the warning that most of this meter's limit is spent."""
    limit = _format_amount(meter.limit, meter.unit) + ("" if meter.budget.per == "run" else f" per {meter.budget.per}")
    shown = meter.shown_spent()
    spent = format_dollars(shown) if meter.unit == "usd" else f"{shown:,}"
    share = f"{shown / meter.limit:.0%}" if meter.limit else "all"
    return (
        f"budget {meter.name!r} is nearly spent: {spent} of {limit} ({share}); raise limit_{meter.unit} or spend less"
    )


def log_warning(text: Callable[[], str]) -> None:
    """Log a warning about a budget; a broken log handler is counted, and is no reason to do anything else."""
    try:
        log.warning("%s", text())
    except Exception:  # noqa: BLE001 - see above
        Diagnostics.internal_errors += 1


def _format_amount(amount: int, unit: Unit) -> str:
    return format_dollars(amount) if unit == "usd" else pluralize(amount, unit[:-1])


def convert_amount(amount: int, unit: Unit) -> float:
    """Return an amount as users read it: nano-dollars as dollars, tokens and calls as they are."""
    return amount / NANO if unit == "usd" else amount


def format_dollars(nanousd: int) -> str:
    """Return nano-dollars as text: `$5.00`, with as many of the nine decimals as needed."""
    decimals = f"{nanousd % NANO:09d}"
    return f"${nanousd // NANO:,}.{decimals[:2]}{decimals[2:].rstrip('0')}"
