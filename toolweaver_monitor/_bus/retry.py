"""Back-off and circuit breaker: when a failed sink is tried again, and when a batch is abandoned.

After each failure the wait grows, with full jitter so that not all processes return at once. After five failures in a
row the circuit breaker opens, and the sink is tried only every 30 seconds.
"""

from __future__ import annotations

import os
import time
from typing import Literal, NamedTuple

StateName = Literal["ok", "degraded", "breaker_open", "unavailable"]

FIRST_RETRY_S = 1.0
"""The longest wait after the first failure; it doubles with each further one."""
BREAKER_AFTER = 5
BREAKER_OPEN_S = 30.0
MAX_TRIES = 5
"""A batch that failed this often is abandoned, so that one poisonous call cannot block the rest."""
MAX_TRIES_CLOSING = 3
"""The same for a sink that is being closed. If the next batch fails as well, the whole queue is abandoned."""


class SinkState(NamedTuple):
    """The health of a sink. Each write makes a new one, so that it changes by one store."""

    state: StateName
    failures_in_a_row: int = 0
    not_before: float = 0.0
    """The `time.monotonic()` from which on it may be tried again."""

    def after_failure(self) -> SinkState:
        """Return the state after one more failure."""
        in_a_row = self.failures_in_a_row + 1
        if in_a_row >= BREAKER_AFTER:
            return SinkState("breaker_open", in_a_row, time.monotonic() + BREAKER_OPEN_S)
        return SinkState("degraded", in_a_row, time.monotonic() + with_full_jitter(FIRST_RETRY_S * 2 ** (in_a_row - 1)))


HEALTHY = SinkState("ok")
UNAVAILABLE = SinkState("unavailable")


def with_full_jitter(ceiling: float) -> float:
    """Return a random number from 0 to `ceiling`.

    The user's `random` is not used, so that seeded sequences stay as they are.
    """
    return int.from_bytes(os.urandom(4), "big") / 2**32 * ceiling
