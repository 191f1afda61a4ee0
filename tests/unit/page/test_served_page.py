"""The page as it is served: its files, who may read it, and what a poll returns."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_until

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, setup, track
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import Dashboard, PrometheusExporter, SQLiteStore


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


def poll(url: str, cursor: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(get(f"{url}data.json?since={cursor}")[2])
    return answer


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(dashboard=Dashboard(port=0)) as running:
        yield running


@pytest.fixture
def url(monitor: Monitor) -> str:
    return str(monitor.sinks[0].url)


def spend(tool: str, cost: float | None = None, fails: bool = False) -> None:
    with track(tool) as call:
        if cost is not None:
            call.record(cost=cost)
        if fails:
            call.fail("out of paper")


def test_every_file_that_the_page_names_is_served(url: str) -> None:
    """Nothing is loaded from elsewhere, and the policy lets a browser load from here only."""
    status, headers, body = get(url)
    page = body.decode()
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "http" not in page
    named = [part.split('"')[0] for attribute in ("src", "href") for part in page.split(f'{attribute}="')[1:]]
    files = [name for name in named if not name.startswith("#")]
    assert len(files) > 5
    sizes = [len(body)]
    for name in files:
        status, headers, body = get(url + name)
        assert status == 200, name
        sizes += [len(body)] if name != "report.html" else []
    assert sum(sizes) < 120_000


def test_the_figures_are_those_of_the_monitor(monitor: Monitor, url: str) -> None:
    """Calls, failures, percentiles, tokens and dollars are the same numbers as in `summary()`."""
    for number in range(40):
        spend("ocr", 0.001 * number, fails=number % 10 == 0)
    spend("free")
    answer = poll(url)
    tools = {row["name"]: row for row in answer["tools"]}
    for name, summary in monitor.metrics.by_operation().items():
        row = tools[name]
        assert (row["calls"], row["failed"]) == (summary["count"], summary["failures"])
        assert (row["p50"], row["p95"], row["p99"]) == (summary["p50_s"], summary["p95_s"], summary["p99_s"])
        assert row["tokens"] == summary["total_tokens"]
    assert tools["ocr"]["cost"] == monitor.summary("ocr")["total_cost_usd"]
    assert tools["free"]["cost"] is None, "unknown is not 0"
    assert answer["total"]["cost"] == monitor.summary()["total_cost_usd"]
    assert answer["errors"][0]["count"] == 4
    assert tools["ocr"]["last"]["text"] == "out of paper"
    assert sum(calls for _, calls, _, _ in tools["ocr"]["history"]) == 40


def test_refused_calls_are_told_beside_the_others(tmp_path: Path) -> None:
    """Of the program and of its store: the failure rate is of fewer calls. Seen red: without them in the sums."""
    with setup(SQLiteStore(tmp_path / "calls.db"), dashboard=0, budget=Budget(limit_usd=0.02)) as running:
        for _ in range(5):
            with suppress(BudgetExceeded), track("ocr", cost=0.01):
                pass
        running.flush()
        url = str(running.sinks[1].url)
        totals = [poll(url)["total"], wait_until(lambda: json.loads(get(f"{url}data.json?period=all")[2]).get("total"))]
    assert [(total["calls"], total["rated"], total["rejected"]) for total in totals] == [(5, 2, 3)] * 2


def test_outcomes_stand_in_one_order_without_those_that_did_not_happen(tmp_path: Path) -> None:
    """Success first, whatever came first, from memory and from the store. Seen red: a failure that came first led."""
    with setup(SQLiteStore(tmp_path / "calls.db"), dashboard=0) as running:
        spend("broken", fails=True)
        spend("ocr", fails=True)
        running.flush()  # or both are counted at once, successes first
        spend("ocr")
        running.flush()
        url = str(running.sinks[1].url)
        live = poll(url)
        stored = wait_until(
            lambda: (answer := json.loads(get(f"{url}data.json?period=all")[2])).get("total") and answer
        )
    for answer in (live, stored):
        outcomes = {row["name"]: list(row["outcomes"].items()) for row in answer["tools"]}
        assert outcomes == {"broken": [("failure", 1)], "ocr": [("success", 1), ("failure", 1)]}


def test_a_poll_returns_only_what_has_changed(url: str) -> None:
    """A cursor names what was seen; of ten tools only the one that ran since is sent. Seen red: with `>= seen`."""
    for number in range(10):
        spend(f"tool_{number}", 0.01)
    first = poll(url)
    assert len(first["tools"]) == 10
    assert first["full"]
    spend("tool_3", 0.01)
    second = poll(url, first["v"])
    assert [row["name"] for row in second["tools"]] == ["tool_3"]
    assert not second["full"]
    assert "about" not in second, "which has not changed"
    assert second["total"]["calls"] == 11


def test_a_poll_without_news_gets_no_body(url: str) -> None:
    """Its ETag is still right, so the answer is 304."""
    spend("ocr", 0.01)
    with track("long"):
        cursor = poll(url)["v"]
        status, headers, body = get(f"{url}data.json?since={cursor}", if_none_match=f'"{cursor}"')
    assert (status, body) == (304, b"")
    assert headers["etag"] == f'"{cursor}"'


@pytest.mark.parametrize("cursor", ["", "x", "a.b.c", "..", "%00", "9" * 5000, "-1", "1.1.1"])
def test_a_foreign_cursor_gets_everything(url: str, cursor: str) -> None:
    """So does one of an earlier run of the program, at the same port."""
    spend("ocr", 0.01)
    answer = poll(url, cursor)
    assert answer["full"]
    assert [row["name"] for row in answer["tools"]] == ["ocr"]


def test_a_call_opens_into_its_trace(url: str) -> None:
    """The slowest and the failed calls of a tool lead to the calls around and inside them."""
    with track("receipt", customer="acme"):
        spend("ocr", 0.02, fails=True)
        spend("parse", 0.01)
    detail = json.loads(get(f"{url}row.json?name=ocr")[2])
    (call,) = detail["failed"]
    assert call["error"] == "out of paper"
    assert detail["slowest"] == [call]
    found = json.loads(get(f"{url}trace.json?id={call['id']}")[2])
    assert [each["tool"] for each in found["calls"]] == ["receipt", "ocr", "parse"]
    assert found["calls"][1]["parent"] == found["calls"][0]["id"]
    assert found["calls"][0]["tags"] == {"customer": "acme"}
    assert get(f"{url}trace.json?id=00")[0] == 404
    assert get(f"{url}row.json?name=nobody")[0] == 404
    assert get(f"{url}row.json")[0] == 404


def test_a_browser_asks_for_the_token(url: str) -> None:
    """The token is the password of Basic authentication, with any user name; `/metrics` keeps asking for a bearer."""
    with setup(PrometheusExporter(port=0, token="s3cret")) as running:
        base = running.sinks[0].url.removesuffix("metrics")
        status, headers, _ = get(base)
        assert (status, headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        assert get(f"{base}metrics")[1]["www-authenticate"] == "Bearer"
        basic = base64.b64encode(b"anybody:s3cret").decode()
        assert get(base, authorization=f"Basic {basic}")[0] == 200
        assert get(base, authorization="Bearer s3cret")[0] == 200
        assert get(f"{base}metrics", authorization=f"Basic {basic}")[0] == 200
        for wrong in (b"s3cret:", b":", b"s3cret", b"x:s3cre", b"x:s3cret2"):
            given = base64.b64encode(wrong).decode()
            assert get(base, authorization=f"Basic {given}")[0] == 401, wrong
        for wrong_text in ("Basic", "Basic ???", "Basic s3cret", "Digest s3cret"):
            assert get(base, authorization=wrong_text)[0] == 401


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 200),
        ({"page": False}, 404),
        ({"addr": "0.0.0.0", "insecure": True}, 404),
        ({"addr": "0.0.0.0", "insecure": True, "page": True}, 200),
    ],
)
def test_an_open_endpoint_serves_no_page_unless_told_to(given: dict[str, Any], expected: int) -> None:
    """The page shows the texts of errors and the values of tags, which numbers do not."""
    with setup(PrometheusExporter(port=0, **given)) as running:
        base = f"http://127.0.0.1:{running.sinks[0].port}/"
        assert get(f"{base}metrics")[0] == 200
        assert get(base)[0] == expected
        assert get(f"{base}data.json")[0] == expected


def test_another_name_for_this_machine_is_refused(url: str) -> None:
    """A web page that points its own name at this machine reads nothing."""
    assert get(f"{url}data.json", host="evil.example")[0] == 403


def test_nothing_of_the_page_is_loaded_before_somebody_asks_for_it() -> None:
    """A setup does not pay for it. Seen red: with the routes made at setup."""
    program = """
