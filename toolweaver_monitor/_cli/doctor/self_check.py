"""Do memory, Prometheus and W&B agree on a handful of calls? Found out in a process of its own, on this very machine.

Run as `python -m toolweaver_monitor._cli.doctor.self_check collectors agreement wandb`, with any of these; prints
findings as JSON. The W&B run of `agreement` is an offline one in a folder that the doctor throws away.
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

from toolweaver_monitor import CostTracker, ErrorTracker, MetricsCollector, Monitor, monitored, setup, track
from toolweaver_monitor._cli.doctor import http_get, running_program
from toolweaver_monitor._cli.doctor.findings import Finding, note, ok, refused, wrong
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, WandBLogger
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.sinks._wandb import run as runs

READ_BACK_S = 20.0
BUG = "please report this, with the output of `toolweaver-monitor doctor --json`"


class Seen(NamedTuple):
    """What one place holds of the probe's calls."""

    calls: int
    failures: int
    tokens: int
    cost_usd: float

    def agrees(self, other: Seen) -> bool:
        """Whether both hold the same, to a millionth of a dollar."""
        return self[:3] == other[:3] and math.isclose(self.cost_usd, other.cost_usd, abs_tol=1e-6)

    def __str__(self) -> str:
        return f"{self.calls} calls, {self.failures} failed, {self.tokens:,} tokens, ${self.cost_usd:.4f}"


MADE = Seen(calls=7, failures=1, tokens=512, cost_usd=0.34)


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


# --- the guide's verification ---------------------------------------------------------------------------------------


def collectors() -> Iterator[Finding]:
    """Record a call, a cost and an error by hand, and read them back."""
    metrics, costs, errors = MetricsCollector(max_operations=100), CostTracker(), ErrorTracker()
    metrics.record("doctor", 0.5, tokens=100, cost=0.01)
    costs.record("doctor", 0.01)
    errors.record_call("doctor", success=True)
    errors.record_call("doctor", success=False, error="on purpose")
    summary = metrics.summary()
    yield _found("record", summary["count"] == 1 and summary["total_tokens"] == 100, "an operation is counted")
    yield _found("cost", math.isclose(costs.costs["doctor"], 0.01), "a cost is counted")
    yield _found("error rate", errors.error_rate("doctor") == 0.5, "one error in two calls is a rate of 50%")
    for _ in range(5_000):
        metrics.record("doctor", 0.5)
    bounded = len(metrics.operations) == 100 and metrics.summary()["count"] == 5_001
    yield _found("memory", bounded, "only the last max_operations calls are kept, and totals count them all")


def _found(name: str, holds: bool, says: str) -> Finding:
    return ok(name, says) if holds else wrong(name, f"it does not hold that {says}", BUG)


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.logger = logging.Logger("toolweaver_monitor.doctor")  # noqa: LOG001 - nobody else is to see these
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.calls.append(record.__dict__["toolweaver"])

    def seen(self) -> Seen:
        failed = sum(call["outcome"] == "failure" for call in self.calls)
        tokens = sum(call.get("tokens", 0) for call in self.calls)
        return Seen(len(self.calls), failed, tokens, sum(call.get("cost_usd", 0.0) for call in self.calls))


# --- the places agree -----------------------------------------------------------------------------------------------


