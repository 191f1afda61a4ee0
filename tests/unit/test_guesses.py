"""What one guesses works, or is answered with what was meant."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import toolweaver_monitor
from toolweaver_monitor import MetricsCollector, current_call, instrument, monitored, setup, track
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, SQLiteStore, WandBLogger


def test_the_summary_of_one_tool() -> None:
    """Seen red: before, `summary("ocr")` was a TypeError."""
    monitor = setup()
    with track("ocr") as call:
        call.record(cost=0.25)
    with track("parse"):
        pass
    assert monitor.summary("ocr")["count"] == 1
    assert monitor.summary("ocr")["total_cost_usd"] == 0.25
    assert monitor.summary("unseen")["count"] == 0
    with pytest.raises(ConfigurationError, match="not a tool's name"):
        monitor.summary(len)  # type: ignore[arg-type]


def test_the_summary_answers_for_its_tools_but_does_not_carry_them() -> None:
    """Seen red: with the tools stored in it, they were printed, and read for every summary."""
    monitor = setup()
    with track("ocr"):
        pass
    summary: Any = monitor.summary()
    assert summary["tools"]["ocr"]["count"] == 1
    assert "tools" not in json.loads(json.dumps(summary))
    assert "tools" not in repr(summary)
    for guess, meant in (("cost", "total_cost_usd"), ("tokens", "total_tokens"), ("p95", "p95_s")):
        with pytest.raises(KeyError, match=f"did you mean '{meant}'"):  # seen red: 'count' for a cost
            summary[guess]
    with pytest.raises(KeyError, match="did you mean 'count'"):
        summary["counts"]
    assert type(pickle.loads(pickle.dumps(summary))) is dict


def test_everything_can_be_had_as_a_dict_and_as_json() -> None:
    monitor = setup(budget=1.0)
    with track("ocr", page=3) as call:
        call.record(cost=0.25)
        call.fail("blurred")
    shown = json.loads(monitor.to_json())
    assert shown == monitor.to_dict()
    assert next(iter(shown)) == "summary"
    assert shown["tools"]["ocr"]["failures"] == 1
    assert shown["costs"]["total"] == monitor.costs.total == 0.25
    assert shown["errors"][0]["tags"] == {"page": 3}
    assert shown["budgets"][0]["spent"] == 0.25
    assert json.loads(monitor.errors.to_json())["errors"]["ocr"][0]["error"] == "blurred"


def test_an_operation_tells_its_tags_its_model_and_how_it_failed() -> None:
    """Seen red: before, a table of operations had none of them."""
    monitor = setup()

    @monitored("ocr", tags={"page": 3})
    def read() -> None:
        current_call().record(model="gpt-4o", tokens=3, cost=0.1)
        raise ValueError("blurred")

    with pytest.raises(ValueError, match="blurred"):
        read()
    (operation,) = monitor.metrics.operations
    assert (operation["tags"], operation["model"], operation["error_type"]) == ({"page": 3}, "gpt-4o", "ValueError")


def test_a_name_may_be_given_as_name() -> None:
    monitor = setup()

    @monitored(name="ocr")
    def read() -> None: ...

    read()
    with track(name="parse", page=3):
        pass
    with track("shop", name="corner"):
        pass
    assert monitor.flush()
    assert sorted(monitor.metrics.by_operation()) == ["ocr", "parse", "shop"]
    assert [operation["tags"] for operation in monitor.metrics.operations] == [{}, {"page": 3}, {"name": "corner"}]
    with pytest.raises(TypeError, match="needs the name of a tool"):
        track()  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="two names"):
        monitored(tool_name="a", name="b")  # type: ignore[call-overload]


def test_sinks_can_be_imported_from_the_top() -> None:
    """Seen red: without the module's `__getattr__`, an ImportError."""
    from toolweaver_monitor import PrometheusExporter as FromTheTop  # type: ignore[attr-defined]

    assert FromTheTop is PrometheusExporter
    with pytest.raises(AttributeError, match="try monitored"):
        toolweaver_monitor.monitord  # noqa: B018


