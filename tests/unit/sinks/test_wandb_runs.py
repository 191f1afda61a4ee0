"""Which W&B run a call is written to: the one of the program that was open when it ended, else the sink's own."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolweaver_monitor import get_monitor, setup, track
from toolweaver_monitor._core import clock
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.sanitize import Diagnostics
from toolweaver_monitor.sinks import WandBLogger
from toolweaver_monitor.sinks._wandb import finish_hook, timeline
from toolweaver_monitor.sinks._wandb.router import RunRouter
from toolweaver_monitor.sinks._wandb.run import WandbRun


class FakeRun:
    """A run that keeps what it is given, and takes nothing more once it is finished."""

    def __init__(self, start_time: float = 0.0) -> None:
        self.offline, self.url = False, "somewhere"
        self.start_time = start_time
        self.logged: list[float] = []
        self.summary: dict[str, Any] = {}
        self.is_finished = False

    def log(self, row: dict[str, float]) -> None:
        if self.is_finished:
            raise RuntimeError("finished")
        self.logged += [row["t/duration_sum"] if "t/calls" in row else row["t/duration"]]

    def define_metric(self, *_: object, **__: object) -> None: ...

    def finish(self) -> None:
        self.is_finished = True


class Program:
    """A program with runs, a clock that moves by a second a step, and the router of its sink."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.run = 1_000.0, None
        self.ours = FakeRun()
        self.runs: dict[str, FakeRun] = {}
        self.waiting: list[ToolCall] = []
        self.calls = 0
        self.expected: dict[str, list[float]] = {"ours": []}
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.now)
        monkeypatch.setattr(timeline, "time", SimpleNamespace(time=lambda: self.now + 5e8))
        self.router = RunRouter(
            lambda: WandbRun(self, self.ours, is_ours=True),
            lambda raw: WandbRun(self, raw, is_ours=False),
            lambda: self.run,
        )

    run: FakeRun | None

    def begin(self) -> None:
        self.run = self.runs[f"run {len(self.runs)}"] = FakeRun(self.now + 5e8)

    def call(self, *, is_ending: bool = False) -> None:
        """End a call whose duration is its number."""
        self.calls += 1
        self.waiting.append(ToolCall("t", "success", float(self.calls), self.now - self.calls))
        name = next((name for name, run in self.runs.items() if run is self.run and not is_ending), "ours")
        self.expected.setdefault(name, []).append(float(self.calls))

    def write(self) -> None:
        waiting, self.waiting = self.waiting, []
        self.router.write(waiting)

    def merge(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            self.router.merge([call])
            self.router.write(())

    def finish(self, *, in_time: bool = True, hooked: bool = True) -> None:
        raw, ended = self.run, None
        if hooked and raw is not None:
            ended = self.router.timeline.end(raw)
            self.now += 1.0
            self.call(is_ending=True)  # in another thread
            if in_time:
                self.write()
                self.router.finish_ended()
        if raw is not None:
            raw.finish()
        if ended is not None:
            ended.is_over = True
        self.run = None


STEPS = ("begin", "call", "call", "call", "write", "merge", "finish", "late", "unseen")


@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_no_call_is_in_a_run_that_was_not_open_when_it_ended(steps: Sequence[str]) -> None:
    """Whatever comes between, every call is written once; one of a run that took no more rows is in the sink's own.

    Seen red: with `until_s` not looked at in `run_of`, and with `since_s` not looked at.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        program = Program(monkeypatch)
        expected = program.expected
        in_time: set[str] = set()
        for step in steps:
            program.now += 1.0
            if step == "begin" and program.run is None:
                program.begin()
            elif step in ("call", "write", "merge"):
                getattr(program, step)()
            elif step in ("finish", "late", "unseen"):
                if step == "finish" and program.run is not None:
                    in_time.add(list(program.runs)[-1])
                program.finish(in_time=step != "late", hooked=step != "unseen")
        program.now += 1.0
        if program.run is not None:
            in_time.add(list(program.runs)[-1])
        program.write()
        logged = {name: sorted(run.logged) for name, run in program.runs.items()}
        assert {name: logged[name] for name in in_time} == {name: expected.get(name, []) for name in in_time}
        for name, durations in logged.items():
            assert set(durations) <= set(expected.get(name, []))
        everything = sorted([*program.ours.logged, *(number for each in logged.values() for number in each)])
        assert everything == [float(number) for number in range(1, program.calls + 1)]
        assert program.router.counts()[1] == program.calls


def test_calls_that_a_finished_run_no_longer_takes_are_reported_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are rows of the sink's own run, and the note in `health()` says how many, and what to do."""
    program = Program(monkeypatch)
    program.begin()
    program.call()
    program.call()
    program.finish(in_time=False)
    program.now += 1.0
    program.write()
    assert sorted(program.ours.logged) == [1.0, 2.0, 3.0]
    assert program.router.note() == (
        "2 calls ended in a W&B run that was finished before they could be written, and are in the sink's own run; "
        "call monitor.flush() before run.finish()"
    )


def test_a_batch_that_broke_off_in_a_finished_run_goes_on_in_the_sinks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was logged stays, the rest is logged once.

    Seen red: with the whole part written again, calls were doubled.
    """
    program = Program(monkeypatch)
    program.begin()
    for _ in range(3):
        program.call()
    raw, batch = program.run, program.waiting
    assert raw is not None
    monkeypatch.setattr(raw, "log", lambda row, log=raw.log: (log(row), raw.finish()) if not raw.logged else log(row))
    with pytest.raises(ConnectionError):
        program.router.write(batch)
    program.run = None
    program.router.write(batch)
    assert (raw.logged, program.ours.logged) == ([1.0], [2.0, 3.0])


def test_more_runs_than_are_remembered_are_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of many trials in one process keeps the figures of `health()`, and no more than the latest runs."""
    program = Program(monkeypatch)
    for _ in range(3 * timeline.KEPT_RUNS):
        program.begin()
        program.now += 1.0
        program.call()
        program.finish()
        program.now += 1.0
    assert program.router.counts() == (6 * timeline.KEPT_RUNS, 6 * timeline.KEPT_RUNS, 0)
    assert len(program.router.timeline.runs) == timeline.KEPT_RUNS
    assert all(len(run.logged) == 1 and run.summary["summary/total_operations"] == 1 for run in program.runs.values())


def test_a_summary_given_for_a_run_is_not_replaced_by_its_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    """`log_summary()` is for the run that is open; the next run has its own totals."""
    program = Program(monkeypatch)
    program.begin()
    program.now += 1.0
    program.call()
    program.router.set_summary({"total_operations": 7})
    program.finish()
    program.now += 1.0
    program.begin()
    program.now += 1.0
    program.call()
    program.finish()
    assert [run.summary["summary/total_operations"] for run in program.runs.values()] == [7, 1]


class Run:
    """A run of a program's, as far as the hook knows it."""

    finished = 0

    def finish(self) -> int:
        """Finish."""
        self.finished += 1
        return self.finished

    def __exit__(self, *_: object) -> None:
        self.finished += 1


def test_the_hook_runs_before_the_end_of_a_run_and_never_stands_in_its_way() -> None:
    """Wrapped once however often it is asked for; a hook that fails is counted, and the run ends.

    Seen red: with the mark left out, the hook ran twice.
    """
    told: list[int] = []

    class Watching:
        def _before_finish(self, run: Run) -> None:
            told.append(run.finished)
            raise ValueError("no")

    watching, wandb = Watching(), SimpleNamespace(Run=Run)
    finish_hook.watch(watching)
    finish_hook.wrap_methods(wandb)
    finish_hook.wrap_methods(wandb)
    errors = Diagnostics.internal_errors
    run = Run()
    assert run.finish() == 1
    run.__exit__()
    assert (told, Diagnostics.internal_errors - errors, Run.finish.__doc__) == ([0, 1], 2, "Finish.")
    finish_hook.unwatch(watching)
    assert run.finish() == 3
    assert told == [0, 1]
    finish_hook.wrap_methods(SimpleNamespace())  # a module that is only half imported
    Diagnostics.internal_errors = errors


def test_a_problem_names_the_sinks_own_note_as_the_cure() -> None:
    """`health()` says what is wrong with the run, not only that something is.

    Seen red: "fix what the error names", and no word of what that is.
    """

    class Broken:
        name = "broken"

        def write(self, calls: Sequence[ToolCall]) -> None:
            raise ConnectionError("gone")

        def flush(self) -> None: ...

        def close(self) -> None: ...

        def status(self) -> dict[str, str]:
            return {"note": "the program's own W&B run takes no more rows; restart the program"}

    with setup(Broken()) as monitor:
        with track("a"):
            pass
        monitor.flush(5)
        assert any("takes no more rows; restart the program" in problem for problem in monitor.health()["problems"])


def test_a_logger_that_was_closed_no_longer_looks_at_ends() -> None:
    """The program's runs end as if there had never been a setup."""
    sink = WandBLogger()
    with setup(sink):
        assert get_monitor() is not None
        assert sink in finish_hook._watchers
    assert sink not in finish_hook._watchers
