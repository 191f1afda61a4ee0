"""Compile the dashboards against the types that Grafana publishes: `python tests/grafana_types.py FOLDER` (needs npm).

FOLDER takes the packages from npm. Each dashboard is written as a TypeScript constant: the whole as `Dashboard`, and
the options of each panel as those of its kind. Both forms of histograms are checked, and labels.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from toolweaver_monitor._cli.dashboards.panels import render_dashboard

PACKAGES = ("@grafana/schema@13", "typescript@5")
OPTIONS_OF = {"timeseries": "TimeSeries", "stat": "Stat", "bargauge": "BarGauge"}
FLAGS = ("--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext")

HEAD = "import type { Dashboard } from '@grafana/schema';\n"
# Grafana fills in what is left out, and JSON has the values of enumerations instead of their members.
AS_JSON = """
type AsJson<T> =
  T extends string ? `${T}` : T extends (infer E)[] ? AsJson<E>[] :
  T extends object ? { [K in keyof T]?: AsJson<T[K]> } : T;
"""


def as_typescript(dashboard: str) -> str:
    """Return a module that compiles if the dashboard is as Grafana's types say."""
    path = "@grafana/schema/dist/esm/raw/composable/{0}/panelcfg/x/{1}PanelCfg_types.gen"
    lines = [
        f"import type {{ Options as {name} }} from '{path.format(kind, name)}';" for kind, name in OPTIONS_OF.items()
    ]
    lines += [AS_JSON, f"export const dashboard: Dashboard = {dashboard};"]
    for panel in json.loads(dashboard)["panels"]:
        if panel["type"] != "row":
            options, name = json.dumps(panel["options"]), OPTIONS_OF[panel["type"]]
            lines.append(f"export const options{panel['id']}: AsJson<{name}> = {options};  // {panel['title']}")
    return HEAD + "\n".join(lines) + "\n"


def main(folder: Path) -> int:
    """Install the types, compile, print what the compiler says, and return its exit code."""
    (folder / "package.json").write_text("{}")
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES], cwd=folder, check=True)
    dashboards = {
        "classic": render_dashboard(),
        "native": render_dashboard(("customer", "model"), native=True),
    }
    for name, dashboard in dashboards.items():
        (folder / f"{name}.ts").write_text(as_typescript(dashboard))
    files = [f"{name}.ts" for name in dashboards]
    return subprocess.run(["npx", "--no-install", "tsc", *FLAGS, *files], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
