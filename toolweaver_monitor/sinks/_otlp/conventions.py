"""The names of OpenTelemetry's conventions for generative AI, by their release, and this library's own beside them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Literal, NamedTuple

Release = Literal["genai-0.1.0", "semconv-1.41.0"]


class Conventions(NamedTuple):
    """The names that differ between releases. All of these conventions are still in development."""

    inference_duration: str
    """Histogram of seconds of model calls."""
    first_chunk: str
    """Histogram of seconds to the first item of a stream."""
    counts_tokens: bool
    """Whether tokens are counters by direction, or one histogram with `gen_ai.token.type`."""


RELEASES: Mapping[Release, Conventions] = {
    # github.com/open-telemetry/semantic-conventions-genai, the first release of its own
    "genai-0.1.0": Conventions(
        "gen_ai.client.inference.duration", "gen_ai.client.inference.time_to_first_chunk", counts_tokens=True
    ),
    # github.com/open-telemetry/semantic-conventions, the last one with these conventions in it
    "semconv-1.41.0": Conventions(
        "gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk", counts_tokens=False
    ),
}

TOOL_DURATION = "gen_ai.execute_tool.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 - tokens of a model
INPUT_TOKENS = "gen_ai.client.inference.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.client.inference.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.client.inference.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.client.inference.usage.cache_write.input_tokens"

COST_COUNTER = "toolweaver.cost"
"""Counter of dollars of all calls, in this library's own name: the conventions have none for money."""
TOOL_TOKENS = "toolweaver.usage.tokens"
"""Counter of tokens of calls that are no model calls, so that no token is in two sums."""

SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""Bounds of buckets, 0.01 to 81.92 s, as both releases recommend for durations."""
TOKEN_BOUNDS = tuple(float(4**power) for power in range(14))
"""Bounds of buckets, 1 to 67,108,864 tokens, as semconv 1.41.0 recommends."""


def version() -> str:
    """Return the version of this library as it is installed; empty if it is not."""
    try:
        return metadata.version("toolweaver_monitor")
    except metadata.PackageNotFoundError:
        return ""
