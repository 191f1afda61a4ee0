"""`toolweaver-monitor grafana` and `toolweaver-monitor rules`: a dashboard and alerts for the metrics there are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli import options as common
from toolweaver_monitor._cli.dashboards import known_tools
from toolweaver_monitor._cli.dashboards.panels import render_dashboard
from toolweaver_monitor._cli.dashboards.rules import Thresholds, render_rules
from toolweaver_monitor.sinks._prometheus.labels import validate_labels

NATIVE = "for a Prometheus that keeps native histograms: ask without _bucket and le"


def add(commands: Any) -> None:
    """Add both commands."""
    grafana = commands.add_parser(
        "grafana",
        help="print a dashboard for Grafana",
        description="Print a dashboard for Grafana's import: an overview, one tool, cost and budgets, the monitoring.",
        epilog="toolweaver-monitor grafana > toolweaver.json",
    )
    grafana.add_argument("--native", action="store_true", help=NATIVE)
    grafana.add_argument(
        "--label", action="append", default=[], metavar="TAG", help="a tag of PrometheusExporter(labels=...)"
    )
    _add_program(grafana, "take the labels from the program that serves its metrics at this address")
    grafana.set_defaults(run=run_grafana)
    rules = commands.add_parser(
        "rules",
        help="print alert rules for Prometheus",
        description="Print alert rules for Prometheus, as YAML.",
        epilog="toolweaver-monitor rules --p95 ocr=2 --p95 agent=300 > alerts.yml",
    )
    usual = Thresholds()
    rules.add_argument("--native", action="store_true", help=NATIVE)
    rules.add_argument("--job", default=usual.job, help="the job in prometheus.yml (default: %(default)s)")
    rules.add_argument(
        "--objective", type=_share, default=usual.objective, metavar="SHARE",
        help="the share of calls that should succeed (default: %(default)s)",
    )  # fmt: skip
    rules.add_argument(
        "--p95", type=_target, action="append", default=[], metavar="[TOOL=]SECONDS",
        help=f"what one call in twenty may take, of a tool or of all others (default: {usual.p95_s:g})",
    )  # fmt: skip
    rules.add_argument(
        "--usd-an-hour", type=_positive, default=usual.usd_an_hour, metavar="USD",
        help="what all tools may spend in an hour (default: %(default)s)",
    )  # fmt: skip
    rules.add_argument(
        "--spike", type=_positive, default=usual.spike, metavar="TIMES",
        help="how many times a tool's own usual cost is a spike (default: %(default)s)",
    )  # fmt: skip
    rules.add_argument(
        "--spike-usd", type=_positive, default=usual.spike_usd, metavar="USD",
        help="and at least so many dollars in an hour (default: %(default)s)",
    )  # fmt: skip
    source = rules.add_mutually_exclusive_group()
    source.add_argument(
        "store", metavar="STORE", nargs="?",
        help="take the tools from this file; each may take two to four times its own 95th percentile, and at least 1 s",
    )  # fmt: skip
    _add_program(source, "the same, from the program that serves its metrics at this address", rules)
    rules.set_defaults(run=run_rules)


def _add_program(parser: Any, purpose: str, rest: Any = None) -> None:
    parser.add_argument("--url", type=http_get.parse_url, help=purpose)
    (rest or parser).add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the bearer token for --url; - reads stdin"
    )


def run_grafana(options: argparse.Namespace) -> int:
    """Print the dashboard."""
    labels = options.label
    if options.url:
        found = known_tools.of_program(options.url, http_get.read_token(options.token_file))
        labels = list(dict.fromkeys([*labels, *found.labels]))
    print(render_dashboard(validate_labels(labels), options.native), end="")
    return 0


def run_rules(options: argparse.Namespace) -> int:
    """Print the rules."""
    targets: dict[str | None, float] = dict(options.p95)
    found = _find_tools(options)
    if found is not None:
        found.check(tool for tool in targets if tool is not None)
        targets = {**{tool: seconds for tool, seconds in found.targets_s.items() if seconds is not None}, **targets}
    limits = Thresholds(
        objective=options.objective,
        p95_s=targets.pop(None, Thresholds().p95_s),
        p95_of_tools_s={tool: seconds for tool, seconds in targets.items() if tool is not None},
        usd_an_hour=options.usd_an_hour,
        spike=options.spike,
        spike_usd=options.spike_usd,
        job=options.job,
    )
    print(render_rules(limits, options.native), end="")
    return 0


def _find_tools(options: argparse.Namespace) -> known_tools.KnownTools | None:
    if options.url:
        return known_tools.of_program(options.url, http_get.read_token(options.token_file))
    if options.store:
        with common.open_files([options.store]) as store:
            return known_tools.of_store(store)
    return None


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no number") from None


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1, such as 0.99")
    return value


def _target(text: str) -> tuple[str | None, float]:
    tool, is_of_tool, seconds = text.rpartition("=")
    if is_of_tool and not tool:
        raise argparse.ArgumentTypeError(f"{text!r} names no tool; write ocr{text}, or {seconds} for all tools")
    return (tool if is_of_tool else None), _positive(seconds)
