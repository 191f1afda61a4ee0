"""What the exporter exposes and how it is set up; tests/integration shows what a Prometheus server makes of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from toolweaver_monitor import instrument, monitored, setup, track, uninstrument
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._http.server import Loop
from toolweaver_monitor.errors import SinkUnavailable
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._prometheus import families
from toolweaver_monitor.sinks._prometheus.collector import Collector


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_free_port_is_taken_and_told() -> None:
    """`port=0`: `.port` and `.url` say where it came to listen."""
    exporter = PrometheusExporter(port=0)
    monitor = setup(exporter)
    assert exporter.port > 0
    assert exporter.url == f"http://127.0.0.1:{exporter.port}/metrics"
    assert monitor.health()["sinks"]["prometheus"]["listening"] is True


def test_it_works_with_no_setup() -> None:
    """Fed by hand, it exposes what it was given."""
    exporter = PrometheusExporter(port=0)
    exporter.write([ToolCall("ocr", "success", 0.25), ToolCall("ocr", "success", 0.75)])
    found = samples(exporter.text())
    assert found["toolweaver_tool_executions_total", "success", "ocr"] == 2
    assert found["toolweaver_tool_duration_seconds_sum", "ocr"] == 1.0
    assert found["toolweaver_tool_duration_seconds_bucket", "0.25", "ocr"] == 1


@pytest.mark.parametrize("outcome", ["cancelled", "abandoned", "interrupted", "rejected", "timeout"])
def test_an_outcome_recorded_by_hand_is_counted_as_such(outcome: str) -> None:
    """Not as a success.

    Seen red: a call of `monitor.record(outcome="cancelled")` had no details, and was counted as a success.
    """
    exporter = PrometheusExporter(listen=False)
    with setup(exporter) as monitor:
        monitor.record("by_hand_outcome", duration_s=0.1, outcome=outcome)
        found = samples(exporter.text())
    executions = {key[1]: value for key, value in found.items() if key[0] == "toolweaver_tool_executions_total"}
    assert executions == {"success": 0, "failure": 0, "timeout": 0, outcome: 1}


def test_buckets_of_the_users_own_count_every_call() -> None:
    """Bounds that are no powers of two are counted call by call; each is inclusive."""
    exporter = PrometheusExporter(port=0, buckets=[0.1, 1, 10])
    exporter.write([ToolCall("ocr", "success", seconds) for seconds in (0.05, 0.1, 0.5, 1.0, 20.0)])
    found = samples(exporter.text())
    counts = {labels[1]: count for labels, count in found.items() if labels[0].endswith("duration_seconds_bucket")}
    assert counts == {"0.1": 2, "1.0": 4, "10.0": 4, "+Inf": 5}


def counts_of(found: dict[tuple[str, ...], float], metric: str) -> dict[str, float]:
    return {labels[1]: count for labels, count in found.items() if labels[0] == f"{metric}_bucket"}


def streamed(*first_items_s: float) -> list[ToolCall]:
    """Return a call of a stream for each time to the first item, and as long."""
    calls = [ToolCall("words", "success", seconds) for seconds in first_items_s]
    for call in calls:
        call._details = CallDetails(items=1, first_item_s=call.duration_s)
    return calls


def test_calls_of_models_and_agents_lie_in_buckets_that_end_above_them() -> None:
    """Ten calls of 30 to 590 s: five are at most 256 s, eight at most 512 s, none lies in `+Inf` alone.

    So `histogram_quantile` gives p50 = 256 and p95 = 512 + 512 * 1.5 / 2 = 896: within a factor of two of the truth.
    Seen red: with bounds that end at 128 s, both were 128.
    """
    exporter = PrometheusExporter(port=0)
    exporter.write(streamed(30, 60, 110, 180, 250, 300, 380, 450, 530, 590))
    for metric in ("toolweaver_tool_duration_seconds", "toolweaver_tool_time_to_first_item_seconds"):
        counts = counts_of(samples(exporter.text()), metric)
        found = [counts[bound] for bound in ("128.0", "256.0", "512.0", "1024.0", "+Inf")]
        assert found == [3, 5, 8, 10, 10], metric


@pytest.mark.parametrize("given", ["arguments", "environment"])
@pytest.mark.parametrize(
    ("own", "durations", "first_items"),
    [
        ({"buckets": "0.1,1"}, {"0.1": 1, "1.0": 2, "+Inf": 3}, {"0.125": 1, "1.0": 2, "+Inf": 3}),
        ({"first_item_buckets": " 0.3, 2 "}, {"0.125": 1, "1.0": 2, "+Inf": 3}, {"0.3": 1, "2.0": 2, "+Inf": 3}),
        ({"buckets": "0.1,1", "first_item_buckets": "3,inf"}, {"0.1": 1, "1.0": 2, "+Inf": 3}, {"3.0": 3, "+Inf": 3}),
    ],
)
def test_either_histogram_takes_buckets_of_the_users_own(
    given: str,
    own: dict[str, str],
    durations: dict[str, int],
    first_items: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an argument or by the environment; the other keeps its powers of two.

    Seen red: `first_item_buckets` was no argument, no setting read either variable, and the doctor told to unset them.
    """
    arguments = {}
    for name, text in own.items():
        if given == "environment":
            monkeypatch.setenv(f"TOOLWEAVER_MONITOR_{name.upper()}_S", text)
        else:
            arguments[name] = [float(bound) for bound in text.split(",")]
    exporter = PrometheusExporter(port=0, **arguments)  # type: ignore[arg-type]
    exporter.write(streamed(0.05, 0.5, 2.5))
    found = samples(exporter.text())
    for metric, expected in (("duration", durations), ("time_to_first_item", first_items)):
        counts = counts_of(found, f"toolweaver_tool_{metric}_seconds")
        assert counts.items() >= expected.items()
        assert len(counts) == (len(expected) if "0.125" not in expected else 22)
        assert found[f"toolweaver_tool_{metric}_seconds_sum", "words"] == 3.05