def agreement(with_wandb: bool) -> Iterator[Finding]:
    """Make calls under a `setup()` with every sink there is, and compare what each of them holds."""
    exporter = PrometheusExporter(port=0, addr="127.0.0.1")
    lines = _Lines()
    sinks: list[Any] = [exporter, LogSink(lines.logger)]
    if with_wandb:
        sinks.append(WandBLogger(project="toolweaver-monitor-doctor", init_timeout_s=15, finish_timeout_s=5))
    monitor = setup(*sinks, budget=1.0)
    _make_calls()
    places = {"memory": _in_memory(monitor), "Prometheus": _in_prometheus(exporter.url)}
    delivered = monitor.flush(READ_BACK_S)
    health = monitor.health()
    monitor.shutdown(READ_BACK_S)
    places["the log"] = lines.seen()
    if not delivered or not health["ok"]:
        yield wrong("delivery", "; ".join(health["problems"]) or "the sinks did not take all calls in time", BUG)
    else:
        yield ok("delivery", "every sink took every call")
    if with_wandb:
        try:
            places["W&B"] = _in_wandb(Path(os.environ["WANDB_DIR"]))
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            yield note(
                "W&B", f"its offline run cannot be read back ({type(error).__name__})", "pip install -U wandb reads it"
            )
    names = " and ".join([", ".join(list(places)[:-1]), list(places)[-1]])
    astray = {place: seen for place, seen in places.items() if not seen.agrees(MADE)}
    if not astray:
        yield ok("agreement", f"{names} hold the same: {MADE}")
    for place, seen in astray.items():
        yield wrong("agreement", f"{place} holds {seen}, not {MADE}", BUG)


def _in_memory(monitor: Monitor) -> Seen:
    summary = monitor.summary()
    return Seen(summary["count"], summary["failures"], summary["total_tokens"], summary["total_cost_usd"])


def _in_prometheus(url: str) -> Seen:
    answer = http_get.get(url)
    samples = running_program.parsed(answer.body) or {}
    names = (catalog.EXECUTIONS, catalog.ERRORS_BY_TYPE, catalog.TOKENS, catalog.COST)
    calls, failures, tokens, cost_usd = (running_program.total(samples, metric.name) for metric in names)
    return Seen(int(calls), int(failures), int(tokens), cost_usd)


def _in_wandb(folder: Path) -> Seen:
    """The rows of the offline run, read back with `wandb leet inspect`."""
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
    return Seen(len(statuses), statuses.count(0), int(sum(values("tokens"))), sum(values("cost")))


# --- the user's own W&B ---------------------------------------------------------------------------------------------


def wandb_account(online: bool) -> Iterator[Finding]:
    """Whether the sink could log where this environment says; nothing is written there."""
    try:
        wandb = runs.load()
        settings = runs.settings(wandb)
        host = settings.base_url.partition("//")[2].rpartition("@")[2]
        version = f"wandb {wandb.__version__}"
        if settings.mode == "disabled":
            yield wrong("wandb", f"{version}, but WANDB_MODE=disabled: nothing is logged", "unset WANDB_MODE")
        elif settings.mode in runs.OFFLINE_MODES:
            folder = settings.wandb_dir
            yield ok("wandb", f"{version}, offline: runs are kept in {folder}; `wandb sync` uploads them")
        else:
            runs.must_be_logged_in(settings.base_url)
            if online:
                yield _asked(wandb, f"{version} at {host}")
            else:
                yield ok("wandb", f"{version}, with a key for {host}; --online asks the server whether it is good")
    except SinkUnavailable as error:
        yield refused("wandb", error)


def _asked(wandb: Any, where: str) -> Finding:
    try:
        viewer = wandb.Api(timeout=10).viewer
    except Exception as error:  # noqa: BLE001 - whatever W&B raises is the finding
        said = scrub(str(error).partition("\n")[0], 160)
        return wrong(
            "wandb",
            f"{where} does not confirm the key ({type(error).__name__}: {said})",
            "run `wandb login --relogin`, check WANDB_BASE_URL and the network, or set WANDB_MODE=offline",
        )
    return ok("wandb", f"{where} accepts the key of {viewer.username}")


def main(argv: list[str]) -> int:
    """Print the findings of one probe as JSON, one a line, each as soon as it is there."""
    probes: dict[str, Callable[[], Iterator[Finding]]] = {
        "collectors": collectors,
        "agreement": lambda: agreement("--wandb" in argv),
        "wandb": lambda: wandb_account("--online" in argv),
    }
    for name in argv:
        if name in probes:
            for finding in probes[name]():
                print(json.dumps(finding), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