import sys, urllib.request
from toolweaver_monitor import setup
loaded = lambda: [name for name in sys.modules if name.startswith("toolweaver_monitor._page")]
with setup(dashboard=0) as monitor:
    assert not loaded(), loaded()
    assert b"page.css" in urllib.request.urlopen(monitor.sinks[0].url).read()
    assert loaded()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_page_moves_with_the_exporter_to_a_new_setup() -> None:
    """A sink that is passed again shows the figures of the setup that it is in."""
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    base = exporter.url.removesuffix("metrics")
    spend("before", 0.01)
    assert poll(base)["total"]["calls"] == 1
    with setup(exporter):
        spend("after", 0.01)
        assert [row["name"] for row in poll(base)["tools"]] == ["after"]


def test_the_port_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TOOLWEAVER_MONITOR_DASHBOARD=8050` is `setup(dashboard=8050)`; an argument beats it."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_DASHBOARD", "0")
    with setup() as running:
        assert get(running.sinks[0].url)[0] == 200
    with setup(dashboard=False) as running:
        assert running.sinks == ()


@pytest.mark.parametrize("given", ["8050", 8050.0, [], object()])
def test_a_dashboard_that_is_none_is_refused(given: Any) -> None:
    """Misuse is loud, and says the cure."""
    with pytest.raises(ConfigurationError, match="dashboard=8050"):
        setup(dashboard=given)


def test_a_taken_port_is_a_line_in_health_and_no_error(url: str) -> None:
    """The program runs on without the page."""
    port = int(url.rsplit(":", 1)[1].strip("/"))
    other = Dashboard(port=port)
    with pytest.raises(Exception, match="cannot listen"):
        other.start()


def test_budgets_and_open_calls_are_shown() -> None:
    """What runs now, since when, and what is left to spend."""
    with setup(budget=1.0, dashboard=0) as running:
        spend("ocr", 0.25)
        with track("long") as call:
            answer = poll(running.sinks[0].url)
            assert answer["active"] == [["long", 1, round(call.started_at, 2)]]
        assert answer["budgets"][0]["remaining"] == 0.75
        assert poll(running.sinks[0].url)["active"] == []


def test_a_sink_that_is_slow_to_tell_its_state_delays_no_poll() -> None:
    """What is wrong is found out on a thread of its own."""
    asked, release = threading.Event(), threading.Event()

    class Slow:
        name = "slow"

        def write(self, calls: Any) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...

        def status(self) -> dict[str, Any]:
            asked.set()
            release.wait(20)
            return {}

    with setup(Slow(), dashboard=0) as running:
        url = running.sinks[1].url
        spend("ocr", 0.01)
        started = time.monotonic()
        assert poll(url)["total"]["calls"] == 1
        assert asked.wait(10)
        assert poll(url)["total"]["calls"] == 1
        assert time.monotonic() - started < 10
        release.set()
