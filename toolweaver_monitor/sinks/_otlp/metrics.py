"""Calls as measurements of OpenTelemetry's instruments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.metrics import MeterProvider

from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor.sinks._otlp import conventions as names
from toolweaver_monitor.sinks._otlp.spans import error_type, is_model_call


class Instruments:
    """The instruments of one meter provider.

    Args:
        provider: makes the instruments.
        release: whose names they have.
    """

    def __init__(self, provider: MeterProvider, release: names.Conventions) -> None:
        meter = provider.get_meter("toolweaver_monitor", names.version())
        self._release = release
        self._tool_duration = _seconds(meter, names.TOOL_DURATION, "Seconds of tool calls")
        self._duration = _seconds(meter, release.inference_duration, "Seconds of model calls")
        self._first_chunk = _seconds(meter, release.first_chunk, "Seconds to the first item of model calls")
        self._cost = meter.create_counter(names.COST_COUNTER, "{USD}", "Dollars that calls cost")
        self._tool_tokens = meter.create_counter(
            names.TOOL_TOKENS, "{token}", "Tokens of calls that are no model calls"
        )
        if release.counts_tokens:
            self._tokens = {
                name: meter.create_counter(name, "{token}", "Tokens of model calls")
                for name in (names.INPUT_TOKENS, names.OUTPUT_TOKENS, names.CACHE_READ_TOKENS, names.CACHE_WRITE_TOKENS)
            }
        else:
            self._usage = meter.create_histogram(
                names.TOKEN_USAGE,
                "{token}",
                "Tokens of model calls",
                explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDS,
            )

    def record(self, calls: Sequence[ToolCall]) -> None:
        """Record closed calls."""
        for call in calls:
            self._record(call)

    def _record(self, call: ToolCall) -> None:
        tool: dict[str, Any] = {"gen_ai.tool.name": call.tool_name}
        error = error_type(call)
        failed = {} if error is None else {"error.type": error}
        if call.outcome != "rejected":  # it did not run
            self._tool_duration.record(call.duration_s, {**tool, "gen_ai.tool.type": "function", **failed})
        if call.cost_usd is not None:
            model = {} if call.model is None else {"gen_ai.request.model": call.model}
            self._cost.add(call.cost_usd, {**tool, **model})
        if is_model_call(call):
            self._record_model_call(call, failed)
        elif call.tokens:
            for kind in ("input", "output", "unsplit"):
                count = call._unsplit_tokens if kind == "unsplit" else getattr(call, f"{kind}_tokens")
                if count:
                    self._tool_tokens.add(count, {**tool, "toolweaver.token.type": kind})

    def _record_model_call(self, call: ToolCall, failed: dict[str, str]) -> None:
        model: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": call.provider,
            "gen_ai.request.model": call.model,
        }
        self._duration.record(call.duration_s, {**model, **failed})
        if call.first_item_s is not None:
            self._first_chunk.record(call.first_item_s, model)
        if not self._release.counts_tokens:
            self._usage.record(call.input_tokens, {**model, "gen_ai.token.type": "input"})
            self._usage.record(call.output_tokens, {**model, "gen_ai.token.type": "output"})
            return
        counts = {
            names.INPUT_TOKENS: call.input_tokens,
            names.OUTPUT_TOKENS: call.output_tokens,
            names.CACHE_READ_TOKENS: call.cached_tokens,
            names.CACHE_WRITE_TOKENS: call.cache_write_tokens,
        }
        for name, count in counts.items():
            if count:  # the providers do not tell which of them are images or audio
                self._tokens[name].add(count, {**model, "gen_ai.token.modality": "unknown"})


def _seconds(meter: Any, name: str, description: str) -> Any:
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=names.SECOND_BOUNDS)
