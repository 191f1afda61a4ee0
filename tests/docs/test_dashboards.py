"""The dashboard and the alerts of the documentation use metrics that the library serves."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from toolweaver_monitor import setup
from toolweaver_monitor._cli import main
from toolweaver_monitor.sinks import PrometheusExporter, SQLiteStore
from toolweaver_monitor.sinks._prometheus import catalog

FOLDER = Path(__file__).parents[2] / "docs" / "dashboards"
DASHBOARD, ALERTS = FOLDER / "grafana.json", FOLDER / "alerts.yml"


def test_every_metric_is_on_the_dashboard_and_every_name_on_it_is_a_metric() -> None:
    """A metric that is added wants a panel, and one that is renamed leaves no panel behind."""
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\btoolweaver_\w+_\w+(?=[{\[ )])", DASHBOARD.read_text())
    }
    assert named == {metric.name for metric in catalog.METRICS}


def test_panels_stand_side_by_side_and_have_a_title_a_unit_and_a_sentence() -> None:
    """Every panel says what it shows, and no panel covers another."""
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_alerts_fire_when_they_should_and_say_what_is_wrong(
    require_program: Callable[..., str], tmp_path: Path
) -> None:
    """Prometheus's own test of rules: ten minutes of a program in trouble, then the alerts.

    Seen red: with `increase()` alone, three calls that a sink lost at once brought no alert, nor did one unpriced call.
    """
    promtool = require_program("promtool", "apt-get install prometheus")
    ok, failed = '{tool_name="ocr",status="success"}', '{tool_name="ocr",status="failure"}'
    series = {
        f"toolweaver_tool_executions_total{ok}": "0+6x20",
        f"toolweaver_tool_executions_total{failed}": "0+2x20",
        'toolweaver_tool_executions_total{tool_name="search",status="success"}': "0+6x20",
        'toolweaver_tool_executions_total{tool_name="search",status="cancelled"}': "0+2x20",
        'toolweaver_tool_executions_total{tool_name="search",status="rejected"}': "0+9x20",
        'toolweaver_tool_duration_seconds_bucket{tool_name="ocr",le="32"}': "0+8x20",
        'toolweaver_tool_duration_seconds_bucket{tool_name="ocr",le="+Inf"}': "0+8x20",
        **{
            f'toolweaver_tool_duration_seconds_bucket{{tool_name="agent",le="{bound}"}}': f"0+{count}x20"
            for bound, count in (("128", 3), ("256", 5), ("512", 8), ("1024", 10), ("+Inf", 10))
        },
        'toolweaver_tool_cost_usd_total{tool_name="ocr"}': "0+0.8x20",
        'toolweaver_budget_spent_usd{budget="usd/run"}': "19x20",
        'toolweaver_budget_limit_usd{budget="usd/run"}': "20x20",
        'toolweaver_budget_rejections_total{budget="usd/run"}': "0x20",
        'toolweaver_monitor_calls_total{sink="wandb",result="delivered",reason=""}': "0+8x20",
        'toolweaver_monitor_calls_total{sink="wandb",result="failed",reason="OSError"}': "_x14 3x5",
        'toolweaver_tool_unpriced_calls_total{tool_name="ocr"}': "_x14 1x5",
        'up{job="toolweaver",instance="localhost:8000"}': "1x20",
    }
    told = {
        "ToolFailsFast": [
            ({"tool_name": "ocr", "severity": "critical"}, "25% of the calls of ocr failed in the last 1h")
        ],
        "ToolFailsSlowly": [({"tool_name": "ocr"}, "25% of the calls of ocr failed in the last 6h")],
        "ToolIsCutOff": [
            ({"tool_name": "search"}, "25% of the calls of search are cancelled, as asyncio.wait_for does")
        ],
        "ToolIsSlow": [
            ({"tool_name": "ocr"}, "one call in twenty of ocr takes longer than 30.4s"),
            ({"tool_name": "agent"}, "one call in twenty of agent takes longer than 14m 56s"),
        ],
        "ToolHangs": [],
        "ToolIsHardlyCalled": [],
        "ToolCostSpikes": [],
        "BudgetRunsOut": [],
        "ToolsSpendFast": [],
        "BudgetNearlySpent": [({"budget": "usd/run"}, "95% of the budget usd/run is spent")],
        "BudgetRefusesCalls": [],
        "CostIsUnknown": [
            ({"tool_name": "ocr", "severity": "info"}, "calls of ocr have no known cost: give setup(prices=...)")
        ],
        "SinkLosesCalls": [({"sink": "wandb", "reason": "OSError"}, "the sink wandb has lost calls (OSError)")],
        "ToolweaverIsDown": [],
    }
    run_promtool(promtool, tmp_path, "1m", "20m", series, told)


def test_alerts_that_compare_with_what_is_usual(require_program: Callable[..., str], tmp_path: Path) -> None:
    """A day as always, then an hour in which one tool costs thirty times as much, one is not called and one hangs.

    A tool that costs thirty times as much, but only cents, is no spike. Seen red: without the floor in dollars.
    """
    promtool = require_program("promtool", "apt-get install prometheus")
    series = {
        'toolweaver_tool_cost_usd_total{tool_name="vision"}': "0+0.1x156 18.6+3x14",
        'toolweaver_tool_cost_usd_total{tool_name="cheap"}': "0+0.001x156 0.186+0.03x14",
        'toolweaver_tool_executions_total{tool_name="search",status="success"}': "0+10x156 1560+0x14",
        'toolweaver_tool_executions_total{tool_name="seldom",status="success"}': "0+1x156 156+0x14",
        'toolweaver_tool_executions_total{tool_name="agent",status="success"}': "5x170",
        'toolweaver_tool_active_operations{tool_name="agent"}': "2x170",
        'toolweaver_tool_active_operations{tool_name="search"}': "0x170",
        'toolweaver_budget_spent_usd{budget="usd/day"}': "0+0.028x170",
        'toolweaver_budget_limit_usd{budget="usd/day"}': "5x170",
    }
    told = {
        "ToolCostSpikes": [
            ({"tool_name": "vision"}, "vision has spent $18.00 within an hour, more than 4 times what is usual")
        ],
        "ToolIsHardlyCalled": [
            ({"tool_name": "search"}, "search had 0 calls in an hour, less than a fifth of what is usual")
        ],
        "ToolHangs": [({"tool_name": "agent"}, "2 calls of agent have been open for half an hour, and none has ended")],
        "BudgetRunsOut": [
            ({"budget": "usd/day"}, "the budget usd/day is spent in 2h 25m 42s if tools go on like this")
        ],
    }
    run_promtool(promtool, tmp_path, "10m", "27h20m", series, told)


def run_promtool(
    promtool: str,
    folder: Path,
    interval: str,
    at: str,
    series: dict[str, str],
    told: dict[str, list[tuple[dict[str, str], str]]],
) -> None:
    expected = {
        alert: [
            {"exp_labels": {"severity": "warning", **labels}, "exp_annotations": {"summary": summary}}
            for labels, summary in messages
        ]
        for alert, messages in told.items()
    }
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": at, "alertname": name, "exp_alerts": alerts} for name, alerts in expected.items()
                ],
            }
        ],
    }
    (folder / "test.yml").write_text(json.dumps(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_take_thresholds_and_both_forms(
    require_program: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target for a tool of any name, and native histograms; `promtool` accepts what comes out.

    Seen red: with U+FFFD in a name, as text decoded with errors="replace" has it, Prometheus refused the whole file.
    """
    promtool = require_program("promtool", "apt-get install prometheus")
    odd = 'a "b" \\ (c|d) \ufffd \u2028 \n\x85'
    assert main(["rules", "--p95", f"{odd}=2", "--p95", "9", "--objective", "0.9", "--job", "tools", "--native"]) == 0
    text = capsys.readouterr().out
    assert " > 2" in text
    assert " > 9" in text
    assert "> 1.44" in text
    assert "_bucket" not in text
    (tmp_path / "rules.yml").write_text(text)
    done = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "wrong", [["--p95", "ocr=0"], ["--p95", "ocr=soon"], ["--objective", "99"], ["--spike", "inf"]]
)
def test_a_threshold_that_makes_no_sense_is_an_error(wrong: list[str]) -> None:
    """With exit code 2, before anything is printed."""
    with pytest.raises(SystemExit) as ended:
        main(["rules", *wrong])
    assert ended.value.code == 2


