"""Check on this machine that memory, Prometheus, the log and W&B count the same; runs in a process of its own.

Run as `python -m toolweaver_monitor._cli.doctor.self_check` with any of `collectors`, `agreement` and `wandb`. Prints
findings as JSON. The W&B run of `agreement` is offline, in a folder that the doctor removes.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from toolweaver_monitor import CostTracker, ErrorTracker, MetricsCollector, monitored, setup, track
from toolweaver_monitor._cli import http_get
from toolweaver_monitor._cli.doctor import running_program
from toolweaver_monitor._cli.doctor.findings import Finding, from_error
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, WandBLogger
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.sinks._wandb import internals
from toolweaver_monitor.sinks._wandb import run as runs

READ_BACK_S = 20.0
BUG = "please report this, with the output of `toolweaver-monitor doctor --json`"


# --- recording by hand ----------------------------------------------------------------------------------------------


def collectors() -> Iterator[Finding]:
    """Record a call, a cost and an error by hand, and read them back."""
    metrics, costs, errors = MetricsCollector(max_operations=100), CostTracker(), ErrorTracker()
    metrics.record("doctor", 0.5, tokens=100, cost=0.01)
    costs.record("doctor", 0.01)
    errors.record_call("doctor", success=True)
    errors.record_call("doctor", success=False, error="on purpose")
    summary = metrics.summary()
    yield _check("record", summary["count"] == 1 and summary["total_tokens"] == 100, "a call is counted")
    yield _check("cost", math.isclose(costs.costs["doctor"], 0.01), "a cost is counted")
    yield _check("error rate", errors.error_rate("doctor") == 0.5, "one error in two calls is a rate of 50%")
    for _ in range(5_000):
        metrics.record("doctor", 0.5)
    is_bounded = len(metrics.operations) == 100 and metrics.summary()["count"] == 5_001
    yield _check("memory", is_bounded, "only the last max_operations calls are kept, and totals count them all")


def _check(name: str, holds: bool, says: str) -> Finding:
    return Finding("ok", name, says) if holds else Finding("wrong", name, f"it is not true that {says}", BUG)


# --- all sinks count the same ---------------------------------------------------------------------------------------


class ProbeTotals(NamedTuple):
    """The totals of the probe's calls, as one sink holds them."""

    calls: int
    failures: int
    tokens: int
    cost_usd: float

    def agrees(self, other: ProbeTotals) -> bool:
        """Return True if both are the same, to a millionth of a dollar."""
        return self[:3] == other[:3] and math.isclose(self.cost_usd, other.cost_usd, abs_tol=1e-6)

    def __str__(self) -> str:
        return f"{self.calls} calls, {self.failures} failed, {self.tokens:,} tokens, ${self.cost_usd:.4f}"


EXPECTED = ProbeTotals(calls=7, failures=1, tokens=512, cost_usd=0.34)


@monitored("doctor_read", cost=0.10)
def _read(page: int) -> dict[str, Any]:
    return {"page": page, "tokens_used": 100}


def _make_calls() -> None:
    for page in range(3):
        _read(page)
    for tokens in (200, 12):
        with track("doctor_parse") as call:
            call.record(tokens=tokens, cost=0.02)
    with track("doctor_free"):
        pass
    with track("doctor_broken") as call:
        call.fail("on purpose")


