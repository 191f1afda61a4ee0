"""Every metric, with its type, labels, unit and buckets. The exporters and the documentation read it here."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """A metric in Prometheus terms."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    unit: Literal["", "seconds", "usd", "tokens"] = ""
    """In which it is measured; its name then ends with it."""

    @property
    def family(self) -> str:
        """The name of the family in OpenMetrics, where only the samples of a counter end with `_total`."""
        return self.name.removesuffix("_total") if self.type == "counter" else self.name


BUCKET_EXPONENTS = tuple(range(-10, 11))
"""Buckets end at 2**e seconds, from 2**-10 (about 1 ms) to 2**10 (1,024 s): calls of models and agents take minutes.

Each is an exact sum of buckets of the base-2 histogram.
"""

BUCKETS_S = tuple(2.0**exponent for exponent in BUCKET_EXPONENTS)

TOOL = ("tool_name",)

ALWAYS_SHOWN = ("success", "failure", "timeout")
"""The outcomes in the error rate. Their series exist as soon as a tool is exposed, at 0 if need be: `increase()` does
not count the first value of a series."""

EXECUTIONS = Metric(
    "toolweaver_tool_executions_total", "counter", ("tool_name", "status"), "Calls of a tool by how they ended."
)
DURATION = Metric("toolweaver_tool_duration_seconds", "histogram", TOOL, "How long calls of a tool took.", "seconds")
COST = Metric("toolweaver_tool_cost_usd_total", "counter", TOOL, "Dollars spent on a tool.", "usd")
ACTIVE = Metric("toolweaver_active_operations", "gauge", (), "Calls that are running right now.")
ACTIVE_BY_TOOL = Metric(
    "toolweaver_tool_active_operations", "gauge", TOOL, "Calls of a tool that are running right now."
)
ERRORS_BY_TYPE = Metric(
    "toolweaver_tool_failures_total", "counter", ("tool_name", "error_type"), "Failures and timeouts by type of error."
)
TOKENS = Metric(
    "toolweaver_tool_tokens_total",
    "counter",
    ("tool_name", "type"),
    "Tokens by type. Cached ones are a part of input: never sum over all types.",
    "tokens",
)
FIRST_ITEM = Metric(
    "toolweaver_tool_time_to_first_item_seconds",
    "histogram",
    TOOL,
    "How long streams took to their first item.",
    "seconds",
)
UNPRICED = Metric(
    "toolweaver_tool_unpriced_calls_total", "counter", TOOL, "Calls that used tokens or a model and have no known cost."
)
CACHE_HITS = Metric("toolweaver_tool_cache_hits_total", "counter", TOOL, "Calls served from a cache.")
RETRIES = Metric("toolweaver_tool_retries_total", "counter", TOOL, "Second and later attempts.")
BUDGET_LIMIT = Metric("toolweaver_budget_limit_usd", "gauge", ("budget",), "The limit of a budget in dollars.", "usd")
BUDGET_SPENT = Metric(
    "toolweaver_budget_spent_usd", "gauge", ("budget",), "Dollars spent and set aside in a budget's window.", "usd"
)
BUDGET_REJECTIONS = Metric("toolweaver_budget_rejections_total", "counter", ("budget",), "Calls that a budget refused.")
SINK_CALLS = Metric(
    "toolweaver_monitor_calls_total",
    "counter",
    ("sink", "result", "reason"),
    "Calls handed to a sink: delivered, failed or dropped, and why.",
)
QUEUE_SIZE = Metric("toolweaver_monitor_queue_size", "gauge", ("sink",), "Calls that wait for a sink.")

LABELLED = (EXECUTIONS, COST, TOKENS)
"""What has the labels of `PrometheusExporter(labels=...)` as well."""

COUNTED_ELSEWHERE = (BUDGET_REJECTIONS, SINK_CALLS)
"""Counters that do not begin with the statistics of tools, so that no time of their beginning is shown."""

METRICS = (
    EXECUTIONS, DURATION, COST, ACTIVE, ACTIVE_BY_TOOL, ERRORS_BY_TYPE, TOKENS, FIRST_ITEM, UNPRICED, CACHE_HITS,
    RETRIES, BUDGET_LIMIT, BUDGET_SPENT, BUDGET_REJECTIONS, SINK_CALLS, QUEUE_SIZE,
)  # fmt: skip
