"""Problems, notes and cures: what `Monitor.health()` returns."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

import msgspec

from toolweaver_monitor._budget import BudgetStatus
from toolweaver_monitor._bus.bus import bus, inbox
from toolweaver_monitor._core.config import unread_variables
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.figure_words import misspelt_text
from toolweaver_monitor._core.sanitize import MAX_TAGS, Diagnostics, plain_text
from toolweaver_monitor._instrument.patching import watches
from toolweaver_monitor._instrument.patching.by_name import waiting_for_import
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.safe_repr import capture_value

STATE_CURES = {
    "degraded": "it failed and is tried again within 30 s; fix what the error names",
    "breaker_open": "it failed five times in a row and is tried again every 30 s; fix what the error names",
}
REASON_CURES = {
    "queue_full": "calls arrive faster than the sink takes them: make its write() faster, or raise its max_calls",
    "shutdown": "they were still queued at the end: give shutdown() a longer timeout",
    "closed": "they ended after the setup did: call shutdown() last",
}
MAX_PRICE_AGE_DAYS = 90.0
MAX_KEY_CHARS = 128


class Health(TypedDict):
    """The state of a setup, as `Monitor.health()` returns it; plain values, ready for JSON.

    Attributes:
        ok: True if there are no problems.
        problems: what is wrong, one sentence each that ends with the cure.
        notes: what is not a fault but worth knowing: unknown costs, old prices, values that could not be counted,
            figures that were handed on and count once, modules given to `instrument()` that are not imported yet.
        closed: whether this setup has ended.
        watching: whether calls are monitored.
        waiting: how many calls have ended but are not counted yet.
        waiting_for_import: dotted names given to `instrument()` whose modules are not imported yet.
        instrumented: what `instrument()` monitors: `target`, `methods`, the number of `calls` seen so far (None where
            they are not counted by target), and the names of its `tools` as far as they do not depend on arguments.
        active: how many calls are open right now.
        dropped: how many calls did not reach a sink, over all sinks, by reason.
        sinks: for each sink by name its `state` (`ok`, `degraded`, `breaker_open`, `unavailable`), its counts (`emitted
            == delivered + failed + dropped + queued`, with `failed_by` and `dropped_by`), `last_error`, `cure`, and
            what the sink's own `status()` returns.
        budgets: the status of every budget, as `BudgetStatus`.
        prices: `ready`, `genai_prices` (its state), `sources`, `age_days` of the newest price, and a `cure` if one is
            needed.
        invalid: how often running calls recorded what could not be counted, in this process so far: `invalid_values`
            (negative, NaN or not numbers), `late_records` (recorded on a closed call), `suppressed_calls` (calls made
            by a sink), `extractor_errors` (functions of the user that raised), `internal_errors` (errors of this
            library itself).
        faults: what failed in the environment at setup, by sink.
    """

    ok: bool
    problems: list[str]
    notes: list[str]
    closed: bool
    watching: bool
    waiting: int
    waiting_for_import: list[str]
    instrumented: list[dict[str, Any]]
    active: int
    dropped: dict[str, int]
    sinks: dict[str, dict[str, Any]]
    budgets: list[BudgetStatus]
    prices: dict[str, Any]
    invalid: dict[str, int]
    faults: dict[str, str]


def health(components: Components) -> Health:
    """Return the state of a setup."""
    unpriced = components.metrics.summary()["unpriced_calls"]  # brings in what has ended
    sinks = _sink_states(components)
    prices = components.prices.status()
    problems = [*_setup_problems(components)]
    problems += itertools.starmap(misspelt_text, FigureNotes.of("misspelt").items())
    dropped: Counter[str] = Counter()
    for name, sink in sinks.items():
        problems += _sink_problems(name, sink)
        dropped.update(sink.get("dropped_by", {}))
    budgets = components.budgets()
    problems += _budget_problems(components, budgets)
    return {
        "ok": not problems,
        "problems": problems,
        "notes": [
            *_sink_notes(sinks),
            *_price_notes(unpriced, prices),
            *_figure_notes(),
            *_setting_notes(),
            *_call_notes(),
        ],
        "closed": components.closed,
        "watching": bus.policy.on,
        "waiting": len(inbox),
        "waiting_for_import": waiting_for_import(),
        "instrumented": [target._asdict() for target in watches.shown()],
        "active": len(bus.open_calls()),
        "dropped": dict(dropped),
        "sinks": sinks,
        "budgets": budgets,
        "prices": prices,
        "invalid": Diagnostics.counts(),
        "faults": {name: fault.text for name, fault in components.faults.items()},
    }


# --- the sinks ------------------------------------------------------------------------------------------------------


def _sink_states(components: Components) -> dict[str, dict[str, Any]]:
    """Return the counts of every sink, its own status, what setup met, and the cure for its state."""
    sinks: dict[str, dict[str, Any]] = {}
    hints: dict[str, str] = {}
    for runner in components.runners:
        stats = runner.stats()
        sinks[runner.name] = stats.as_dict()
        hints[runner.name] = stats.hint
    for name, sink in components.sinks.items():
        shown = sinks.setdefault(name, {"state": "ok"})
        is_healthy = shown["state"] == "ok"
        for key, value in _own_status(sink).items():
            # A sink's own state and error count only as long as delivery to it shows no trouble.
            if key not in shown or (is_healthy and key in ("state", "last_error") and type(value) is str):
                shown[key] = value
    for name, fault in components.faults.items():
        sinks.setdefault(name, {}).update(state="unavailable", last_error=fault.text)
        hints[name] = fault.hint
    for name, shown in sinks.items():
        state = shown.setdefault("state", "ok")
        cure = (state != "ok" and shown.get("note")) or STATE_CURES.get(state, "")  # the sink itself knows best
        if state == "unavailable":
            cure = hints.get(name) or shown.get("cure") or shown.get("last_error") or ""
        shown["cure"] = cure if type(cure) is str else ""
    return sinks


def _own_status(sink: Any) -> dict[str, Any]:
    """Return what a sink's `status()` reports, as plain JSON values."""
    status = getattr(sink, "status", None)
    if not callable(status):
        return {}
    try:
        return {plain_text(key, MAX_KEY_CHARS): _plain(value) for key, value in dict(status()).items()}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a sink raises, health() has an answer
        return {"last_error": f"{type(error).__name__} in status()"}


