"""The files of `deploy` fit together, and the program in them runs. No container is started here."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import OURS, free_port, wait_until

from toolweaver_monitor._cli.dashboards.rules import Thresholds
from toolweaver_monitor.sinks import PrometheusExporter

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def load(require_package: Callable[..., None]) -> Callable[[str], list[Any]]:
    """Return the documents of a file."""
    require_package("yaml", "pip install pyyaml")
    yaml = importlib.import_module("yaml")
    return lambda name: list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.fixture
def kubernetes(load: Callable[[str], list[Any]]) -> dict[str, Any]:
    """Return the objects by kind."""
    found = [*load("kubernetes/example.yml"), *load("kubernetes/servicemonitor.yml")]
    return {each["kind"]: each for each in found}


def test_the_service_monitor_finds_the_pods_and_their_token(kubernetes: dict[str, Any]) -> None:
    """Labels, ports and secrets have the same names all the way, and the job is that of the rules.

    Seen red: with the port of the Service unnamed.
    """
    monitor, service, pods = (kubernetes[kind]["spec"] for kind in ("ServiceMonitor", "Service", "Deployment"))
    labels = pods["template"]["metadata"]["labels"]
    assert pods["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()
    assert monitor["selector"]["matchLabels"].items() <= kubernetes["Service"]["metadata"]["labels"].items()
    assert kubernetes["Service"]["metadata"]["labels"][monitor["jobLabel"]] == Thresholds().job
    (container,), (port,), (endpoint,) = pods["template"]["spec"]["containers"], service["ports"], monitor["endpoints"]
    (of_container,) = container["ports"]
    assert endpoint["port"] == port["name"]
    assert port["targetPort"] == of_container["name"] == container["readinessProbe"]["tcpSocket"]["port"]
    environment = {each["name"]: each for each in container["env"]}
    assert environment["TOOLWEAVER_MONITOR_PROMETHEUS_PORT"]["value"] == str(of_container["containerPort"])
    secret = {"name": kubernetes["Secret"]["metadata"]["name"], "key": "token"}
    assert "token" in kubernetes["Secret"]["stringData"]
    assert secret == environment["METRICS_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert secret == endpoint["authorization"]["credentials"]


def test_the_program_of_the_deployment_answers_a_scrape_with_the_token(kubernetes: dict[str, Any]) -> None:
    """It runs with the variables that its pod has, but for the port."""
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    token, port = kubernetes["Secret"]["stringData"]["token"], free_port()
    environment = {each["name"]: each.get("value", token) for each in container["env"]}
    environment |= {"PYTHONPATH": OURS, "TOOLWEAVER_MONITOR_PROMETHEUS_PORT": str(port)}
    program = [sys.executable, "-c", kubernetes["ConfigMap"]["data"]["tools.py"]]
    url = f"http://127.0.0.1:{port}/metrics"
    with subprocess.Popen(program, env=os.environ | environment, stderr=subprocess.DEVNULL) as process:
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}", "Host": "10.1.2.3:8000"})
            text = wait_until(lambda: urllib.request.urlopen(request, timeout=5).read().decode())
            assert 'toolweaver_tool_executions_total{tool_name="read_receipt",status="success"}' in text
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(url, timeout=5)
        finally:
            process.kill()


def test_a_program_on_the_host_answers_the_prometheus_of_the_compose_file(load: Callable[[str], list[Any]]) -> None:
    """It begins as the comment in the compose file says. Seen red: Prometheus sent no token, and got 403."""
    (prometheus,) = load("prometheus.yml")
    (job,) = (each for each in prometheus["scrape_configs"] if each["job_name"] == Thresholds().job)
    (target,) = job["static_configs"][0]["targets"]
    token = job["authorization"]["credentials"]
    start = f'PrometheusExporter(addr="0.0.0.0", token="{token}")'
    assert f"setup({start})" in DEPLOY.joinpath("compose.yml").read_text()
    exporter = PrometheusExporter(0, token=token)
    exporter.start()
    try:
        headers = {"Authorization": f"Bearer {token}", "Host": target}
        answer = urllib.request.urlopen(urllib.request.Request(exporter.url, headers=headers), timeout=5)
        assert answer.status == 200
    finally:
        exporter.close()


def test_the_services_of_the_compose_file_know_each_other(load: Callable[[str], list[Any]]) -> None:
    """Each file that is mounted is there, and each address is that of a service.

    Seen red: with `alertmanger:9093` in prometheus.yml.
    """
    (services,) = (document["services"] for document in load("compose.yml"))
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert DEPLOY.joinpath(volume.partition(":")[0]).exists(), volume
    (prometheus,), (collector,) = load("prometheus.yml"), load("collector.yml")
    (source,) = load("grafana/provisioning/datasources/prometheus.yml")
    jobs = {each["job_name"]: each["static_configs"][0]["targets"] for each in prometheus["scrape_configs"]}
    alerting = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    addresses = [*jobs["pushgateway"], *alerting, source["datasources"][0]["url"]]
    addresses.append(collector["exporters"]["prometheusremotewrite"]["endpoint"])
    addresses.append(services["collector"]["environment"]["TRACES_ENDPOINT"])
    for address in addresses:
        assert address.removeprefix("http://").partition(":")[0] in services, address
    assert Thresholds().job in jobs