def test_the_dashboard_has_a_variable_for_each_label(capsys: pytest.CaptureFixture[str]) -> None:
    """Each label restricts what has it; native histograms are asked for without buckets."""
    assert main(["grafana", "--label", "customer", "--native"]) == 0
    dashboard = json.loads(capsys.readouterr().out)
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "tool", "customer"]
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert not [expression for expression in asked if "_bucket" in expression]
    with_label = {metric.name for metric in catalog.METRICS for expression in asked
                  if 'customer=~"$customer"' in expression and f"{metric.name}{{" in expression}  # fmt: skip
    assert with_label == {metric.name for metric in catalog.LABELLED}


def test_tools_labels_and_targets_come_from_a_program_or_a_store(
    require_program: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tool may take two to four times its own 95th percentile, and a target for a tool that is not there is an error.

    Seen red: without `check`, `--p95 orc=2` printed a rule that never fires.
    """
    odd = 'odd "x" (y|z)'
    exporter, store = PrometheusExporter(port=0, labels=["customer"]), tmp_path / "runs.db"
    with setup(exporter, SQLiteStore(store)) as monitor:
        for tool, seconds in (("ocr", 1.2), (odd, 70.0), ("fast", 0.002), ("endless", 4_000.0)):
            monitor.record(tool, duration_s=seconds)
        assert monitor.flush()
        assert main(["rules", "--url", exporter.url, "--p95", "ocr=9"]) == 0
        of_program = capsys.readouterr().out
        assert main(["grafana", "--url", exporter.url]) == 0
        assert "customer" in [each["name"] for each in json.loads(capsys.readouterr().out)["templating"]["list"]]
    assert main(["rules", str(store)]) == 0
    of_store = capsys.readouterr().out
    escaped = odd.replace('"', '\\"')
    for text, ocr in ((of_program, 9), (of_store, 4)):
        found = dict(re.findall(r'tool_name="(.*)"}\[10m\]\)\)\) > (\S+)', text))
        assert found.items() >= {"ocr": f"{ocr}", escaped: "256", "fast": "1"}.items()
        assert "endless" in found
        (tmp_path / "rules.yml").write_text(text)
        subprocess.run(
            [require_program("promtool"), "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, check=True
        )
    assert main(["rules", str(store), "--p95", "orc=2"]) == 2
    assert "did you mean 'ocr'?" in capsys.readouterr().err


DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_deployed_configuration_is_accepted(require_program: Callable[..., str]) -> None:
    """Prometheus and Alertmanager check their own files."""
    promtool = require_program("promtool", "apt-get install prometheus")
    amtool = require_program("amtool", "apt-get install prometheus-alertmanager")
    checks = (
        [promtool, "check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml")],
        [amtool, "check-config", str(DEPLOY / "alertmanager.yml")],
    )
    for check in checks:
        done = subprocess.run(check, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
