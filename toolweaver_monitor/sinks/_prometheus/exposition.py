"""Families as text, as OpenMetrics or as protobuf, and which of them a scrape asks for.

Formats: Prometheus text exposition 0.0.4, OpenMetrics text 1.0.0, and the protobuf of `protobuf.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from toolweaver_monitor.sinks._prometheus.exemplars import Exemplar
from toolweaver_monitor.sinks._prometheus.families import HistogramValue, MetricFamily
from toolweaver_monitor.sinks._prometheus.protobuf import render_protobuf


class Form(NamedTuple):
    """One way to write families."""

    content_type: str
    render: Callable[[Iterable[MetricFamily]], bytes]
    has_exemplars: bool


def choose_form(accept: str) -> Form:
    """Return the form that an `Accept` header prefers among those there are; text for any other header.

    An offer of the same weight as an earlier one stands behind it.
    """
    best, highest = TEXT, 0.0
    for offer in accept.lower().split(","):
        media, *parameters = [part.strip() for part in offer.split(";")]
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        form, weight = _form_of(media, given), _weight(given.get("q", "1"))
        if form is not None and weight > highest:
            best, highest = form, weight
    return best


def _form_of(media: str, parameters: dict[str, str]) -> Form | None:
    if media == "application/vnd.google.protobuf":
        wanted = parameters.get("proto"), parameters.get("encoding")
        return PROTOBUF if wanted == ("io.prometheus.client.metricfamily", "delimited") else None
    if media == "application/openmetrics-text":
        return OPENMETRICS if parameters.get("version", "1.0.0") == "1.0.0" else None
    return TEXT if media in ("text/plain", "text/*", "*/*") else None


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def render_text(families: Iterable[MetricFamily]) -> bytes:
    """Return the whole exposition in Prometheus' text format."""
    lines: list[str] = []
    for family in families:
        metric = family.metric
        lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}")
        lines += _samples(family, with_exemplars=False, created="")
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def render_openmetrics(families: Iterable[MetricFamily]) -> bytes:
    """Return the whole exposition as OpenMetrics 1.0.

    Prometheus stores `_created` as a series of its own, so the variable with which `prometheus_client` leaves them out,
    `PROMETHEUS_DISABLE_CREATED_SERIES`, leaves them out here as well.
    """
    shows_created = os.environ.get("PROMETHEUS_DISABLE_CREATED_SERIES", "").lower() not in ("true", "1")
    lines: list[str] = []
    for family in families:
        metric = family.metric
        lines.append(f"# TYPE {metric.family} {metric.type}")
        if metric.unit:
            lines.append(f"# UNIT {metric.family} {metric.unit}")
        lines.append(f"# HELP {metric.family} {metric.help}")
        created = f" {family.since_s:.3f}" if shows_created and family.since_s is not None else ""
        lines += _samples(family, with_exemplars=True, created=created)
    lines.append("# EOF\n")
    return "\n".join(lines).encode("utf-8", "replace")


def _samples(family: MetricFamily, *, with_exemplars: bool, created: str) -> Iterator[str]:
    metric = family.metric
    name = metric.name
    heads = [f'{label}="' for label in metric.labels]
    bounds: list[str] = []
    for labels, value, exemplar in family.series:
        own = ",".join([f'{head}{escape_label(label)}"' for head, label in zip(heads, labels, strict=True)])
        braced = f"{{{own}}}" if own else ""
        if isinstance(value, HistogramValue):
            bounds = bounds or [*map(repr, value.bounds), "+Inf"]
            head = f'{name}_bucket{{{own},le="'
            counts = (*value.at_most, value.total)
            if with_exemplars and value.exemplars:
                exemplars = value.exemplars
                for place, below in enumerate(counts):
                    yield f'{head}{bounds[place]}"}} {below}{_exemplar_text(exemplars.get(place))}'
            else:
                for bound, below in zip(bounds, counts, strict=True):
                    yield f'{head}{bound}"}} {below}'
            yield f"{name}_count{braced} {value.total}\n{name}_sum{braced} {value.sum_s}"
        elif with_exemplars and exemplar is not None:
            yield f"{name}{braced} {value}{_exemplar_text(exemplar)}"
        else:
            yield f"{name}{braced} {value}"
        if created:
            yield f"{metric.family}_created{braced}{created}"


def _exemplar_text(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    return f' # {{trace_id="{exemplar.trace_id}"}} {exemplar.value} {exemplar.at_s:.3f}'


def escape_label(value: str) -> str:
    """Return a label value escaped for the text format; characters that cannot be encoded become `?`."""
    if value.isascii() and value.isalnum():
        return value
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


TEXT = Form("text/plain; version=0.0.4; charset=utf-8", render_text, has_exemplars=False)
OPENMETRICS = Form("application/openmetrics-text; version=1.0.0; charset=utf-8", render_openmetrics, has_exemplars=True)
PROTOBUF = Form(
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    render_protobuf,
    has_exemplars=True,
)
