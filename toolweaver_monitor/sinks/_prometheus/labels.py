"""Counts by tags of the user's choice: `PrometheusExporter(labels=["customer", "model"])`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from toolweaver_monitor._core import locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import Node
from toolweaver_monitor._stats.aggregator import tag_text
from toolweaver_monitor._stats.tool_stats import ToolStats
from toolweaver_monitor._text.names import OVERFLOW
from toolweaver_monitor.errors import ConfigurationError

MODEL = "model"
"""The label that a call without a tag of this name has from the model that it recorded."""
RESERVED = ("tool_name", "status", "type", "le", "error_type")
LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Row = tuple[str, ...]
"""A tool, then the value of each label; "" stands for calls without such a tag."""


class LabelledCounts:
    """The statistics of every tool by the values of its labels, counted call by call as batches come in.

    A call has the tags that it and the calls around it had when it ended: a counter never goes down. At most `max_rows`
    combinations of tool and values are told apart. Beyond, a call has `__overflow__` in each label, so that totals stay
    exact, whatever is in the tags.

    Args:
        labels: the keys of the tags.
        max_rows: the most combinations.
    """

    def __init__(self, labels: tuple[str, ...], max_rows: int) -> None:
        self.labels = labels
        self._max_rows = max_rows
        self._lock = locks.new_rlock("labels")
        self._none = ("",) * len(labels)
        self._over = (OVERFLOW,) * len(labels)
        self._forget()
        locks.after_fork_in_child_weak(self, LabelledCounts._forget)

    def _forget(self) -> None:
        self._rows: dict[Row, ToolStats] = {}
        self._told_apart = 0

    def count(self, calls: Sequence[ToolCall]) -> None:
        """Count a batch of closed calls."""
        groups: defaultdict[tuple[Node | None, str | None], list[ToolCall]] = defaultdict(list)
        reads_model = MODEL in self.labels
        for call in calls:
            groups[call._node, call.model if reads_model else None].append(call)
        with self._lock:
            for (node, model), group in groups.items():
                tool = group[0].tool_name if node is None else node.counts_at.key.tool_name
                stats = self._row(tool, self._values(node, model))
                declared = None if node is None else node.key.cost_nanousd
                stats.usage.add_details(stats.count(group, declared, runs=0))

    def rows(self) -> dict[Row, ToolStats]:
        """Return a copy of what has been counted."""
        with self._lock:
            rows = {row: stats.copy() for row, stats in self._rows.items()}
        return rows  # noqa: RET504 - see tests/unit/test_locks.py

    def _values(self, node: Node | None, model: str | None) -> Row:
        tags = {} if node is None else node.tags
        return tuple(
            [tag_text(key, tags[key]) if key in tags else (model or "") if key == MODEL else "" for key in self.labels]
        )

    def _row(self, tool: str, values: Row) -> ToolStats:
        stats = self._rows.get((tool, *values))
        if stats is None:
            if values not in (self._none, self._over):
                if self._told_apart >= self._max_rows:
                    return self._row(tool, self._over)
                self._told_apart += 1
            stats = self._rows[tool, *values] = ToolStats()
        return stats


def validate_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of the tags that are labels.

    Raises:
        ConfigurationError: one cannot be the name of a label, or is there twice.
    """
    keys = () if isinstance(labels, str) or not isinstance(labels, Iterable) else tuple(labels)
    hint = 'give the keys of a few tags, such as labels=["customer", "model"]'
    if not keys and labels not in ((), []):
        raise ConfigurationError(f"labels={labels!r} is not a list of tags", hint=hint)
    for key in keys:
        if not isinstance(key, str) or not LABEL_NAME.fullmatch(key):
            hint = "give a tag whose key has letters, digits and _ only, and does not begin with __"
            raise ConfigurationError(f"{key!r} cannot be a label in Prometheus", hint=hint)
        if key in RESERVED:
            raise ConfigurationError(f"the label {key!r} is there already", hint="give the tag another key")
    if len(set(keys)) < len(keys):
        raise ConfigurationError(f"labels={list(keys)!r} names a tag twice", hint="give each once")
    return keys
