"""Every field of a call is found wherever calls are shown, or a list says why it is not."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import ToolCall
from toolweaver_monitor._cli import main
from toolweaver_monitor._core.clock import monotonic_s
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._page import detail, stored_calls
from toolweaver_monitor._store.reader import _COLUMNS, StoredCall, StoreReader
from toolweaver_monitor.sinks import SQLiteStore

FIELDS = {*ToolCall.__struct_fields__, *CallDetails.__struct_fields__}
NOT_SHOWN = {
    "inside": "is what calls inside have told while this one runs",
    "has_cost_of_result": "asks the drain whether that cost was declared by a call inside",
    "is_of_inside": "tells the exporter of spans that a call inside is the model call",
    "redacted": "says that the error's text is safe, as it always is in a store",
    "raw_error": "is `error` once secrets are removed",
    "cost_nanousd": "is `cost_usd`",
    "unsplit_tokens": "is `tokens` less input and output",
    "_opened_at": "is `started_at`",
    "_details": "has the fields that are stored one by one",
    "_serial": "is `id`",
    "_parent_serial": "is `parent`",
    "_root_serial": "is `root`",
    "_token": "belongs to the context that has ended",
    "_node": "is `path` and `tags`",
    "_admission": "is what budgets set aside while it ran",
}
"""Of these a row, and so everything that is made of rows, holds what the text says."""
IN_MORE = {
    "cache_write_tokens", "cache_write_1h_tokens", "saved_nanousd", "audio_tokens", "rare_parts", "service_tier",
    "is_repeat", "holds_attempts",
}  # fmt: skip
"""What few calls have is in one column, as JSON."""
ON_PAGE = {
    "tool_name": "tool", "duration_s": "duration", "cost_usd": "cost", "first_item_s": "first_item",
    "started_at": "started",
}  # fmt: skip
"""What the page calls otherwise."""
NOT_ON_PAGE = {
    "cache_write_tokens": "is a part of the input, which the cost has the price of",
    "cache_write_1h_tokens": "as above",
    "audio_tokens": "are parts of input and output, as above",
    "rare_parts": "as above",
    "service_tier": "is the reason for a price; the page shows the cost and where it comes from",
    "saved_nanousd": "is a sum of tools, which the report shows; the call says `cached`",
    "is_repeat": "is the reason why figures were not counted again",
    "holds_attempts": "says what `attempt` counts, which the page shows",
}


def filled_call() -> ToolCall:
    """A call whose every field holds something."""
    details = CallDetails(
        unsplit_tokens=1, input_tokens=20, output_tokens=30, cached_tokens=4, cost_nanousd=5, cost_source="priced",
        cache_write_tokens=6, cache_write_1h_tokens=7, saved_nanousd=8, model="a-model", provider="a-provider",
        cached=True, attempt=9, error_type="KeyError", raw_error="no", redacted=True, first_item_s=0.5, items=3,
        arguments="(1,)", result="2", audio_tokens=(1, 2, 3), rare_parts={"image_tokens": 4}, service_tier="flex",
        is_repeat=True, holds_attempts=True,
    )  # fmt: skip
    return ToolCall("filled", "failure", 0.25, monotonic_s(), _details=details)


def test_every_field_of_a_call_is_in_a_row() -> None:
    """A field that is added to calls goes into the store, too. Seen red: when calls got `is_repeat`."""
    assert FIELDS - {*StoredCall.__struct_fields__, *IN_MORE} == set(NOT_SHOWN)
    assert set(_COLUMNS) == set(StoredCall.__struct_fields__)


def test_every_field_of_a_call_is_in_csv_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The view `calls`, with what few calls have in `more`. Seen red: with a column missing from the view."""
    path = tmp_path / "runs.db"
    store = SQLiteStore(path)
    store.write([filled_call()])
    store.close()

    def sh(*argv: str) -> str:
        assert main([argv[0], str(path), *argv[1:]]) == 0
        return capsys.readouterr().out

    everything = "SELECT * FROM calls"
    (row,) = csv.DictReader(io.StringIO(sh("query", "--sql", everything, "--csv")))
    found: dict[str, dict[str, Any]] = {
        "query --csv": row,
        "query --json": json.loads(sh("query", "--sql", everything, "--json"))[0],
        "tail --json": json.loads(sh("tail", "--json")),
    }
    out = tmp_path / "calls.jsonl"
    sh("replay", "--to", "jsonl", "-o", str(out))
    found["replay --to jsonl"] = json.loads(out.read_text())
    for how, call in found.items():
        more = json.loads(call["more"]) if isinstance(call["more"], str) else call["more"]
        assert FIELDS - set(call) - set(more) == set(NOT_SHOWN), how
        assert more.keys() >= IN_MORE
        empty = {name for name in FIELDS & set(call) if call[name] in (None, "")}
        assert not empty, how


def test_every_field_of_a_call_is_on_the_page(tmp_path: Path) -> None:
    """Of a running program and of a store alike, and the page's scripts read it.

    Seen red: with `items` left out of the page of a store; with a field that no script mentions.
    """
    path = tmp_path / "runs.db"
    call = filled_call()
    store = SQLiteStore(path)
    store.write([call])
    store.close()
    with StoreReader(path) as reader:
        (kept,) = reader.calls()
    live, of_store = detail.call_row(call), stored_calls.call_row(kept)
    assert live.keys() == of_store.keys()
    shown = {ON_PAGE.get(name, name): name for name in FIELDS - set(NOT_SHOWN) - set(NOT_ON_PAGE)}
    assert not shown.keys() - live.keys()
    folder = Path(detail.__file__).with_name("assets")
    scripts = "".join(file.read_text("utf-8") for file in sorted(folder.glob("*.js")))
    for key in live:
        assert re.search(rf"\.{key}\b", scripts), f"no script of the page shows {key!r}"
