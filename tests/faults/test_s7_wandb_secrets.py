"""S7: no secret of the command line, the environment or a configuration gets into a W&B run, a log or a repr."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import run_program
from secret_corpus import CORPUS, piece

from toolweaver_monitor import Budget, CostTracker, ErrorTracker, MetricsCollector, get_monitor, monitored, setup, track
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, WandBLogger

pytestmark = pytest.mark.system

PROGRAM = """
import logging, os, sys
sys.path.insert(0, {here!r})
from secret_corpus import CORPUS
from toolweaver_monitor import setup, track
from toolweaver_monitor.sinks import WandBLogger

logging.basicConfig(level="DEBUG")
sink = WandBLogger(project="secrets")
monitor = setup(sink)
for name, text, _ in CORPUS:
    try:
        with track(text[:600], note=text) as call:
            call.record(model=text, cost=0.01)
            raise ValueError(text)
    except ValueError:
        pass
assert monitor.flush(60)
print("RUN", monitor.health()["sinks"]["wandb"]["run"], repr(sink), repr(vars(sink)))
assert monitor.shutdown(60)
"""
ARGUMENT, VARIABLE, KEY = "from-the-command-line-7Qx", "from-the-environment-8Ry", "0123456789abcdef" * 2 + "01234567"


@pytest.mark.usefixtures("real_wandb")
def test_s7_a_run_holds_no_secret_of_the_program(tmp_path: Path) -> None:
    """A real offline run: its whole folder, and all that was printed, searched for every byte of 200 secrets.

    Beside those of the calls, what stands in `sys.argv`, in the environment and in `WANDB_API_KEY`. Mutation that
    turned it red: `x_disable_meta` left out (the run's metadata then holds the command line).
    """
    here = str(Path(__file__).parent)
    done = run_program(
        PROGRAM.format(here=here),
        "--password",
        ARGUMENT,
        script=tmp_path / "program.py",
        cwd=tmp_path,
        env={"WANDB_MODE": "offline", "WANDB_API_KEY": KEY, "A_SECRET": VARIABLE, "WANDB_DIR": str(tmp_path),
             "HOME": str(tmp_path), "FAULT_HANG_S": "80"},
        timeout_s=120,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "RUN " in done.out
    files = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert (tmp_path / "wandb").stat().st_size
    found = {str(path): path.read_bytes() for path in files} | {"printed": (done.out + done.err).encode()}
    wanted = {"argument": ARGUMENT, "variable": VARIABLE, "key": KEY} | {name: piece(s) for name, _, s in CORPUS}
    assert [
        (name, place) for place, data in found.items() for name, text in wanted.items() if text.encode() in data
    ] == []
    assert b"ValueError" in b"".join(found.values()), "the errors themselves are in the run"


def test_s7_no_repr_of_a_configuration_holds_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sinks, collectors, budgets, the monitor and a decorated function, with all of their attributes.

    Mutation that turned it red: `Token` keeping the token.
    """
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    token = "a-token-that-" + "nobody-sees-9Zk"
    exporter = PrometheusExporter(port=0, token=token)
    things = [
        exporter, WandBLogger(), LogSink(), MetricsCollector(), CostTracker(), ErrorTracker(), Budget(limit_usd=1),
        monitored("tool")(lambda: None), track("tool"),
    ]  # fmt: skip
    with setup(exporter) as monitor:
        assert get_monitor() is monitor
        shown = repr(monitor) + repr(monitor.health()) + repr(vars(monitor)) + repr(vars(exporter._endpoint))
        shown += "".join(repr(thing) + repr(getattr(thing, "__dict__", "")) for thing in things)
        shown += repr(vars(exporter._endpoint.rules.token))
    assert token not in shown
    assert KEY not in shown
