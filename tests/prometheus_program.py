"""The real Prometheus for tests: it scrapes one target five times a second, and answers queries."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from helpers import free_port, wait_until


class PrometheusProgram:
    """Runs in a folder of its own until `stop`.

    Args:
        folder: where its configuration and data are.
        target: the port that it scrapes.
        *features: for `--enable-feature`, such as `native-histograms`.
    """

    def __init__(self, folder: Path, target: int, *features: str) -> None:
        self.port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: tools, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        )
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", *(f"--enable-feature={name}" for name in features),
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def get(self, path: str, **parameters: str) -> Any:
        """The data that its API answers with."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The present value of each series, by its labels' values in the order of their names."""
        return {
            tuple(v for k, v in sorted(row["metric"].items()) if k not in ("__name__", "instance", "job")): float(
                row["value"][1]
            )
            for row in self.get("query", query=expression)["result"]
        }

    def value(self, expression: str) -> float | None:
        """The value of the only series; None if there is none."""
        return next(iter(self.query(expression).values()), None)

    def wait_for(self, expression: str, wanted: float | dict[tuple[str, ...], float]) -> None:
        """Wait until a query gives this: the value of its only series, or those of all by their labels."""
        found: object = "no answer yet"

        def is_there() -> bool:
            nonlocal found
            found = self.query(expression) if isinstance(wanted, dict) else self.value(expression)
            return found == pytest.approx(wanted)

        wait_until(is_there, 30, every_s=0.2, fault=lambda: f"{expression}: {found}, not {wanted}")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
