"""Write the pages of the reference that are made from the code; a test keeps them current.

Run `make docs`. Settings come from `config.py`, metrics, dashboard and alerts from `catalog.py`, public names from
their docstrings, the command from its own help, `llms.txt` from the index.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_overloads

import toolweaver_monitor
from toolweaver_monitor import errors, sinks, testing
from toolweaver_monitor._cli import parser
from toolweaver_monitor._cli.dashboards.panels import render_dashboard
from toolweaver_monitor._cli.dashboards.rules import Thresholds, render_rules
from toolweaver_monitor._core import config
from toolweaver_monitor._core.call import ENDED
from toolweaver_monitor.sinks._prometheus import catalog
from toolweaver_monitor.testing import faults

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- made by `make docs`: change the code, not this page -->"

ARGUMENTS = {
    "ENABLED": "`setup(enabled=)`",
    "SINKS": "`setup(*sinks)`",
    "PROMETHEUS_PORT": "`PrometheusExporter(port=)`",
    "PROMETHEUS_ADDR": "`PrometheusExporter(addr=)`",
    "BUCKETS_S": "`PrometheusExporter(buckets=)`",
    "FIRST_ITEM_BUCKETS_S": "`PrometheusExporter(first_item_buckets=)`",
    "WANDB_PROJECT": "`WandBLogger(project=)`",
    "WANDB_ENTITY": "`WandBLogger(entity=)`",
    "STORE": "`SQLiteStore(path=)`",
    "BUDGET_USD": "`setup(budget=)`",
    "SHARED": "`setup(shared=True)`",
    "MAX_OPERATIONS": "`setup(max_operations=)`",
    "REDACT": "`setup(redact=)`",
    "LOG_LEVEL": "`LogSink(level=)`",
}
TYPES = {
    config.as_bool: "yes or no",
    config.as_names: "names",
    config.as_count: "whole number from 1 up",
    config.as_port: "port",
    config.as_dollars: "dollars",
    config.as_bounds: "rising seconds",
    str: "text",
}


def settings() -> Iterator[str]:
    """The page of settings."""
    yield f"""# Settings

{MADE}

What `setup()` or a sink is given beats the environment, which beats the default. A variable that holds nothing of its
kind is an error at `setup()`, if a sink of that setup reads it. `toolweaver-monitor doctor` looks at all of them: what
is set, where it comes from, and what is misspelt.

| variable | kind | default | what it says | argument |
|---|---|---|---|---|"""
    for setting in config.SETTINGS:
        default = {True: "yes", False: "no", None: "", (): "", "": ""}.get(setting.default, setting.default)
        shown = f"`{default}`" if default != "" else ""
        argument = ARGUMENTS.get(setting.name, "")
        yield f"| `{setting.variable}` | {TYPES[setting.parse]} | {shown} | {setting.sentence} | {argument} |"
    yield """
Yes is `1 true yes on`, no is `0 false no off`; names and seconds are separated by commas.

`WANDB_*` keep the meaning that W&B gives them: `WANDB_MODE=offline` keeps runs on this machine, `WANDB_PROJECT` and
`WANDB_ENTITY` count where ours are not set."""


def metrics() -> Iterator[str]:
    """The page of metrics."""
    yield f"""# Metrics

{MADE}

## Prometheus

Base units: seconds, dollars, tokens. A scrape shows every call that ended before it.

| metric | type | labels | what it says |
|---|---|---|---|"""
    for metric in catalog.METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |"
    low, high = catalog.BUCKETS_S[0], catalog.BUCKETS_S[-1]
    yield f"""
- `status` is [how the call ended](outcomes.md): {", ".join(f"`{outcome}`" for outcome in ENDED)}.
- A tool is there from the start if `@monitored`, `costs=` or a price per call names it, at 0:
  `toolweaver_tool_executions_total` with {", ".join(map("`{}`".format, catalog.ALWAYS_SHOWN))}, its durations, and its
  cost if one is declared. So `increase()` counts its first error. It does not with `toolweaver_tool_failures_total`,
  since types of errors are not known before. Any other tool is there from its first call.
