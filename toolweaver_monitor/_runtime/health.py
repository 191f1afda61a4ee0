"""Is everything working, and if not, what should be done?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from toolweaver_monitor._bus.bus import bus, inbox
from toolweaver_monitor._core.sanitize import Diagnostics, plain_text
from toolweaver_monitor._instrument.patching.instrument import waiting_for_import
from toolweaver_monitor._runtime.components import Components
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._stats.rollup import Rollup
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.names import suggest
from toolweaver_monitor._text.safe_repr import capture_value

STATE_CURES = {
    "degraded": "it failed and is tried again within 30 s; fix what the error names",
    "breaker_open": "it failed five times in a row and is tried again every 30 s; fix what the error names",
}
REASON_CURES = {
    "queue_full": "calls come faster than the sink takes them: make its write() faster, or give the sink a larger "
    "max_calls",
    "shutdown": "they were still waiting at the end: give shutdown() a longer timeout",
    "closed": "they came after the end of the setup: call shutdown() last",
}
MOST_AGE_DAYS = 90.0
MAX_KEY_CHARS = 128


def health(held: Components) -> dict[str, Any]:
    """What `Monitor.health` gives; see there."""
    held.metrics._sources()  # brings in what has ended
    sinks = {name: _with_cure(sink) for name, sink in _sinks(held).items()}
    prices = held.prices.status()
    problems = [*_own_problems(held), *(text for name, sink in sinks.items() for text in _problems(name, sink))]
    dropped: Counter[str] = Counter()
    for sink in sinks.values():
        dropped.update(sink.get("dropped_by", {}))
    return {
        "ok": not problems,
        "problems": problems,
        "notes": list(_notes(held, sinks, prices)),
        "closed": held.closed,
        "watching": bus.policy.on,
        "waiting": len(inbox),
        "waiting_for_import": waiting_for_import(),
        "active": len(bus.open_calls()),
        "dropped": dict(dropped),
        "sinks": sinks,
        "budgets": held.budgets(),
        "prices": prices,
        "invalid": Diagnostics.counts(),
        "faults": {name: fault.text for name, fault in held.faults.items()},
    }


def _sinks(held: Components) -> dict[str, dict[str, Any]]:
    """The books of every sink, with what it says of itself and what setup met."""
    sinks: dict[str, dict[str, Any]] = {runner.name: runner.stats().as_dict() for runner in held.runners}
    for name, sink in held.sinks.items():
        books = sinks.setdefault(name, {"state": "ok"})
        well = books["state"] == "ok"
        for key, said in _status(sink).items():
            # On how it is doing, its own word counts where the books know of no trouble.
            if key not in books or (well and key in ("state", "last_error") and type(said) is str):
                books[key] = said
    for name, fault in held.faults.items():
        sinks.setdefault(name, {}).update({"state": "unavailable", "last_error": fault.text})
    return sinks


def _status(sink: Any) -> dict[str, Any]:
    """What a sink says of itself, as JSON can hold it."""
    status = getattr(sink, "status", None)
    if not callable(status):
        return {}
    try:
        return {plain_text(key, MAX_KEY_CHARS): _plain(value) for key, value in dict(status()).items()}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a status that cannot be told is told
        return {"last_error": f"{type(error).__name__} in status()"}


def _plain(value: object) -> Any:
    """The same as JSON gives it back, NaN as None; what it cannot hold by the name of its class."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=capture_value))
    except Exception:  # noqa: BLE001 - a loop, a number of 5,000 digits, half a surrogate pair
        return capture_value(value)


def _with_cure(sink: dict[str, Any]) -> dict[str, Any]:
    """What to do about the state of a sink; our own messages say it after what is wrong."""
    state = sink.setdefault("state", "ok")
    last_error = str(sink.get("last_error") or "")
    ours = last_error.partition("; ")[2] or last_error
    cure = ours if state == "unavailable" else STATE_CURES.get(state, "")
    return sink | {"cure": cure}


def _own_problems(held: Components) -> Iterator[str]:
    if held.closed:
        yield "this setup has ended; call setup() again"
    elif not bus.policy.on:
        yield "nothing is watched; setup(enabled=True), and unset TOOLWEAVER_MONITOR_ENABLED"


def _problems(name: str, sink: Mapping[str, Any]) -> Iterator[str]:
    state, last_error = sink["state"], sink.get("last_error")
    if state == "unavailable":
        yield f"{name}: {last_error}"
    elif state != "ok":
        yield f"{name}: {state}, {last_error}; {sink['cure']}"
    for reason, count in sink.get("failed_by", {}).items():
        yield f"{name}: {pluralize(count, 'call')} failed ({reason}); fix what write() raises"
    for reason, count in sink.get("dropped_by", {}).items():
        if count and reason != "unavailable":
            cure = REASON_CURES.get(reason)
            yield f"{name}: {pluralize(count, 'call')} dropped ({reason})" + (f"; {cure}" if cure else "")


def _notes(held: Components, sinks: Mapping[str, Mapping[str, Any]], prices: Mapping[str, Any] | None) -> Iterator[str]:
    """What is not a fault but worth knowing."""
    for name, sink in sinks.items():
        if sink.get("note") and sink["state"] == "ok":
            yield f"{name}: {sink['note']}"
    unpriced = held.metrics.summary()["unpriced_calls"]
    if unpriced:
        cure = (prices or {}).get("cure") or "setup(prices={...}) or record(cost=...)"
        yield f"the cost of {pluralize(unpriced, 'call')} that used tokens or a model is not known; {cure}"
    age_days = (prices or {}).get("age_days")
    if age_days is not None and age_days > MOST_AGE_DAYS:
        yield f"the newest price is {age_days:.0f} days old; pip install -U genai-prices"
    for name in waiting_for_import():
        module = name.partition(":")[0]
        yield f"waiting for import: {name}; import {module}, or correct the name if no module is called that"
    for key, figure in meant_as_figures(held.costs._sources()).items():
        yield f"a tag is called {key!r} and holds numbers; if they are a figure of the call, write record({figure}=...)"
    wrong = {name: count for name, count in Diagnostics.counts().items() if count}
    if wrong:
        told = ", ".join(f"{count:,} {name}" for name, count in wrong.items())
        yield f"not all that calls recorded could be counted: {told}; see `invalid` in the reference of health()"


FIGURES = ("tokens", "input_tokens", "output_tokens", "cached_tokens", "cost", "attempt")
"""The numbers that `ToolCall.record` takes."""
ELSEWHERE = {
    "cost_usd": "cost", "price": "cost", "tokens_used": "tokens", "total_tokens": "tokens",
    "prompt_tokens": "input_tokens", "completion_tokens": "output_tokens",
}  # fmt: skip
"""What others call them."""


def meant_as_figures(sources: Iterable[StatsAggregator]) -> dict[str, str]:
    """Keys of tags that hold a number and are called almost as a figure is, each with that figure's name."""
    found: dict[str, str] = {}
    for source in sources:
        with source.lock:
            found.update(_in(source.rollup))
    return found


def _in(rollup: Rollup) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in rollup.tag_keys():
        near = [ELSEWHERE[key]] if key in ELSEWHERE else suggest(key, FIGURES, cutoff=0.8)
        if near and any(map(_is_number, rollup.by_tag(key))):
            found[key] = near[0]
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