def test_buckets_of_the_users_own_count_first_items_of_a_setup() -> None:
    """Read from real streams, delivered by the bus; a call that is no stream has no first item.

    Seen red: with first items left out of what the exporter counts call by call.
    """
    exporter = PrometheusExporter(port=0, first_item_buckets=[60.0])
    setup(exporter)
    assert list(words()) == ["a", "b"]
    with track("ocr"):
        pass
    found = samples(exporter.text())
    assert counts_of(found, "toolweaver_tool_time_to_first_item_seconds") == {"60.0": 1, "+Inf": 1}
    assert found["toolweaver_tool_duration_seconds_count", "ocr"] == 1


@monitored("words")
def words() -> Iterator[str]:
    yield from "ab"


@pytest.mark.parametrize(("most", "buckets"), [(3, None), (3, [1, 2]), (2_500, None), (2_500, [1, 2])])
def test_as_many_tools_are_told_apart_as_the_environment_says(
    most: int, buckets: list[float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More or fewer than the usual 2,000; the rest is `__overflow__`, durations included."""
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_LABEL_VALUES", str(most))
    exporter = PrometheusExporter(port=0, buckets=buckets)
    setup(exporter)
    for number in range(most + 2):
        with track(f"tool {number}"):
            pass
    lines = exporter.text().splitlines()
    counts = [line for line in lines if re.match(r'.*executions_total{tool_name="(tool |__).*"success"', line)]
    assert len(counts) == most + 1
    assert 'toolweaver_tool_executions_total{tool_name="__overflow__",status="success"} 2' in counts
    assert 'toolweaver_tool_duration_seconds_bucket{tool_name="__overflow__",le="1.0"} 2' in lines
    assert sum('le="1.0"' in line for line in lines) == most + 1


def test_a_registry_of_the_applications_shows_both() -> None:
    """Our metrics beside the application's own, in its registry and on our endpoint; taken out again at the end."""
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders.", registry=registry).inc()
    exporter = PrometheusExporter(port=0, registry=registry)
    monitor = setup(exporter)
    with track("ocr"):
        pass
    for text in (exporter.text(), generate_latest(registry).decode()):
        assert samples(text)["shop_orders_total",] == 1
        assert samples(text)["toolweaver_tool_executions_total", "success", "ocr"] == 1
    monitor.shutdown()
    assert "toolweaver" not in generate_latest(registry).decode()


def test_a_registry_with_an_exporter_takes_no_second_one(caplog: pytest.LogCaptureFixture) -> None:
    """The second is off, with the cure; it is known by its class, even if that is of another copy of the library.

    Seen red: with no names claimed and the class not looked at, both were shown, each series twice; with
    `isinstance`, that of another copy was not known.
    """
    registry = CollectorRegistry()
    monitor = setup(PrometheusExporter(port=0, registry=registry), PrometheusExporter(port=0, registry=registry))
    health = monitor.health()["sinks"]
    assert health["prometheus"]["state"] == "ok"
    assert "give each exporter its own registry" in health["prometheus-2"]["last_error"]
    copied = CollectorRegistry()
    copied.register(type("Collector", (), {"__module__": Collector.__module__, "collect": list})())
    with pytest.raises(SinkUnavailable, match="give each exporter its own registry"):
        PrometheusExporter(port=0, registry=copied).start()


@pytest.mark.parametrize("describes", [False, True], ids=["a registry", "as prometheus_client.REGISTRY"])
def test_a_program_may_register_a_name_of_ours_later(describes: bool) -> None:
    """It never fails for us. Theirs is then what a scrape shows of that name, once, and `health()` says what is not.

    Seen red: with `describe()` giving our metrics, the program got prometheus_client's DuplicateTimeseries; without the
    look at a scrape, a scrape had two families of a name.
    """
    registry = CollectorRegistry(auto_describe=describes)
    exporter = PrometheusExporter(port=0, registry=registry)
    monitor = setup(exporter)
    with track("ocr"):
        pass
    theirs = Counter("toolweaver_tool_executions", "Theirs.", ["tool_name"], registry=registry)
    theirs.labels("ocr").inc(7)
    part = Gauge("toolweaver_tool_duration_seconds_sum", "A part of one of our histograms.", registry=registry)
    for text in (exporter.text(), generate_latest(registry).decode()):
        heads = [line for line in text.splitlines() if line.startswith("# TYPE ")]
        assert len(heads) == len(set(heads))
        found = samples(text)
        assert found["toolweaver_tool_executions_total", "ocr"] == 7
        shown = {key[0] for key in found if key[0].startswith("toolweaver_tool_") and "_created" not in key[0]}
        assert shown == {
            "toolweaver_tool_executions_total",
            "toolweaver_tool_duration_seconds_sum",
            "toolweaver_tool_active_operations",
        }
        assert "toolweaver_active_operations" in text
    health = monitor.health()
    assert health["ok"]
    (note,) = [note for note in health["notes"] if note.startswith("prometheus: ")]
    assert "toolweaver_tool_executions_total, toolweaver_tool_duration_seconds; " in note
    assert "give the exporter a registry of its own" in note
    registry.unregister(theirs)
    registry.unregister(part)
    assert samples(exporter.text())["toolweaver_tool_executions_total", "success", "ocr"] == 1
    assert "note" not in monitor.health()["sinks"]["prometheus"]


@pytest.mark.parametrize("theirs_first", [True, False])
def test_toolweavers_own_metrics_fit_into_the_same_registry(theirs_first: bool) -> None:
    """ToolWeaver's `PrometheusBackend` has these six; whichever comes first, a scrape shows all metrics of both.

    Seen red: `toolweaver_tool_errors_total` was ours, too. Theirs first, ours was off; ours first, theirs raised.
    """
    registry = CollectorRegistry()

    def register_theirs() -> None:
        for name in ("tool_calls", "tool_errors", "search_queries", "cache_hits", "tokens"):
            Counter(f"toolweaver_{name}_total", "Theirs.", ["tool_name"], registry=registry).labels("ocr").inc(3)
        Histogram("toolweaver_tool_latency_seconds", "Theirs.", ["tool_name"], registry=registry).labels("ocr")

    if theirs_first:
        register_theirs()
    exporter = PrometheusExporter(port=0, registry=registry)
    monitor = setup(exporter)
    if not theirs_first:
        register_theirs()
    with pytest.raises(KeyError), track("ocr"):
        raise KeyError
    found = samples(exporter.text())
    assert found["toolweaver_tool_errors_total", "ocr"] == 3
    assert found["toolweaver_tool_failures_total", "KeyError", "ocr"] == 1
    status = monitor.health()["sinks"]["prometheus"]
    assert (status["state"], "note" in status) == ("ok", False)


@pytest.mark.parametrize("name", ['quo"ted', "back\\slash", "ünïcode", "line\nend", "sur\ud800rogate", "x" * 1_000])
def test_any_tool_name_can_be_parsed(name: str) -> None:
    """Whatever a tool is called, the exposition stays valid."""
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    with track(name):
        pass
    (executions,) = [
        key for key in samples(exporter.text()) if key[:2] == ("toolweaver_tool_executions_total", "success")
    ]
    assert executions[1] == "success"


def test_accounts_of_budgets_are_capped_and_their_totals_stay_exact() -> None:
    """A budget by customer has an account for each: 200 have a name, the rest are summed."""
    named = [{"name": f"c [{n}]", "account": str(n), "unit": "usd", "limit": 1.0, "spent": 0.5, "rejections": 1}
             for n in range(300)]  # fmt: skip
    calls = [{**one, "name": f"n {one['name']}", "unit": "calls", "limit": 3, "spent": 2} for one in named[:150]]
    whole = {"name": "all", "account": None, "unit": "usd", "limit": 9.0, "spent": 4.0, "rejections": 7}
    shown = {
        metric.name: {labels[0]: value for labels, value, _ in series}
        for metric, series, _ in families.read_families(families.Snapshot({}, budgets=[*named, *calls, whole]))
        if metric.name.startswith("toolweaver_budget_")
    }
    spent, rejected = shown["toolweaver_budget_spent_usd"], shown["toolweaver_budget_rejections_total"]
    assert (len(spent), len(rejected)) == (202, 202)
    assert (spent["all"], spent["__overflow__"], sum(spent.values())) == (4.0, 50.0, 154.0)
    assert shown["toolweaver_budget_limit_usd"]["__overflow__"] == 100.0
    assert (rejected["__overflow__"], sum(rejected.values())) == (250, 457)


def test_a_ctrl_c_while_it_starts_leaves_the_port_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup()` may be interrupted, and run again: no server is left that could not be stopped."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    first = PrometheusExporter(port=0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.start()
    started[0].join(5.0)
    assert not started[0].is_alive()
    second = PrometheusExporter(port=first.port)
    second.start()
    second.close()


def test_a_close_that_a_ctrl_c_interrupted_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens until it has been closed, and so it can be closed."""
    exporter = PrometheusExporter(port=0)
    exporter.start()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exporter.close()
    exporter.close()
    again = PrometheusExporter(port=exporter.port)
    again.start()
    again.close()


def zeros(text: str, tool: str) -> set[tuple[str, ...]]:
    """Return what is exposed of a tool without its buckets, all of which must be at 0."""
    found = {labels: value for labels, value in samples(text).items() if tool in labels}
    assert set(found.values()) == {0.0}
    return {labels for labels in found if not labels[0].endswith("_bucket")}


NEVER_RAN = {
    *(("toolweaver_tool_executions_total", outcome, "ocr") for outcome in ("success", "failure", "timeout")),
    ("toolweaver_tool_duration_seconds_count", "ocr"),
    ("toolweaver_tool_duration_seconds_sum", "ocr"),
    ("toolweaver_tool_active_operations", "ocr"),
}
COST = ("toolweaver_tool_cost_usd_total", "ocr")


@pytest.mark.parametrize(("cost", "shown"), [(None, NEVER_RAN), (0.1, NEVER_RAN | {COST})])
@pytest.mark.parametrize("buckets", [None, [0.1, 1]])
@pytest.mark.parametrize("decorate", [monitored, lambda name, **said: monitored(tool_name=name, **said)])
def test_a_decorated_tool_is_at_0_before_its_first_call(
    decorate: Any, buckets: list[float] | None, cost: float | None, shown: set[tuple[str, ...]]
) -> None:
    """So that `increase()` sees its first error: the first value of a series is no increase. The cost, if declared.

    Seen red: without `is_decorated=True` in `monitored`, nothing was exposed; with every cost shown, the first row.
    """
    decorate("ocr", cost=cost)(len)
    exporter = PrometheusExporter(port=0, buckets=buckets)
    setup(exporter)
    assert zeros(exporter.text(), "ocr") == shown


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_decorated_method_is_at_0_under_its_own_name(kind: Any) -> None:
    """Above `@staticmethod` and `@classmethod`, too, which are unwrapped and wrapped again.

    Seen red: with `is_decorated` not handed on to the function inside.
    """

    def ocr() -> None: ...

    monitored(kind(ocr))
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    assert zeros(exporter.text(), "ocr") == NEVER_RAN


def test_a_tool_with_a_price_is_at_0_before_its_first_call() -> None:
    """A price per call names a tool; its cost is 0 so far. A model's price names none.

    Seen red: without the table's tools in `Components.live_values`.
    """
    exporter = PrometheusExporter(port=0)
    setup(exporter, prices={"ocr": {"per_call": 0.02}, "gpt-x": {"input": 1, "output": 2}})
    assert zeros(exporter.text(), "ocr") == NEVER_RAN | {COST}
    assert "gpt-x" not in exporter.text()


def test_a_tool_that_costs_names_is_at_0_before_its_first_call() -> None:
    """With its cost. Nothing else of the orchestrator is known before.

    Seen red: without `declare_tools` in `make_options`.
    """

    class Orchestrator:
        def execute_tool(self, tool_name: str) -> None: ...

    exporter = PrometheusExporter(port=0)
    setup(exporter)
    orchestrator = instrument(Orchestrator(), costs={"ocr": 0.1})
    assert zeros(exporter.text(), "ocr") == NEVER_RAN | {COST}
    assert "execute_tool" not in exporter.text()
    uninstrument(orchestrator)


def test_what_is_only_instrumented_or_named_by_arguments_is_not_at_0() -> None:
    """A module has functions by the hundred, and names from arguments are not known before the call.

    Seen red: with every registered tool exposed.
    """

    class Orchestrator:
        def execute_tool(self) -> None: ...

    monitored(tool_name=lambda name: name)(len)
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    orchestrator = instrument(Orchestrator(), tool_name="ocr")
    assert "tool_name=" not in exporter.text()
    orchestrator.execute_tool()
    assert samples(exporter.text())["toolweaver_tool_executions_total", "success", "ocr"] == 1
    uninstrument(orchestrator)


def test_a_tool_off_by_the_switch_is_not_at_0() -> None:
    """With `enabled=False` nothing is known of it, and 0 errors would be a claim.

    Seen red: without the look at the policy.
    """
    monitored("ocr")(len)
    exporter = PrometheusExporter(port=0)
    setup(exporter, enabled=False)
    assert "ocr" not in exporter.text()


def test_open_calls_are_told_by_tool_and_in_all() -> None:
    """Also of a tool whose first call has not ended; 0 once it has.

    Seen red: without the tools that run in `list_tools`.
    """
    exporter = PrometheusExporter(port=0)
    setup(exporter)

    def active() -> dict[str, float]:
        found = samples(exporter.text())
        return {key[-1]: n for key, n in found.items() if key[0] == "toolweaver_tool_active_operations"}

    with track("agent"), track("ocr"), track("ocr"):
        assert active() == {"agent": 1, "ocr": 2}
        assert samples(exporter.text())["toolweaver_active_operations",] == 3
    assert active() == {"agent": 0, "ocr": 0}
    assert samples(exporter.text())["toolweaver_active_operations",] == 0


def test_open_calls_beyond_the_limit_of_names_are_one_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names makes no flood of gauges.

    Seen red: with the limit raised in `list_tools`.
    """
    monkeypatch.setenv("TOOLWEAVER_MONITOR_MAX_LABEL_VALUES", "1")
    exporter = PrometheusExporter(port=0)
    setup(exporter)
    with track("before the flood"):  # names that no other test has declared
        pass
    with track("one of a flood"), track("another of a flood"):
        found = samples(exporter.text())
    active = {key[-1]: n for key, n in found.items() if key[0] == "toolweaver_tool_active_operations"}
    assert active == {"before the flood": 0, "__overflow__": 2}
