"""The dashboard and the alerts of the documentation use metrics that the library serves."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

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
    """Prometheus's own test of rules: ten minutes of a program in trouble, then the alerts."""
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
        'up{job="toolweaver",instance="localhost:8000"}': "1x20",
    }
    told = {
        "ToolFails": [({"tool_name": "ocr"}, "25% of the calls of ocr fail")],
        "ToolIsCutOff": [
            ({"tool_name": "search"}, "25% of the calls of search are cancelled, as asyncio.wait_for does")
        ],
        "ToolIsSlow": [
            ({"tool_name": "ocr"}, "one call in twenty of ocr takes longer than 30.4s"),
            ({"tool_name": "agent"}, "one call in twenty of agent takes longer than 14m 56s"),
        ],
        "ToolsSpendFast": [],
        "BudgetNearlySpent": [({"budget": "usd/run"}, "95% of the budget usd/run is spent")],
        "BudgetRefusesCalls": [],
        "CostIsUnknown": [],
        "SinkLosesCalls": [],
        "ToolweaverIsDown": [],
    }
    expected = {
        alert: [
            {"exp_labels": {"severity": "warning", **labels}, "exp_annotations": {"summary": summary}}
            for labels, summary in messages
        ]
        for alert, messages in told.items()
    }
    test = {
        "rule_files": [str(ALERTS)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": "20m", "alertname": name, "exp_alerts": alerts} for name, alerts in expected.items()
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
