"""What a scrape in protobuf holds, read by Google's decoder, which is made from client_model's field numbers."""

from __future__ import annotations

import random
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from toolweaver_monitor import Monitor, setup, track
from toolweaver_monitor._stats import histogram
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._prometheus import families, protobuf

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2", reason="wandb brings protobuf")
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
message_factory = pytest.importorskip("google.protobuf.message_factory")

FIELDS = {
    "LabelPair": ("name string 1", "value string 2"),
    "Timestamp": ("seconds int64 1", "nanos int32 2"),
    "Exemplar": ("label *LabelPair 1", "value double 2", "timestamp Timestamp 3"),
    "Gauge": ("value double 1",),
    "Counter": ("value double 1", "exemplar Exemplar 2", "created_timestamp Timestamp 3"),
    "Bucket": ("cumulative_count uint64 1", "upper_bound double 2", "exemplar Exemplar 3"),
    "BucketSpan": ("offset sint32 1", "length uint32 2"),
    "Histogram": (
        "sample_count uint64 1",
        "sample_sum double 2",
        "bucket *Bucket 3",
        "schema sint32 5",
        "zero_threshold double 6",
        "zero_count uint64 7",
        "positive_span *BucketSpan 12",
        "positive_delta *sint64 13",
        "created_timestamp Timestamp 15",
    ),
    "Metric": ("label *LabelPair 1", "gauge Gauge 2", "counter Counter 3", "histogram Histogram 7"),
    "MetricFamily": ("name string 1", "help string 2", "type int32 3", "metric *Metric 4", "unit string 5"),
}
"""What client_model's `metrics.proto` and `timestamp.proto` say of what a scrape has; `*` is repeated."""


def _family_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="test", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field in fields:
            field_name, kind, number = field.split()
            added = message.field.add(name=field_name, number=int(number))
            added.label = kinds.LABEL_REPEATED if kind[0] == "*" else kinds.LABEL_OPTIONAL
            added.options.packed = kind == "*sint64"
            kind = kind.removeprefix("*")
            if kind in FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".test.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.MetricFamily"))


MetricFamily = _family_class()


def decode(body: bytes) -> dict[str, Any]:
    """Return the families of a scrape by name; every byte of it must be of a field that is known."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(body):
        length = shift = 0
        while True:
            byte = body[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        family = MetricFamily.FromString(body[at : at + length])
        family.DiscardUnknownFields()
        assert len(family.SerializeToString()) == length
        at += length
        found[family.name] = family
    assert at == len(body)
    return found


PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), prices={"forms_search": {"per_call": 0.02}}) as found:
        yield found


def scrape(monitor: Monitor) -> dict[str, Any]:
    request = urllib.request.Request(monitor.sinks[0].url, headers={"Accept": PROTOBUF})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"].replace(" ", "") == PROTOBUF
        return decode(answer.read())


def native_counts(value: Any) -> dict[int, int]:
    """The counts of a native histogram by index, from its spans and deltas."""
    found = {}
    deltas = iter(value.positive_delta)
    index = count = 0
    for span in value.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[index] = count
            index += 1
    assert next(deltas, None) is None
    return found


def test_protobuf_is_what_an_independent_decoder_reads(monitor: Monitor) -> None:
    """Every figure of the text, with native histograms, start times and traces, read by Google's protobuf.

    Seen red: with native buckets of the index `k`; with the first offset of spans left out.
    """
    for seconds in (0.0, 1e-12, 0.002, 0.002, 0.3, 2_000.0, 3e6):
        monitor.record("forms_ocr", duration_s=seconds, cost=0.25, input_tokens=10)
    with pytest.raises(ValueError, match="unreadable"), track("forms_ocr"):
        raise ValueError("unreadable")
    found = scrape(monitor)
    text = {family.name: family for family in parse_text(monitor.sinks[0].text())}
    assert {name.removesuffix("_total") for name in found} == set(text)
    for name, family in found.items():
        for metric in family.metric:
            labels = {pair.name: pair.value for pair in metric.label}
            shown = text[name.removesuffix("_total")]
            samples = {
                (sample.name.removeprefix(shown.name), sample.labels.get("le")): sample.value
                for sample in shown.samples
                if labels.items() <= sample.labels.items()
            }
            match family.type:
                case 0:
                    assert samples == {("_total", None): metric.counter.value}
                    assert metric.counter.HasField("created_timestamp") == (name.partition("_")[2][:4] == "tool")
                case 1:
                    assert samples == {("", None): metric.gauge.value}
                case 4:
                    classic = {("_bucket", repr(b.upper_bound)): b.cumulative_count for b in metric.histogram.bucket}
                    classic.pop(("_bucket", "inf"), None)
                    assert samples == {
                        **classic,
                        ("_bucket", "+Inf"): metric.histogram.sample_count,
                        ("_count", None): metric.histogram.sample_count,
                        ("_sum", None): metric.histogram.sample_sum,
                    }
    (duration,) = [
        metric.histogram
        for metric in found["toolweaver_tool_duration_seconds"].metric
        if metric.label[0].value == "forms_ocr"
    ]
    assert (duration.schema, duration.zero_threshold, duration.zero_count) == (3, 2.0 ** (-239 / 8), 2)
    assert found["toolweaver_tool_duration_seconds"].unit == "seconds"
    counts = native_counts(duration)
    assert sum(counts.values()) + duration.zero_count == duration.sample_count == 8
    assert {index for index in counts if 2 ** ((index - 1) / 8) < 0.002 <= 2 ** (index / 8)} == {-71}
    assert (counts[-71], max(counts)) == (2, 161)
    failures = found["toolweaver_tool_failures_total"].metric[0].counter
    assert len(failures.exemplar.label[0].value) == 32
    started = failures.created_timestamp.seconds + failures.created_timestamp.nanos / 1e9
    assert 0 <= time.time() - started < 60


@pytest.mark.parametrize("seed", range(20))
def test_native_buckets_hold_what_the_histogram_holds(seed: int) -> None:
    """Any buckets, dense or sparse, come back by index; bucket `k` is index `k + 1`.

    Seen red: with the end of a span one too low.
    """
    chance = random.Random(seed)
    stats = ToolStats()
    buckets = {
        chance.randrange(-240, 161): chance.choice((1, 200, 2**40)) for _ in range(chance.choice((0, 1, 9, 300)))
    }
    stats.buckets.update(buckets)
    stats.usage.calls = sum(buckets.values())
    body = protobuf.render_protobuf(families.read_families(families.Snapshot({"any": stats})))
    value = decode(body)["toolweaver_tool_duration_seconds"].metric[0].histogram
    assert native_counts(value) == {k + 1: count for k, count in buckets.items() if k > -240}
    assert value.zero_count == buckets.get(-240, 0)
    for k in list(buckets)[:20]:
        bound = 2 ** ((k + 1) / 8)
        assert histogram.bucket_of(bound) == k or k == 160


def test_buckets_of_the_users_own_have_both_forms() -> None:
    """The classic buckets are the user's, the native ones are there as always; the exemplars fit the user's."""
    with setup(PrometheusExporter(port=0, buckets=[0.1, 1])) as monitor:
        for seconds in (0.05, 0.5, 20.0):
            monitor.record("forms_own", duration_s=seconds)
        value = scrape(monitor)["toolweaver_tool_duration_seconds"].metric[0].histogram
    shown = [(b.upper_bound, b.cumulative_count, b.exemplar.value) for b in value.bucket]
    assert shown == [(0.1, 1, 0.05), (1.0, 2, 0.5), (float("inf"), 3, 20.0)]
    assert sum(native_counts(value).values()) == 3
