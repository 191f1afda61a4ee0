"""Families as protobuf: the messages of `io.prometheus.client`, each after its length, with native histograms.

Buckets of the base-2 histogram are those of a native histogram of schema 3, counted one higher: bucket `k` ends at
`2**((k + 1) / 8)`, index `i` at `2**(i / 8)`. The messages are those of client_model's `metrics.proto`, the encoding is
that of protobuf: a field is its number and wire type, then a varint, 8 bytes, or a length and bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from toolweaver_monitor._stats import histogram
from toolweaver_monitor.sinks._prometheus.exemplars import Exemplar
from toolweaver_monitor.sinks._prometheus.families import HistogramValue, MetricFamily

SCHEMA = 3
"""Buckets by octave are 2**3, as `histogram.PER_OCTAVE`."""
ZERO_BUCKET = histogram.LOWEST
"""The lowest bucket has no lower bound, so it is the bucket of zero."""
_TYPE_NUMBERS = {"counter": 0, "gauge": 1, "histogram": 4}
_VALUES = {"counter": 3, "gauge": 2, "histogram": 7}
"""The field of a `Metric` that holds its value."""


def render_protobuf(families: Iterable[MetricFamily]) -> bytes:
    """Return the whole exposition as delimited messages of the type `MetricFamily`."""
    parts: list[bytes] = []
    for family in families:
        metric = family.metric
        content = [
            _bytes(1, metric.name.encode()),
            _bytes(2, metric.help.encode()),
            _number(3, _TYPE_NUMBERS[metric.type]),
            *_metrics(family),
            _bytes(5, metric.unit.encode()) if metric.unit else b"",
        ]
        message = b"".join(content)
        parts += (varint(len(message)), message)
    return b"".join(parts)


def _metrics(family: MetricFamily) -> Iterator[bytes]:
    names = [_bytes(1, label.encode()) for label in family.metric.labels]
    created = b"" if family.since_s is None else _timestamp(family.since_s)
    for series in family.series:
        labels = [
            _bytes(1, name + _bytes(2, value.encode("utf-8", "replace")))
            for name, value in zip(names, series.labels, strict=True)
        ]
        value = series.value
        if isinstance(value, HistogramValue):
            body = _histogram(value) + (_bytes(15, created) if created else b"")
        else:
            body = _double(1, value)
            if family.metric.type == "counter":
                body += _bytes(2, _exemplar(series.exemplar)) if series.exemplar else b""
                body += _bytes(3, created) if created else b""
        yield _bytes(4, b"".join(labels) + _bytes(_VALUES[family.metric.type], body))


def _histogram(value: HistogramValue) -> bytes:
    parts = [_number(1, value.total), _double(2, value.sum_s)]
    exemplars = value.exemplars
    for place, (bound, below) in enumerate(zip(_bounds(value.bounds), value.at_most, strict=True)):
        bucket = _number(1, below) + bound
        parts.append(_bytes(3, bucket + _bytes(3, _exemplar(exemplars[place])) if place in exemplars else bucket))
    above = exemplars.get(len(value.bounds))
    if above is not None:  # the bucket of +Inf is there without being sent, but for its exemplar
        parts.append(_bytes(3, _number(1, value.total) + _double(2, float("inf")) + _bytes(3, _exemplar(above))))
    parts += [_number(5, _zigzag(SCHEMA)), _double(6, histogram.upper_bound_s(ZERO_BUCKET))]
    parts.append(_number(7, value.buckets.get(ZERO_BUCKET, 0)))
    counted = sorted((k + 1, count) for k, count in value.buckets.items() if k != ZERO_BUCKET and count)
    deltas: list[bytes] = []
    end = before = 0
    start = None
    for index, count in counted:
        if start is None or index != end:
            if start is not None:
                parts.append(_span(*start, end))
            start = (index - end, index)
        deltas.append(varint(_zigzag(count - before)))
        end, before = index + 1, count
    if start is not None:
        parts += (_span(*start, end), _bytes(13, b"".join(deltas)))
    return b"".join(parts)


def _span(offset: int, start: int, end: int) -> bytes:
    """Encode a run of buckets: how far it begins behind the one before, and how many it has."""
    return _bytes(12, _number(1, _zigzag(offset)) + _number(2, end - start))


def _exemplar(exemplar: Exemplar) -> bytes:
    label = _bytes(1, b"trace_id") + _bytes(2, exemplar.trace_id.encode())
    return _bytes(1, label) + _double(2, exemplar.value) + _bytes(3, _timestamp(exemplar.at_s))


def _timestamp(seconds: float) -> bytes:
    whole = int(seconds)
    return _number(1, whole) + _number(2, int((seconds - whole) * 1e9))


@lru_cache(8)
def _bounds(bounds: Sequence[float]) -> list[bytes]:
    return [_double(2, bound) for bound in bounds]


# --- the encoding ---------------------------------------------------------------------------------------------------

_SHORT = [bytes((number,)) for number in range(128)]


def varint(number: int) -> bytes:
    """Return a number from 0 up, seven bits a byte, the lowest first."""
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _number(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def _double(field: int, number: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content
