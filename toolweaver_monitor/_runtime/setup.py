"""Connect instrumented tools to sinks: `setup()`, `get_monitor()`, `flush()` and `shutdown()`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from toolweaver_monitor._budget import Budget
from toolweaver_monitor._bus import process_exit, sigterm
from toolweaver_monitor._bus.bus import Consumer, bus
from toolweaver_monitor._bus.policy import CallPolicy
from toolweaver_monitor._bus.sink_runner import Gate, SinkRunner
from toolweaver_monitor._bus.worker import MAY_HAVE_THREADS
from toolweaver_monitor._core import config, known_results, locks
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.context_tree import ContextTree, TagRedaction
from toolweaver_monitor._core.figure_notes import FigureNotes
from toolweaver_monitor._core.sanitize import TagValue
from toolweaver_monitor._core.timeouts import validate_timeout
from toolweaver_monitor._instrument import results
from toolweaver_monitor._instrument.patching.background_tasks import patch_background_tasks
from toolweaver_monitor._instrument.tool import validate_control_flow, validate_tags
from toolweaver_monitor._runtime.components import Components, Fault
from toolweaver_monitor._runtime.enrichment import CallEnricher, truncate
from toolweaver_monitor._runtime.monitor import Monitor
from toolweaver_monitor._runtime.options import (
    Options,
    assign_names,
    make_dashboard,
    make_ledger,
    make_sink,
    setup_keyword_hint,
    validate_error_text,
    validate_flags,
)
from toolweaver_monitor._runtime.page import make_page
from toolweaver_monitor._runtime.shared_budgets import share_budgets
from toolweaver_monitor._stats.aggregator import StatsAggregator
from toolweaver_monitor._text.display import pluralize
from toolweaver_monitor._text.guesses import suggest_keywords
from toolweaver_monitor._text.names import declared_names
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor._text.safe_repr import ErrorTextSource, fault_text, hint_text
from toolweaver_monitor._usage.counted_ids import forget_ids
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._base import SetupAware, SetupContext, Sink
from toolweaver_monitor.sinks._memory.costs import CostTracker
from toolweaver_monitor.sinks._memory.errors import ErrorTracker
from toolweaver_monitor.sinks._memory.metrics import MetricsCollector
from toolweaver_monitor.sinks._memory.view import InMemorySink, validate_max_operations

if TYPE_CHECKING:
    from toolweaver_monitor._runtime.shared_workers import SharedWorkers
    from toolweaver_monitor.sinks._dashboard import Dashboard

log = logging.getLogger("toolweaver_monitor")

_current: Monitor | None = None
_has_warned = False
"""Whether this process was told that a second `setup()` begins from 0."""
_setup_lock = locks.new_rlock("setup")


@suggest_keywords(setup_keyword_hint)
def setup(
    *sinks: Sink | Callable[[ToolCall], object] | Literal["prometheus", "wandb", "otlp", "sqlite", "log"],
    budget: float | Budget | Sequence[Budget] | None = None,
    prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    tags: Mapping[str, TagValue] | None = None,
    usage: bool = True,
    capture: bool = False,
    control_flow: type[BaseException] | Sequence[type[BaseException]] = (),
    error_text: ErrorTextSource = "str",
    redact: bool | None = None,
    max_operations: int | None = None,
    enabled: bool | None = None,
    dashboard: int | Dashboard | None = None,
    shared: bool | None = None,
) -> Monitor:
    """Start monitoring: every monitored call from now on goes to these sinks.

    In-memory metrics, costs and errors are always there. A second call flushes, closes and replaces the earlier setup;
    a sink object that is passed again continues to work. Figures and budgets start from 0 then, which a WARNING in the
    log says if there were any.

    Args:
        *sinks: `Sink` objects, callables that take a `ToolCall`, or the names `"prometheus"`, `"wandb"`, `"otlp"`,
            `"sqlite"` and `"log"`, which are configured by the environment. Without any, `TOOLWEAVER_MONITOR_SINKS`
            names them; if it is not set, calls are kept in memory only.
        budget: dollars that this run may spend, a `Budget`, or several.
        prices: your own price table, or the JSON or TOML file that holds it; dollars per million tokens.
        tags: your own labels for every call.
        usage: read tokens and cost from results.
        capture: keep arguments and results as scrubbed text.
        control_flow: classes of exceptions, one or several, that are control flow and no errors of any tool: a call
            that raises one is `interrupted`.
        error_text: `"str"` records what `str(error)` returns, so an exception whose `__str__` takes long delays its own
            call. `"args"` runs no code of the exception: it records the arguments, and of a class with a `__str__` of
            its own only the name.
        redact: remove secrets from error texts and tags. Default: yes.
        max_operations: how many of the last calls are kept in memory. Default: 10,000; totals are all-time in any case.
        enabled: whether to monitor at all. Default: yes.
        dashboard: the port on this machine at which the page is served, or a `Dashboard`, which has a token, TLS and
            other addresses; True is port 8050. A `PrometheusExporter` serves the page without it.
        shared: join the worker processes of a server or a pool on this machine: each of them answers a scrape for all,
            and budgets hold over all. Default: if `TOOLWEAVER_MONITOR_SHARED` names a folder.

    Returns:
        The `Monitor`: statistics, health, flush and shutdown.

    Raises:
        ConfigurationError: an argument cannot be used, or `setup()` is called inside itself; the message ends with the
            cure. A fault of the environment (a package missing, logged out, a port taken) never raises: it is logged in
            one line and shown by `health()`.
    """
    if _setup_lock._is_owned():  # type: ignore[attr-defined]
        raise ConfigurationError(
            "setup() was called while another is still under way on this thread, by a signal handler or a sink",
            hint="have the handler set a flag, and call setup() after this one",
        )
    validate_flags(usage=usage, capture=capture, redact=redact, enabled=enabled, shared=shared)
    validate_error_text(error_text)
    given = list(map(make_sink, sinks or config.SINKS.value()))
    options = Options(
        sinks=list({id(sink): sink for sink in (*given, *make_dashboard(dashboard))}.values()),
        max_operations=validate_max_operations(config.MAX_OPERATIONS.value(max_operations)),
        max_names=config.MAX_LABEL_VALUES.value(),
        tags=validate_tags(tags),
        ledger=make_ledger(config.BUDGET_USD.value(None) if budget is None else budget),
        book=PriceBook(prices),
        usage=usage,
        capture=capture,
        control_flow=validate_control_flow(control_flow),
        error_text=error_text,
        scrubbing=config.REDACT.value(redact),
        enabled=config.ENABLED.value(enabled),
        shared=shared,
    )
    sigterm.handled = config.HANDLE_SIGTERM.value()
    if options.enabled:
        patch_background_tasks()
    with _setup_lock:
        _finish_interrupted()
        return _replace(options)


def _replace(options: Options) -> Monitor:
    """Send calls to the new sinks, end the earlier setup, then start the new sinks. In this order no call is lost."""
    earlier = None if _current is None or _current.closed else _current
    enricher = CallEnricher(options.scrubbing, options.book)
    aggregator = StatsAggregator(
        options.max_operations, options.max_names, before_read=enricher.drain, open_calls=bus.open_calls
    )
    enricher.inside = aggregator.inside
    gate = Gate()
    components = _make_components(options, earlier, gate)
    monitor = Monitor(components, _release)
    all_sinks = (components.metrics, components.costs, components.errors, *options.sinks)
    if components.workers is not None:
        all_sinks = (*all_sinks, components.workers.exporter)
    in_memory = list(dict.fromkeys(sink for sink in all_sinks if isinstance(sink, InMemorySink)))
    consumers: list[Consumer] = [aggregator.add_batch]
    consumers += [sink._observe for sink in in_memory if sink._sees_calls]

    def switch() -> None:
        global _current  # noqa: PLW0603 - with the switch of the bus, at one moment
        for sink in in_memory:
            sink._attach(aggregator, monitor._by_hand)
        _publish_policy(options)
        _current = monitor

    try:
        process_exit.register(monitor)
        bus.attach(consumers, components.runners, enricher.enrich, on_switch=switch)
        if MAY_HAVE_THREADS:
            options.book.on_loaded = bus._dispatcher.wake  # a call that waits for its price holds a reserve
            options.book.start_loading()
        if earlier is not None:
            earlier._replace_with(monitor)  # before the new sinks start: they may want the same port or file
            _warn_of_losses(earlier, monitor)
        if components.workers is not None:
            components.workers.start(_context(components))
        for name, sink in components.sinks.items():
            _start(sink, name, components)
    finally:
        gate.shut_by = None  # even a Ctrl-C leaves a setup that works
    for runner in components.runners:
        runner.worker.wake()
    return monitor


def _warn_of_losses(earlier: Monitor, monitor: Monitor) -> None:
    """Log a warning, once, if figures, or what budgets had spent, start from 0 because a setup was replaced."""
    global _has_warned  # noqa: PLW0603 - once a process: a notebook's cell is run often
    if _has_warned:
        return
    losses = []
    calls = earlier.metrics.summary()["count"] if earlier.metrics is not monitor.metrics else 0
    if calls:
        losses.append(f"the figures of {pluralize(calls, 'call')}")
    goes_on = monitor._components.shared is not None  # the sums of all but budgets per run are in the store
    if any(entry["spent"] and not (goes_on and entry["per"] != "run") for entry in earlier._components.budgets()):
        losses.append("what its budgets had spent")
    if losses:
        _has_warned = True
        log.warning(
            "setup() was called again: %s start from 0; call it once, or shutdown() before a new run",
            " and ".join(losses),
        )


def _make_components(options: Options, earlier: Monitor | None, gate: Gate) -> Components:
    """Create what the options ask for; a sink of the earlier setup keeps its runner, and with it its queue."""
    kept = {} if earlier is None else {id(runner.sink): runner for runner in earlier._components.runners}
    sinks = dict(assign_names(options.sinks))
    runners: list[SinkRunner] = []
    for name, sink in sinks.items():
        if not isinstance(sink, InMemorySink):
            runner = kept.get(id(sink)) or SinkRunner(sink, name, gate=gate)
            runner.name = name
            runners.append(runner)
    workers, faults = _join_workers(options, earlier)
    return Components(
        metrics=_first_of(options.sinks, MetricsCollector) or MetricsCollector(options.max_operations),
        costs=_first_of(options.sinks, CostTracker) or CostTracker(),
        errors=_first_of(options.sinks, ErrorTracker) or ErrorTracker(),
        sinks=sinks,
        runners=tuple(runners),
        ledger=options.ledger,
        shared=share_budgets(options.ledger, options.sinks, workers),
        workers=workers,
        faults=faults,
        prices=options.book,
    )


def _first_of(sinks: Sequence[Any], kind: type[Any]) -> Any:
    """Return the first sink of a class, or None."""
    return next((sink for sink in sinks if isinstance(sink, kind)), None)


def _finish_interrupted() -> None:
    """End what a Ctrl-C in an earlier setup or shutdown left half ended: it may still hold a port and threads."""
    left = [monitor for monitor in process_exit.registered() if isinstance(monitor, Monitor)]
    if any(monitor.closed or monitor is not _current for monitor in left):
        bus.drain()  # the switch to the interrupted setup may still be pending
    for monitor in left:
        if monitor.closed or _current is None:
            monitor.shutdown()
        elif monitor is not _current:
            monitor._replace_with(_current)


def _publish_policy(options: Options) -> None:
    """Store, all at once, what calls need to know of the setup when they open and close."""
    tree = ContextTree(options.max_names)
    if options.ledger is not None and options.ledger.needs_tags:
        tree.on_tags = options.ledger.move
    bus.configure(
        CallPolicy(
            tree=tree,
            on=options.enabled,
            tags=options.tags,
            needs_tags=options.ledger is not None and options.ledger.needs_tags,
            capture=options.capture,
            control_flow=options.control_flow,
            error_text=options.error_text,
            read_results=options.usage,
            priced_tools=options.book.tools,
            price=options.book.cost_nanousd,
            admit=options.ledger.admit if options.ledger is not None else None,
            charge=options.ledger.charge if options.ledger is not None else None,
            digest=options.ledger.digest if options.ledger is not None else None,
            on_first_call=_in_child if process_exit.is_child() else None,
        )
    )
    declared_names.update(options.book.tools)
    known_results.forget_all()
    forget_ids()
    FigureNotes.forget()
    TagRedaction.scrub = scrub if options.scrubbing else truncate
    results.set_usage_reading(options.usage)


def _release(monitor: Monitor) -> None:
    """Withdraw the policy of a setup, unless another setup has replaced it."""
    if monitor is not _current:
        return
    bus.detach()
    bus.configure(CallPolicy())
    results.set_usage_reading(True)


def _start(sink: Any, name: str, components: Components) -> None:
    """Start a sink that has `start()`; a fault of the environment is logged once, and kept for `health()`."""
    try:
        if isinstance(sink, SetupAware):
            sink._connect(_context(components))
        start = getattr(sink, "start", None)
        if callable(start):
            start()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - no fault of the environment stops the program
        fault = Fault(fault_text(error), hint_text(error))
        components.faults[name] = fault
        log.warning("sink %r is off: %s", name, fault.text)
        for runner in components.runners:
            if runner.name == name:
                runner.disable(error)


def _context(components: Components) -> SetupContext:
    parts = (components.live_values, process_exit.run_first, components.flush_sink)
    shared = components.workers.tallies if components.workers is not None else None
    return SetupContext(*parts, partial(make_page, components), shared)


def _join_workers(options: Options, earlier: Monitor | None) -> tuple[SharedWorkers | None, dict[str, Fault]]:
    """Return this process among the workers that are joined, and what went wrong."""
    given = options.shared
    if not options.enabled or given is False or (given is None and not config.SHARED.value()):
        return None, {}
    from toolweaver_monitor._runtime.shared_workers import join_workers  # 30 ms: an exporter, and SQLite for budgets

    try:
        return join_workers(given, options.sinks, None if earlier is None else earlier._components.workers), {}
    except SinkUnavailable as error:
        fault = Fault(fault_text(error), hint_text(error))
        log.warning("workers are not joined, each counts for itself: %s", fault.text)
        return None, {"shared": fault}


def get_monitor() -> Monitor | None:
    """Return the monitor of the last `setup()`; None before it and after `shutdown()`."""
    return None if _current is None or _current.closed else _current


def last_monitor() -> Monitor | None:
    """Return the monitor of the last `setup()`, even if it has ended; None before the first one."""
    return _current


def flush(timeout: float = 2.0) -> bool:
    """Write every call that ended before now to every sink; see `Monitor.flush`. Returns True if nothing is set up."""
    validate_timeout(timeout)
    monitor = get_monitor()
    return monitor.flush(timeout) if monitor is not None else True


def shutdown(timeout: float = 2.0) -> bool:
    """End the current setup; see `Monitor.shutdown`. Returns True if nothing is set up."""
    validate_timeout(timeout)
    monitor = get_monitor()
    return monitor.shutdown(timeout) if monitor is not None else True


def _in_child() -> None:
    """Start the dispatcher, and have the end of a multiprocessing child deliver its calls. Runs at its first call."""
    bus.configure(on_first_call=None)
    process_exit.register_in_child()
    bus.wake()
    workers = _current._components.workers if _current is not None else None
    if workers is not None:
        workers.wake()


def _after_fork() -> None:
    if bus.policy.on:
        bus.configure(on_first_call=_in_child)


locks.after_fork_in_child(_after_fork)
