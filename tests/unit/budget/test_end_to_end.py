"""Monitored tools under a budget, and the places that show it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ledger_kit import Clock
from prometheus_client.parser import text_string_to_metric_families

from toolweaver_monitor import Budget, BudgetExceeded, current_call, monitored, setup, track
from toolweaver_monitor._budget import ledger as ledger_module
from toolweaver_monitor._core import locks
from toolweaver_monitor.sinks import PrometheusExporter
from toolweaver_monitor.sinks._wandb.rows import to_summary_row
from toolweaver_monitor.testing import ToolRecorder

NEVER_SHOWN = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"


@pytest.mark.parametrize("reserve", [None, 0.01], ids=["declared", "reserved"])
def test_1000_tasks_of_a_cent_against_5_dollars_run_exactly_500_times(reserve: float | None) -> None:
    """All at once, through the decorator: the rest is refused before it runs, and says why."""
    ran: list[int] = []

    @monitored("ocr", cost=None if reserve else 0.01)
    async def ocr() -> None:
        ran.append(1)
        await asyncio.sleep(0.001)
        if reserve:
            current_call().record(cost=0.01)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(ocr() for _ in range(1_000)), return_exceptions=True)

    with ToolRecorder(budget=Budget(limit_usd=5.00, reserve=reserve)) as recorder:
        answers = asyncio.run(all_at_once())
        refusals = [answer for answer in answers if isinstance(answer, BudgetExceeded)]
        assert (len(ran), len(refusals)) == (500, 500)
        assert {refusal.spent for refusal in refusals} == {5.0}
        summary = recorder.monitor.summary()
        assert (summary["total_cost_usd"], summary["count"], summary["failures"]) == (5.0, 1_000, 0)
        assert recorder.monitor.costs.by("tool")["ocr"]["rejected"] == 500


def test_1000_calls_in_threads_of_a_cent_against_5_dollars_run_exactly_500_times() -> None:
    """The same from eight threads, whatever they do in between."""
    ran: list[int] = []

    @monitored("ocr", cost=0.01)
    def ocr() -> None:
        ran.append(1)

    def call(_: int) -> bool:
        try:
            ocr()
        except BudgetExceeded:
            return False
        return True

    with ToolRecorder(budget=Budget(limit_usd=5.00)) as recorder:
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(call, range(1_000))) == len(ran) == 500
        assert recorder.monitor.summary()["total_cost_usd"] == 5.0


async def test_what_a_stream_records_stops_others_while_it_runs() -> None:
    """A long answer that grows expensive leaves no room, and other calls are rejected before it ends."""

    @monitored("chat")
    async def stream() -> Any:
        for _ in range(3):
            current_call().record(cost=0.4)
            yield "chunk"

    @monitored("ocr", cost=0.4)
    async def ocr() -> str:
        return "text"

    with ToolRecorder(budget=Budget(limit_usd=1.0)):
        items = stream()
        await anext(items)
        assert await ocr() == "text"
        await anext(items)
        with pytest.raises(BudgetExceeded, match=r"\$0\.40 of \$1\.00 spent, \$0\.80 set aside for"):
            await ocr()
        await items.aclose()


def test_a_refused_call_does_not_run_is_recorded_as_rejected_and_is_no_error() -> None:
    """The tool's function is never entered; error rate and durations do not see it."""
    ran: list[int] = []

    @monitored("ocr")
    def ocr() -> None:
        ran.append(1)

    with ToolRecorder(budget=Budget(limit_calls=1, name="once")) as recorder:
        ocr()
        with pytest.raises(BudgetExceeded) as caught:
            ocr()
        assert ran == [1]
        error = caught.value
        assert (error.budget, error.limit, error.spent, error.asked, error.unit) == ("once", 1, 1, 1, "calls")
        assert error.frees_in_s is None
        assert [call.outcome for call in recorder.calls()] == ["success", "rejected"]
        assert recorder.monitor.errors.error_rate("ocr") == 0.0
        with pytest.raises(BudgetExceeded), track("ocr"):
            ran.append(2)
        assert ran == [1]


