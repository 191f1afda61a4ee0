"""When is a sink that failed tried again, and when is a batch given up?

After each failure the wait grows, with full jitter, so that not all processes come back at once; after five in a row
the circuit breaker opens, and the sink is only tried now and then.
"""

from __future__ import annotations

import os
import time
from typing import Literal, NamedTuple

State = Literal["ok", "degraded", "breaker_open", "unavailable"]

FIRST_RETRY_S = 1.0
"""The longest wait after the first failure; it doubles with each further one."""
BREAKER_AFTER = 5
BREAKER_OPEN_S = 30.0
TRIES = 5
"""A batch that failed this often is given up, so that one poisonous call cannot stop the rest."""
LAST_TRIES = 3
"""The same for a sink that is being closed; if the batch after that fails as well, the sink is given up."""


class SinkState(NamedTuple):
    """How a sink is doing. A new one after each write, so that it changes by one store."""

    state: State
    failures_in_a_row: int = 0
    not_before: float = 0.0
    """When it may be tried again, as a moment of `time.monotonic()`."""

    def after_failure(self) -> SinkState:
        """How it is doing once it has failed another time."""
        in_a_row = self.failures_in_a_row + 1
        if in_a_row >= BREAKER_AFTER:
            return SinkState("breaker_open", in_a_row, time.monotonic() + BREAKER_OPEN_S)
        return SinkState("degraded", in_a_row, time.monotonic() + with_full_jitter(FIRST_RETRY_S * 2 ** (in_a_row - 1)))


HEALTHY = SinkState("ok")
UNAVAILABLE = SinkState("unavailable")


def with_full_jitter(ceiling: float) -> float:
    """A random share of it, without the user's `random`, whose sequences stay as they were."""
    return int.from_bytes(os.urandom(4), "big") / 2**32 * ceiling
