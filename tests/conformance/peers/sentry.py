"""The adapter of sentry, whose spans live in a transaction that is kept open around each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sentry_sdk

from .base import Peer, Seen


class Sentry(Peer):
    title = "sentry `trace()`"
    distribution = "sentry-sdk"

    def start(self) -> None:
        sentry_sdk.init(
            dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=lambda _: None, default_integrations=False
        )
        self.transaction = sentry_sdk.start_transaction(name="row")
        self.transaction.__enter__()

    def stop(self) -> None:
        self.transaction.__exit__(None, None, None)

    def decorate(self, name: str) -> Callable[[Any], Any]:
        return sentry_sdk.trace(name=name)

    def decorate_bare(self, function: Any) -> Any:
        return sentry_sdk.trace(function)

    def block(self, name: str) -> Any:
        return sentry_sdk.start_span(name=name)

    def say(self, **what: Any) -> None:
        span = sentry_sdk.get_current_span()
        for key, value in what.items():
            span.set_data(key, value)

    def seen(self) -> list[Seen]:
        spans = [span for span in self.transaction._span_recorder.spans if span is not self.transaction]
        ended = sorted((span for span in spans if span.timestamp), key=lambda span: span.timestamp)
        return [
            Seen(
                span.description.rpartition(".")[2],
                "failure" if span.status == "internal_error" else "success",
                (span.timestamp - span.start_timestamp).total_seconds(),
                call_id=int(span.span_id, 16),
                parent_id=None if span.parent_span_id == self.transaction.span_id else int(span.parent_span_id, 16),
                trace_id=int(span.trace_id, 16),
                said=span._data,
            )
            for span in ended
        ]