def _plain(value: object) -> Any:
    """Return the value as JSON would give it back, NaN as None; what JSON cannot hold becomes its class's name."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=capture_value))
    except Exception:  # noqa: BLE001 - a loop, a number of 5,000 digits, half a surrogate pair
        return capture_value(value)


# --- problems -------------------------------------------------------------------------------------------------------


def _setup_problems(components: Components) -> Iterator[str]:
    if components.closed:
        yield "this setup has ended; call setup() again"
    elif not bus.policy.on:
        yield "monitoring is off; call setup(enabled=True), and unset TOOLWEAVER_MONITOR_ENABLED"
    if components.workers is not None and components.workers.tallies.problem:
        yield components.workers.tallies.problem
    elif components.shared is not None:
        yield from components.shared.problems()
    if components.workers is not None and components.workers.folder.fault:
        yield components.workers.folder.fault
    yield from watches.problems()


def _sink_problems(name: str, sink: Mapping[str, Any]) -> Iterator[str]:
    state, last_error = sink["state"], sink.get("last_error")
    if state == "unavailable":
        yield f"{name}: {last_error}"
    elif state != "ok":
        yield f"{name}: {state}, {last_error}; {sink.get('note') or sink['cure']}"
    for reason, count in sink.get("failed_by", {}).items():
        yield f"{name}: {pluralize(count, 'call')} failed ({reason}); fix what write() raises"
    for reason, count in sink.get("dropped_by", {}).items():
        if count and reason != "unavailable":
            cure = REASON_CURES.get(reason)
            yield f"{name}: {pluralize(count, 'call')} dropped ({reason})" + (f"; {cure}" if cure else "")


def _budget_problems(components: Components, budgets: Iterable[BudgetStatus]) -> Iterator[str]:
    """Name each budget of dollars that has let calls of unknown cost run, and sets nothing aside for them."""
    unknown: Counter[str] = Counter()
    for entry in budgets:
        unknown[entry["budget"]] += entry["unknown_cost_calls"]
    for budget in components.ledger.budgets if components.ledger is not None else ():
        if unknown[budget.label] and not budget.reserve:
            calls = pluralize(unknown[budget.label], "call")
            yield (
                f"budget {budget.label!r} cannot hold: the cost of {calls} is unknown and was not charged; "
                "add a price with setup(prices={...}), declare cost=, or set reserve= on the budget"
            )
    if not bus.policy.read_results:
        yield from _unread_budgets(components)


def _unread_budgets(components: Components) -> Iterator[str]:
    """Name each budget of dollars or tokens for which calls have told nothing, while results are not read."""
    summary = components.metrics.summary()
    told = {"usd": summary["total_cost_usd"], "tokens": summary["total_tokens"]}
    for budget in components.ledger.budgets if components.ledger is not None else ():
        if summary["count"] and any(not told.get(unit, True) for unit in budget.limits):
            calls = pluralize(summary["count"], "call")
            yield (
                f"budget {budget.label!r} cannot hold: {calls} told nothing that it counts, "
                "and setup(usage=False) reads no results; leave usage=False out, declare cost=, or record(...)"
            )


# --- notes ----------------------------------------------------------------------------------------------------------


def _sink_notes(sinks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, sink in sinks.items():
        if sink.get("note") and sink["state"] == "ok":
            yield f"{name}: {sink['note']}"


def _price_notes(unpriced: int, prices: Mapping[str, Any]) -> Iterator[str]:
    if unpriced:
        cure = prices.get("cure") or "setup(prices={...}) or record(cost=...)"
        yield f"the cost of {pluralize(unpriced, 'call')} that used tokens or a model is unknown; {cure}"
    age_days = prices["age_days"]
    if age_days is not None and age_days > MAX_PRICE_AGE_DAYS:
        yield f"the newest price is {age_days:.0f} days old; pip install -U genai-prices"


def _figure_notes() -> Iterator[str]:
    """Name the tools whose figures were not counted, and why."""
    for name in FigureNotes.of("handed on"):
        yield (
            f"the usage that {name!r} returned is that of calls inside it, handed on, and was counted once; "
            "what it used itself belongs into record(...)"
        )
    for name, keys in FigureNotes.of("statistics").items():
        yield (
            f"{name!r} returned a dict with {keys}, which was not counted: it may be statistics, since its module is "
            "instrumented as a whole; if it is what one call spent, pass usage= to instrument()"
        )
    for name, tag in FigureNotes.of("late tag").items():
        yield (
            f"no budget by {tag} refuses {name!r}, which records that tag while it runs; give it to track(...) or "
            "tagged(...) before"
        )
    for name, budget in FigureNotes.of("no tokens").items():
        yield (
            f"budget {budget!r} counts nothing for calls of {name!r} that tell a model or other units, and no tokens; "
            "have its stream report its usage, or record(tokens=...)"
        )
    for name, kind in FigureNotes.of("unread").items():
        yield (
            f"no budget of dollars or tokens holds for {name!r}: it returned a {kind}, whose items are not read; write "
            "a generator that yields them, or record(...) what they use"
        )


def _setting_notes() -> Iterator[str]:
    for variable, meant in unread_variables().items():
        yield f"no setting reads {variable}; " + (f"write {meant[0]}, or unset it" if meant else "unset it")


def _call_notes() -> Iterator[str]:
    for name in waiting_for_import():
        module = name.partition(":")[0]
        yield f"waiting for import: {name}; import {module}, or correct the name if no module is called that"
    for name, count in Diagnostics.counts().items():
        if count:
            yield f"not counted, of what calls recorded: {count:,} {name}; {_INVALID_CURES[name]}"


_INVALID_CURES = {
    "invalid_values": f"give tokens and costs as numbers from 0 up, and a call at most {MAX_TAGS} tags",
    "late_records": "use record() and fail() before the call ends",
    "suppressed_calls": "a sink called monitored tools, which are not monitored there: they would feed the sink",
    "extractor_errors": "a function of yours raised; the log names it, or the cause of a BudgetExceeded",
    "internal_errors": "errors of this library, after which the calls went on; please report what the log says",
}
"""What to do about each of `Diagnostics`."""