- `type` of tokens is `input`, `output`, `unsplit` or `cached`; cached ones are a part of input, so never sum over all.
- `result` is `delivered`, `failed` or `dropped`; `reason` says why.
- The buckets of both histograms are the {len(catalog.BUCKETS_S)} powers of two from {low:.7f} s to {high:,g} s. Where
  you need others, give `PrometheusExporter(buckets=..., first_item_buckets=...)`, or set
  `TOOLWEAVER_MONITOR_BUCKETS_S` and `TOOLWEAVER_MONITOR_FIRST_ITEM_BUCKETS_S`.
- At most {config.MAX_LABEL_VALUES.default:,} values of `tool_name` are told apart; the rest is `__overflow__`, and
  totals stay exact. `TOOLWEAVER_MONITOR_MAX_LABEL_VALUES` sets another number.
- `PrometheusExporter(labels=["customer", "model"])` makes labels of tags, and of the model that a call records, on
  {" and ".join(", ".join(f"`{metric.name}`" for metric in catalog.LABELLED).rsplit(", ", 1))}. They are those that
  the call and the calls around it had when it ended; a call without the tag has `""`, which for Prometheus is no
  label. At most {config.MAX_LABEL_VALUES.default:,} combinations of tool and labels are told apart; the rest has
  `__overflow__` in each of these labels, and totals stay exact.

## Weights & Biases

One row a call, plotted against `toolweaver/call`, the number of the call:

| key | what it is |
|---|---|
| `{{tool}}/duration` | seconds |
| `{{tool}}/cost` | dollars; left out where it is not known |
| `{{tool}}/tokens` | tokens |
| `{{tool}}/status` | 1 for a success, 0 for a failure or a timeout; left out for any other outcome |