def test_a_window_frees_by_the_monotonic_clock_for_monitored_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute later there is room, whatever the wall clock did meanwhile."""
    clock = Clock()
    monkeypatch.setattr(ledger_module.Ledger.__init__, "__kwdefaults__", {"now": clock, "wall_s": clock})

    @monitored("ocr", cost=0.01)
    def ocr() -> None:
        pass

    with ToolRecorder(budget=Budget(limit_usd=0.02, per="minute")):
        ocr()
        ocr()
        with pytest.raises(BudgetExceeded) as caught:
            ocr()
        assert caught.value.frees_in_s is not None
        clock.now_s += caught.value.frees_in_s
        ocr()


def test_budgets_are_seen_in_prometheus_health_the_report_and_wandb() -> None:
    """Limit, spent and rejections by name, the same everywhere; each account of a tag under a name of its own."""
    exporter = PrometheusExporter(port=0)
    monitor = setup(
        exporter,
        budget=[
            Budget(limit_usd=1.0, name="all"),
            Budget(limit_usd=0.05, limit_calls=10, tag="customer"),
            Budget(limit_usd=9.0, per="day", tool="ocr", name='odd "name" \\'),
        ],
    )

    @monitored("ocr", cost=0.02)
    def ocr() -> None:
        pass

    for customer in ("acme", "new\nline", NEVER_SHOWN):
        for _ in range(3):
            try:
                with track("receipt", customer=customer):
                    ocr()
            except BudgetExceeded:
                pass
    seen: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(exporter.text()):
        for sample in family.samples:
            if sample.name.startswith("toolweaver_budget_"):
                assert sample.labels["budget"] not in seen.setdefault(sample.name, {})
                seen[sample.name][sample.labels["budget"]] = sample.value
    spent = seen["toolweaver_budget_spent_usd"]
    assert spent["all"] == 0.12
    assert spent['odd "name" \\'] == 0.12
    assert spent["usd+calls/run by customer usd [acme]"] == 0.04
    assert spent["usd+calls/run by customer usd [new\nline]"] == 0.04
    assert seen["toolweaver_budget_limit_usd"]["all"] == 1.0
    assert seen["toolweaver_budget_rejections_total"]["usd+calls/run by customer usd [acme]"] == 1
    assert NEVER_SHOWN not in exporter.text()

    entries = {entry["name"]: entry for entry in monitor.health()["budgets"]}
    assert {name: entry["spent"] for name, entry in entries.items() if entry["unit"] == "usd"} == spent
    assert NEVER_SHOWN not in repr(entries)

    report = monitor._text()
    assert (
        "usd+calls/run by customer usd [acme]: 1 call was not run; raise the limit (what is left is too little"
        in report
    )
    assert NEVER_SHOWN not in report

    row = to_summary_row({**monitor.summary(), "budgets": monitor.health()["budgets"]})
    assert (row["budget/all/spent"], row["budget/all/limit"], row["budget/all/rejections"]) == (0.12, 1.0, 0)
    monitor.shutdown()


def test_wandb_is_told_of_the_budgets_at_the_end() -> None:
    """The run's summary gets them with the four figures."""

    class Told:
        name = "told"

        def __init__(self) -> None:
            self.summary: dict[str, Any] = {}

        def write(self, calls: Any) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...
        def log_summary(self, summary: dict[str, Any]) -> None:
            self.summary = summary

    sink = Told()
    monitor = setup(sink, budget=1.0)
    with track("ocr") as call:
        call.record(cost=0.25)
    monitor.shutdown()
    assert to_summary_row(sink.summary)["budget/usd/run/spent"] == 0.25


def test_the_ledgers_lock_is_one_of_those_a_fork_renews() -> None:
    """A lock that a fork could leave held forever is in the list that the fault tests go through."""
    monitor = setup(budget=[Budget(limit_usd=1.0), Budget(limit_calls=5)])
    assert monitor._components.ledger is not None
    assert monitor._components.ledger._lock in locks.live_locks()["budget ledger"]
    assert isinstance(
        monitor._components.ledger._lock, type(threading.RLock())
    )  # a signal handler may meet it on its own thread


@pytest.mark.parametrize(
    "budget", [-1, float("nan"), float("inf"), "5", True, [5.0], [Budget(limit_usd=1), Budget(limit_usd=2)]]
)
def test_a_budget_that_makes_no_sense_stops_setup_and_leaves_what_ran_before(budget: Any) -> None:
    """Told at once, with the cure; the earlier setup goes on."""
    monitor = setup()
    with pytest.raises(ValueError, match=r"give|wants|remove"):
        setup(budget=budget)
    with track("ocr"):
        pass
    assert monitor.summary()["count"] == 1


def test_a_budget_of_0_lets_only_free_calls_run() -> None:
    """Nothing may be spent: what is declared to cost nothing runs, anything else does not."""

    @monitored("free", cost=0)
    def free() -> str:
        return "ran"

    @monitored("unknown")
    def unknown() -> str:
        return "ran"

    with ToolRecorder(budget=Budget(limit_usd=0)):
        assert free() == "ran"
        with pytest.raises(BudgetExceeded, match=r"of \$0\.00 spent, cost of this call unknown"):
            unknown()


def test_a_report_names_the_customers_that_are_worst_off_and_not_thousands() -> None:
    """Each customer has an account of its own; the refused and the nearly spent are shown, the rest is a number."""
    monitor = setup(budget=Budget(limit_usd=1, tag="customer"))
    for number in range(100):
        with track("ocr", customer=f"c{number}") as call:
            call.record(cost=number / 100)
    with track("receipt", customer="c50") as call:
        call.record(cost=1)
        with pytest.raises(BudgetExceeded), track("ocr"):
            pass
    shown = monitor._text().split("Budgets\n")[1].splitlines()
    assert [line.split("[")[1].split("]")[0] for line in shown[1:21]] == ["c50", *(f"c{n}" for n in range(99, 80, -1))]
    assert shown[21] == "  and 80 more: report(limit=None) shows all"
    assert "[c50]: 1 call was not run; raise the limit" in shown[22]


def test_a_report_does_not_round_a_small_budget_to_nothing() -> None:
    """Tenths of a cent's cent are money, too."""
    monitor = setup(budget=Budget(limit_usd=0.00005))
    with track("ocr") as call:
        call.record(cost=0.00002)
    line = monitor._text().split("Budgets\n")[1].splitlines()[1]
    assert line.split() == ["usd/run", "$0.00005", "$0.00002", "$0.00003", "0"]
