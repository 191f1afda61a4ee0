"""The arguments that `setup()` accepts."""

from __future__ import annotations

from functools import partial

import pytest

from toolweaver_monitor import Budget, CostTracker, ErrorTracker, MetricsCollector, ToolCall
from toolweaver_monitor._runtime.options import assign_names, make_ledger, make_sink
from toolweaver_monitor.errors import ConfigurationError
from toolweaver_monitor.sinks import LogSink, PrometheusExporter, WandBLogger
from toolweaver_monitor.testing.faults import KeepSink


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prometheus", PrometheusExporter),
        ("wandb", WandBLogger),
        ("log", LogSink),
        ("metrics", MetricsCollector),
        ("costs", CostTracker),
        ("errors", ErrorTracker),
    ],
)
def test_a_name_stands_for_a_sink_with_its_defaults(name: str, kind: type) -> None:
    """`setup("prometheus")` is `setup(PrometheusExporter())`."""
    sink = make_sink(name)
    assert isinstance(sink, kind)
    assert sink.name == name


def test_a_callable_goes_by_its_own_name() -> None:
    """In `health()` and on `/metrics`; what has none goes by its type."""

    def keep(call: ToolCall) -> None: ...

    assert make_sink(keep).name == "keep"
    assert make_sink(partial(keep)).name == "partial"


def test_a_sink_is_taken_as_it_is() -> None:
    """The user's own object, not a copy."""
    sink = LogSink()
    assert make_sink(sink) is sink
    assert [name for name, _ in assign_names([sink, LogSink(), LogSink()])] == ["log", "log-2", "log-3"]


def test_no_two_sinks_share_a_name_even_if_one_is_called_what_another_would_be() -> None:
    """Each has its own books in `health()`."""
    sinks = [KeepSink(name) for name in ("a", "a", "a-2", "a")]
    assert [name for name, _ in assign_names(sinks)] == ["a", "a-2", "a-2-2", "a-3"]


def test_a_budget_is_dollars_a_budget_or_several() -> None:
    """None at all is no limit."""
    assert make_ledger(None) is None
    for given in (5.0, Budget(limit_usd=5.0), [Budget(limit_usd=5.0), Budget(limit_calls=9)]):
        ledger = make_ledger(given)
        assert ledger is not None
        assert ledger.status()[0]["limit"] == 5.0
    with pytest.raises(ConfigurationError, match="a list of Budgets"):
        make_ledger([5.0])