While more than 2,000 calls wait, the waiting ones become one row a tool: `{{tool}}/calls`, `successes`, `failures`,
`duration_sum`, `duration_min`, `duration_max`, and the sums of `cost` and `tokens`. In the run's summary stand
`summary/total_operations`, `summary/success_rate`, `summary/total_cost` and `summary/avg_duration`;
`summary/unpriced_calls` where the cost of some is not known; and of each budget `budget/{{name}}/limit`, `spent` and
`rejections`."""


def api() -> Iterator[str]:
    """The page of public names."""
    yield "# Public names\n"
    yield MADE + "\n"
    yield "## toolweaver_monitor\n"
    for name in toolweaver_monitor.__all__:
        if name != "__version__":
            yield from _entry(name, getattr(toolweaver_monitor, name))
    yield "## toolweaver_monitor.errors\n"
    for name in ("ToolweaverMonitorError", "ConfigurationError"):
        yield from _entry(name, getattr(errors, name))
    yield "## toolweaver_monitor.sinks\n"
    for name in sinks.__all__:
        if name not in toolweaver_monitor.__all__:
            yield from _entry(name, getattr(sinks, name))
    yield "## toolweaver_monitor.testing\n"
    for name in testing.__all__:
        yield from _entry(name, getattr(testing, name))
    yield "## toolweaver_monitor.testing.faults\n"
    yield (faults.__doc__ or "").partition("\n")[0] + "\n"
    for name, thing in vars(faults).items():
        if inspect.isclass(thing) and thing.__module__ == faults.__name__:
            yield from _entry(name, thing)


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if name not in MADE_BY_US and not (inspect.isclass(thing) and issubclass(thing, BaseException)):
        ways = get_overloads(thing) if inspect.isfunction(thing) else []
        yield "```py\n" + "\n".join(name + _signature(way) for way in ways or [thing]) + "\n```\n"
    yield from _document(thing)
    if name == "ToolCall":
        yield "| field | what it is |\n|---|---|"
        yield from (f"| `{field}` | {sentence} |" for field, sentence in CALL_FIELDS.items() if hasattr(thing, field))
        yield ""
    for member in MEMBERS.get(name, "").split():
        value = inspect.getattr_static(thing, member)
        if isinstance(value, property):
            yield f"#### {name}.{member}\n"
        else:
            asynchronous = "async " if inspect.iscoroutinefunction(value) else ""
            yield f"#### {name}.{member}\n\n```py\n{asynchronous}{member}{_signature(value, method=True)}\n```\n"
        yield from _document(value)


MADE_BY_US = {"BudgetStatus", "Health", "Monitor", "Sink", "Summary", "ToolCall"}
"""Users do not call these, so their constructors are left out."""

MEMBERS = {
    "CostTracker": "record costs counts report most_expensive by by_tag of roots unpriced",
    "ErrorTracker": "record_call errors total_calls error_rate report",
    "MetricsCollector": "record operations summary by_operation cost_by_operation",
    "Monitor": "sinks closed budgets record summary report tree active health flush aflush shutdown",
    "PrometheusExporter": "port url start text close",
    "Sink": "write flush close",
    "ToolCall": "record fail budget_left",
    "ToolRecorder": "calls assert_called assert_not_called assert_no_errors call_tree clear close",
    "WandBLogger": "run log_summary close",
}
"""What is promised of each class. The rest of it is how it does it."""

CALL_FIELDS = {
    "tool_name": "safe text, at most 128 characters",
    "outcome": "`success`, `failure`, `timeout`, `cancelled`, `interrupted` (control flow, no error), `rejected` (a "
    "budget refused it: it did not run), `abandoned` (a generator dropped before its end); `open` while it runs",
    "duration_s": "seconds, from the monotonic clock",
    "started_at": "Unix seconds, a label only",
    "first_item_s": "generators: seconds to the first item",
    "items": "generators: items yielded",
    "tokens": "input, output and unsplit ones together",
    "input_tokens": "cached ones included",
    "output_tokens": "",
    "cached_tokens": "read from the provider's cache, a part of the input",
    "cache_write_tokens": "written to the provider's cache, a part of the input",
    "cost_usd": "dollars; None where it is not known, which is never taken for 0",
    "cost_source": "`reported`, `declared`, `priced`, or None",
    "model": "",
    "provider": "",
    "cached": "served from a cache",
    "attempt": "which try of a retried operation, from 1; how many there were, if all ran inside the call",
    "tags": "your own labels",
    "error_type": "the name of the exception's class",
    "error": "its text without secrets, at most 256 characters",
    "is_error": "whether it counts towards the error rate: failure or timeout",
    "arguments": "only with `setup(capture=True)`: scrubbed text",
    "result": "only with `setup(capture=True)`: scrubbed text",
    "call_id": "64 bits, as W3C span ids",
    "parent_id": "the call inside which this one was opened, or None",
    "trace_id": "128 bits, the same for all calls under one outermost call",
}


class _Unquoted(str):
    """An annotation that is shown as it was written."""

    __slots__ = ()
    __repr__ = str.__str__


def _unquoted(annotation: Any) -> Any:
    return _Unquoted(annotation) if isinstance(annotation, str) else annotation


def _signature(thing: Any, *, method: bool = False) -> str:
    """As written, but for quotes round annotations and the homes of types; one argument a line where it is long."""
    signature = inspect.signature(thing)
    parameters = [each.replace(annotation=_unquoted(each.annotation)) for each in signature.parameters.values()]
    if method and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    returned = _unquoted(signature.return_annotation)
    text = str(signature.replace(parameters=parameters, return_annotation=returned)).replace("Ellipsis", "...")
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text).removesuffix(" -> None")
    if len(text) > 90:
        text = text.replace("(", "(\n    ", 1)
        head, _, tail = text.rpartition(")")
        text = re.sub(r", (?=\*|/|\w+:|\w+=)", ",\n    ", head) + ",\n)" + tail
    return text


SECTIONS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises", "Attributes": "Attributes"}


def _document(thing: Any) -> Iterator[str]:
    """A docstring in Google's style as Markdown."""
    text = inspect.getdoc(thing) or ""
    section = ""
    for line in text.splitlines():
        title = line.strip().removesuffix(":")
        if line.endswith(":") and title in SECTIONS and not line.startswith(" "):
            section = title
            yield f"{SECTIONS[title]}:\n"
        elif section and re.match(r"    \S", line):
            named = re.match(r"    (\*{0,2}\w+(?:, \w+)*): (.*)", line)
            listed = section in ("Args", "Raises", "Attributes") and named
            yield f"- `{named[1]}`: {named[2]}" if listed and named else line.strip()
        elif section and line.startswith("     "):
            yield "  " + line.strip()
        else:
            section = section if not line or line.startswith(" ") else ""
            yield line
    yield ""


