"""Text, OpenMetrics and protobuf show the same figures; a scrape gets the form that it asks for."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._prometheus import catalog, exposition

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_2_42 = (
    f"{OPENMETRICS},application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_42_NATIVE = (
    f"{PROTOBUF},{OPENMETRICS};q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    f"{OPENMETRICS};escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BEFORE_2_5 = (
    f"{PROTOBUF};q=0.7,text/plain;version=0.0.4;q=0.3"  # Prometheus 1, which knows nothing of native histograms
)
NATIVE_FIRST_IN_3 = f"{PROTOBUF};q=0.6,{PROMETHEUS_3}"


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), prices={"forms_search": {"per_call": 0.02}}) as found:
        yield found


def scrape(monitor: Monitor, accept: str | None) -> tuple[str, bytes]:
    request = urllib.request.Request(monitor.sinks[0].url, headers={} if accept is None else {"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read()


def work(monitor: Monitor) -> None:
    for seconds in (0.0, 1e-12, 0.002, 0.002, 0.3, 2_000.0, 3e6):
        monitor.record("forms_ocr", duration_s=seconds, cost=0.25, input_tokens=10)
    with pytest.raises(ValueError, match="unreadable"), track("forms_ocr"):
        raise ValueError("unreadable")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (PROMETHEUS_2_42, exposition.OPENMETRICS),
        (PROMETHEUS_3, exposition.OPENMETRICS),
        (PROMETHEUS_2_42_NATIVE, exposition.PROTOBUF),
        (NATIVE_FIRST_IN_3, exposition.PROTOBUF),
        (BEFORE_2_5, exposition.PROTOBUF),
        (f"{OPENMETRICS};q=0.5, {PROTOBUF};q=0.9", exposition.PROTOBUF),
        (f"{PROTOBUF};q=0, {OPENMETRICS};q=0.1", exposition.OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0", exposition.OPENMETRICS),
        (None, exposition.TEXT),
        ("", exposition.TEXT),
        ("*/*", exposition.TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", exposition.TEXT),
        ("application/openmetrics-text;version=2.0.0", exposition.TEXT),
        ("application/openmetrics-text;version=0.0.1", exposition.TEXT),
        ("application/vnd.google.protobuf", exposition.TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", exposition.TEXT),
        (f"{OPENMETRICS};q=high", exposition.TEXT),
        (f"{OPENMETRICS};q=nan", exposition.TEXT),
        (f"{OPENMETRICS};q=2", exposition.TEXT),
        ("application/json", exposition.TEXT),
        (";;;,,q=1;=,", exposition.TEXT),
        ("\x7fé" * 100, exposition.TEXT),
    ],
)
def test_a_scrape_gets_the_form_it_asks_for(accept: str | None, form: exposition.Form) -> None:
    """The heaviest offer that there is counts; whatever else is asked for is answered with text.

    Seen red: with the weights not read; with an offer of protobuf that did not look at its encoding.
    """
    assert exposition.choose_form(accept or "") is form


def test_the_endpoint_says_which_form_it_sends(monitor: Monitor) -> None:
    """Each form under its own content type, the same calls in each."""
    work(monitor)
    for accept in (None, PROMETHEUS_2_42, PROMETHEUS_2_42_NATIVE, "application/json"):
        form = exposition.choose_form(accept or "")
        content_type, body = scrape(monitor, accept)
        assert content_type == form.content_type
        assert b"forms_ocr" in body


def test_openmetrics_has_units_start_times_and_traces(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the strict parser of `prometheus_client` reads it, the same values as in text.

    Seen red: with `_created` of the time of the scrape.
    """
    before = time.time()
    work(monitor)
    text = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_text(monitor.sinks[0].text())
        for sample in family.samples
    }
    _, body = scrape(monitor, OPENMETRICS)
    calls = {f"{call.trace_id:032x}": call for call in monitor.metrics._shared.operations}  # type: ignore[union-attr]
    found = {family.name: family for family in parse_openmetrics(body.decode())}
    samples = [sample for family in found.values() for sample in family.samples]
    plain = [sample for sample in samples if not sample.name.endswith("_created")]
    assert {(sample.name, *sorted(sample.labels.items())): sample.value for sample in plain} == text
    assert {family.unit for family in found.values()} == {"", "seconds", "usd", "tokens"}
    created = [sample.value for sample in samples if sample.name.endswith("_created")]
    assert len(created) > len(found)
    assert all(before - 60 < value <= before + 0.001 for value in created)
    exemplars = [sample.exemplar for sample in samples if sample.exemplar]
    durations = [sample for sample in samples if sample.exemplar and sample.name.endswith("_bucket")]
    assert {sample.labels["le"] for sample in durations} == {"0.0009765625", "0.00390625", "0.5", "+Inf"}
    for sample in durations:
        call = calls[sample.exemplar.labels["trace_id"]]  # type: ignore[union-attr]
        assert sample.exemplar.value == call.duration_s <= float(sample.labels["le"])  # type: ignore[union-attr]
        assert float(sample.exemplar.timestamp) == pytest.approx(  # type: ignore[union-attr]
            call.started_at + call.duration_s, abs=0.002
        )
    (failed,) = [sample for sample in samples if sample.exemplar and sample.name == "toolweaver_tool_failures_total"]
    assert calls[failed.exemplar.labels["trace_id"]].error == "unreadable"  # type: ignore[union-attr]
    assert len(exemplars) == len(durations) + 1
    monkeypatch.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", "True")
    assert b"_created" not in scrape(monitor, OPENMETRICS)[1]


def test_units_stand_in_names() -> None:
    """OpenMetrics has a family end with its unit, and no other form renames anything."""
    for metric in catalog.METRICS:
        assert not metric.unit or metric.family.endswith(f"_{metric.unit}"), metric.name
        assert bool(metric.unit) == metric.family.endswith(("_seconds", "_usd", "_tokens")), metric.name


def test_a_registry_of_the_applications_is_asked_for_openmetrics_as_well() -> None:
    """It knows text and OpenMetrics; who wants protobuf first gets the next that it takes."""
    exporter = PrometheusExporter(port=0, registry=CollectorRegistry())
    with setup(exporter) as monitor:
        monitor.record("forms_registry", duration_s=0.5, cost=1.0)
        content_type, body = scrape(monitor, PROMETHEUS_2_42_NATIVE)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        found = {family.name: family for family in parse_openmetrics(body.decode())}
        assert found["toolweaver_tool_cost_usd"].unit == "usd"
        assert b'duration_seconds_bucket{le="0.5",tool_name="forms_registry"} 1.0' in body
        assert scrape(monitor, None)[0].startswith("text/plain")


def test_a_forked_or_second_setup_tells_its_own_start() -> None:
    """Counters that begin anew have a new start; an exporter that goes on keeps the old one, as its counters do."""
    exporter = PrometheusExporter(port=0)
    with setup(exporter) as first:
        start = exporter._take_snapshot().since_s
        first.record("forms_again", duration_s=0.1)
        time.sleep(0.02)
        second = setup(exporter)
        snapshot = exporter._take_snapshot()
        assert (snapshot.since_s, snapshot.tools["forms_again"].calls) == (start, 1)
        fresh = PrometheusExporter(port=0)
        setup(fresh)
        snapshot = fresh._take_snapshot()
        assert snapshot.since_s > start  # type: ignore[operator]
        assert "forms_again" not in snapshot.tools
        assert second.closed