@pytest.mark.parametrize(
    ("guess", "says"),
    [
        (lambda m: PrometheusExporter(host="0.0.0.0"), r"PrometheusExporter\(\) got .* 'host'; did you mean addr=\?"),
        (lambda m: PrometheusExporter(prot=8000), r"did you mean port=\?"),
        (lambda m: WandBLogger(mode="offline"), "set WANDB_MODE in the environment"),
        (lambda m: m.total_cost, "write monitor.costs.total"),
        (lambda m: m.get_sumary(), "did you mean 'summary'"),
        (lambda m: m.get_stats(), r"write monitor.summary\(\)"),
        (lambda m: m.costs.most_expensiv(), "did you mean 'most_expensive'"),
        (lambda m: m.metrics.operation, "did you mean 'operations'"),
    ],
)
def test_a_wrong_guess_is_answered_with_what_was_meant(guess: Callable[[Any], Any], says: str) -> None:
    """Seen red one by one: Python's own text names no cure."""
    with pytest.raises((TypeError, AttributeError), match=says):
        guess(setup())


def test_a_private_name_is_no_guess() -> None:
    """`copy`, `pickle` and their like ask for names that are not there."""
    with pytest.raises(AttributeError, match=r"no attribute '_nothing'$"):
        setup()._nothing  # noqa: B018


def test_a_notebook_shows_tables_and_prints_a_report_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked as IPython asks. Seen red: with a plain `str`, the report was shown a second time below itself."""
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="installed by `make venv`")

    monitor = setup()
    with track("<b>ocr</b>") as call:
        call.record(cost=0.25)
        call.fail("blurred")
    shell = interactive.InteractiveShell.instance()
    shell.user_ns["monitor"] = monitor
    shell.run_cell("monitor.report()")
    assert capsys.readouterr().out.count("Tools\n") == 1
    for thing in (monitor, monitor.metrics, monitor.costs, monitor.errors):
        formats, _ = shell.display_formatter.format(thing)
        assert "<table>" in formats["text/html"]
        assert "<td>&lt;b&gt;ocr&lt;/b&gt;</td>" in formats["text/html"]
    assert isinstance(monitor.report(), str)


def test_what_one_guesses_of_a_call_or_a_tracker_is_answered() -> None:
    """Seen red: `call.set_cost` was told to be missing, and nothing more."""
    monitor = setup()
    with track("ocr") as call, pytest.raises(AttributeError, match=r"'set_cost'; write call\.record\(cost="):
        call.set_cost(0.5)  # type: ignore[attr-defined]
    assert not hasattr(call, "set_tokens")
    with pytest.raises(AttributeError, match=r'write summary\("ocr"\)\["avg_duration_s"\]'):
        monitor.metrics.avg_latency("ocr")
    with pytest.raises(AttributeError, match=r"write errors\.error_rate"):
        monitor.errors.rate("ocr")
    with pytest.raises(AttributeError, match=r"write costs\.costs"):
        monitor.costs.by_tool()


@pytest.mark.parametrize(("guess", "meant"), [("monitor.metrics.summery", "summary"), ("call.set_cost", "record")])
def test_a_traceback_has_one_guess_and_not_that_of_python_as_well(guess: str, meant: str) -> None:
    """Seen red: `did you mean 'summary'?. Did you mean: 'summary'?`."""
    program = f"import toolweaver_monitor as t; monitor = t.setup(); call = t.current_call(); {guess}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = ended.stderr.splitlines()[-1]
    assert meant in last
    assert last.lower().count("did you mean") == last.count("did you mean")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: monitored("ocr", cost_usd=0.1),
            "monitored() got an unexpected keyword argument 'cost_usd'; did you mean cost=?",
        ),
        (lambda: instrument(Orchestrator, tool="ocr"), "did you mean tool_name=?"),
        (
            lambda: setup().asgi(pages=True),
            "Monitor.asgi() got an unexpected keyword argument 'pages'; did you mean page=?",
        ),
        (lambda: setup().wsgi(pages=True), "did you mean page=?"),
        (
            lambda: SQLiteStore(file="runs.db"),
            "SQLiteStore() got an unexpected keyword argument 'file'; did you mean path=?",
        ),
        (lambda: SQLiteStore(max_day=3), "did you mean max_days=?"),
        (
            lambda: LogSink(colour="red"),
            "LogSink() got an unexpected keyword argument 'colour'; there are logger, level, path",
        ),
        (
            lambda: MetricsCollector(max_ops=3),
            "MetricsCollector() got an unexpected keyword argument 'max_ops'; did you mean",
        ),
    ],
)
def test_a_keyword_that_one_guesses_is_answered_with_the_one_that_was_meant(call: Any, says: str) -> None:
    """Seen red: all but that of `monitored` were told to be unexpected, and nothing more."""
    with pytest.raises(TypeError, match=re.escape(says)):
        call()


class Orchestrator:
    def execute_tool(self, tool_name: str) -> None: ...