class _LogTotals(logging.Handler):
    """A log handler that sums up what the log sink logs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.logger = logging.Logger("toolweaver_monitor.doctor")  # noqa: LOG001 - not for the handlers of others
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.calls.append(record.__dict__["toolweaver"])

    def totals(self) -> ProbeTotals:
        failed = sum(call["outcome"] == "failure" for call in self.calls)
        tokens = sum(call.get("tokens", 0) for call in self.calls)
        return ProbeTotals(len(self.calls), failed, tokens, sum(call.get("cost_usd", 0.0) for call in self.calls))


def agreement(with_wandb: bool) -> Iterator[Finding]:
    """Make calls under a `setup()` with every sink, and compare what each sink holds."""
    exporter = PrometheusExporter(port=0, addr="127.0.0.1")
    log = _LogTotals()
    sinks: list[Any] = [exporter, LogSink(log.logger)]
    if with_wandb:
        sinks.append(WandBLogger(project="toolweaver-monitor-doctor", init_timeout_s=15, finish_timeout_s=5))
    monitor = setup(*sinks, budget=1.0)
    _make_calls()
    memory = monitor.summary()
    totals = {
        "memory": ProbeTotals(memory["count"], memory["failures"], memory["total_tokens"], memory["total_cost_usd"]),
        "Prometheus": _in_prometheus(exporter.url),
    }
    is_delivered = monitor.flush(READ_BACK_S)
    health = monitor.health()
    monitor.shutdown(READ_BACK_S)
    totals["the log"] = log.totals()
    if is_delivered and health["ok"]:
        yield Finding("ok", "delivery", "every sink accepted every call")
    else:
        problems = "; ".join(health["problems"]) or "the sinks did not accept all calls in time"
        yield Finding("wrong", "delivery", problems, BUG)
    if with_wandb:
        try:
            totals["W&B"] = _in_wandb(Path(os.environ["WANDB_DIR"]))
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            says = f"its offline run cannot be read back ({type(error).__name__})"
            yield Finding("note", "W&B", says, "pip install -U wandb reads it")
    different = {name: held for name, held in totals.items() if not held.agrees(EXPECTED)}
    if not different:
        *names, last = totals
        yield Finding("ok", "agreement", f"{', '.join(names)} and {last} hold the same: {EXPECTED}")
    for name, held in different.items():
        yield Finding("wrong", "agreement", f"{name} holds {held}, not {EXPECTED}", BUG)


def _in_prometheus(url: str) -> ProbeTotals:
    samples = running_program.parse(http_get.get(url).body) or {}
    metrics = (catalog.EXECUTIONS, catalog.ERRORS_BY_TYPE, catalog.TOKENS, catalog.COST)
    calls, failures, tokens, cost_usd = (running_program.total(samples, metric) for metric in metrics)
    return ProbeTotals(int(calls), int(failures), int(tokens), cost_usd)


def _in_wandb(folder: Path) -> ProbeTotals:
    """Read the rows of the offline run back with `wandb leet inspect`."""
    [file] = folder.glob("wandb/offline-run-*/run-*.wandb")
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        capture_output=True, text=True, check=True, timeout=READ_BACK_S,
    )  # fmt: skip
    records = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]

    def values(what: str) -> list[float]:
        return [value for row in rows for key, value in row.items() if key.endswith(f"/{what}")]

    statuses = values("status")
    return ProbeTotals(len(statuses), statuses.count(0), int(sum(values("tokens"))), sum(values("cost")))


# --- the user's own W&B ---------------------------------------------------------------------------------------------


def wandb_account(online: bool) -> Iterator[Finding]:
    """Check that the sink could log where this environment points; nothing is written there."""
    try:
        wandb = runs.import_wandb()
        settings = runs.load_settings(wandb)
        version, host = f"wandb {wandb.__version__}", settings.base_url.partition("//")[2].rpartition("@")[2]
        if settings.mode == "disabled":
            says = f"{version}, but WANDB_MODE=disabled: nothing is logged"
            yield Finding("wrong", "wandb", says, "unset WANDB_MODE")
        elif settings.mode in runs.OFFLINE_MODES:
            says = f"{version}, offline: runs are kept in {settings.wandb_dir}; `wandb sync` uploads them"
            yield Finding("ok", "wandb", says)
        else:
            internals.require_login(settings.base_url)
            if online:
                yield _ask_server(wandb, f"{version} at {host}")
            else:
                yield Finding("ok", "wandb", f"{version}, with a key for {host}; --online checks it with the server")
    except SinkUnavailable as error:
        yield from_error("wandb", error)


def _ask_server(wandb: Any, where: str) -> Finding:
    try:
        viewer = wandb.Api(timeout=10).viewer
    except Exception as error:  # noqa: BLE001 - whatever W&B raises is the finding
        reason = scrub(str(error).partition("\n")[0], 160)
        says = f"{where} does not confirm the key ({type(error).__name__}: {reason})"
        cure = "run `wandb login --relogin`, check WANDB_BASE_URL and the network, or set WANDB_MODE=offline"
        return Finding("wrong", "wandb", says, cure)
    return Finding("ok", "wandb", f"{where} accepts the key of {viewer.username}")


def main(argv: list[str]) -> int:
    """Print the findings of the named checks as JSON, one a line, each as soon as it is known."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "collectors": collectors,
        "agreement": lambda: agreement("--wandb" in argv),
        "wandb": lambda: wandb_account("--online" in argv),
    }
    for name in argv:
        if name in checks:
            for finding in checks[name]():
                print(json.dumps(finding), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