def cli() -> Iterator[str]:
    """The page of the command."""
    yield "# The command\n"
    yield MADE + "\n"
    yield "`toolweaver-monitor`, or `python -m toolweaver_monitor`.\n"
    whole = parser()
    yield f"```text\n{_help(whole)}```\n"
    for action in whole._actions:  # noqa: SLF001 - argparse has no public way to its subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, command in action.choices.items():
                yield f"## {name}\n"
                yield f"```text\n{_help(command)}```\n"
    yield """`--json` gives an object:

| key | what it is |
|---|---|
| `ok` | whether nothing is wrong; as the exit code |
| `version`, `python` | of this library, and of the interpreter |
| `settings` | each with `name`, `value`, and `source`: the variable that it comes from, or `default` |
| `findings` | each with `about` (the section), `state` (`ok`, `note`, `wrong`), `name`, `says` and `cure` |
| `prices` | as in `health()`; not with `--url` |
"""


def _help(one: argparse.ArgumentParser) -> str:
    os.environ["COLUMNS"] = "110"
    return one.format_help()


INDEX_LINE = re.compile(r"- (.+?)(?=\n- |\n\n|\Z)", re.DOTALL)
INDEX_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def llms() -> Iterator[str]:
    """The list of documents for language models, as https://llmstxt.org has it, made of the index."""
    docs = FOLDER.parent
    title, *sections = (docs / "index.md").read_text().split("\n## ")
    name, summary = title.removeprefix("# ").split("\n\n")[:2]
    yield f"# {name}\n\n> {summary}\n"
    yield 'A Python library: `pip install toolweaver_monitor`, `@monitored("name")` on a function, `setup()` once.\n'
    yield "## Start\n\n- [First steps](tutorial.md): see it work in ten minutes, from scratch"
    yield "- [Every public name](reference/api.md): signatures, arguments, what is returned and raised\n"
    for section in sections:
        heading, _, body = section.partition("\n")
        yield f"## {heading}\n"
        for line in INDEX_LINE.findall(body):
            links = INDEX_LINK.findall(line)
            if len(links) > 1:
                yield from (f"- [{text}]({link})" for text, link in links)
            else:
                name, colon, notes = INDEX_LINK.sub(r"\1", " ".join(line.split())).partition(": ")
                yield f"- [{name}]({links[0][1]}){colon}{notes}"
        yield ""


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "settings.md": settings,
    "metrics.md": metrics,
    "api.md": api,
    "cli.md": cli,
    "../llms.txt": llms,
    "../dashboards/grafana.json": lambda: iter([render_dashboard()]),
    "../dashboards/alerts.yml": lambda: iter([render_rules(Thresholds())]),
}


def page(name: str) -> str:
    """The text that a page should have."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(PAGES[name]())).rstrip() + "\n"


def main() -> int:
    """Write every page that is not current."""
    for name in PAGES:
        path, text = FOLDER / name, page(name)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
