"""The texts of exceptions with a `__str__` of their own, as the report, the log and W&B show them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from toolweaver_monitor import ToolCall, monitored, setup
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.sinks import LogSink
from toolweaver_monitor.sinks._wandb import rows
from toolweaver_monitor.sinks._wandb.feed import RunFeed
from toolweaver_monitor.sinks._wandb.run import WandbRun


def validation_error() -> None:
    pydantic = pytest.importorskip("pydantic")
    pydantic.create_model("Receipt", total=(float, ...)).model_validate({"total": "12,50 EUR"})


def http_exception() -> None:
    fastapi = pytest.importorskip("fastapi")
    raise fastapi.HTTPException(404, "no such receipt")


def retry_error() -> None:
    tenacity = pytest.importorskip("tenacity")
    tenacity.retry(stop=tenacity.stop_after_attempt(1))(lambda: 1 / 0)()


def database_error() -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(sqlalchemy.text("SELECT total FROM receipts"))


class Unreadable(Exception):
    def __init__(self, page: int) -> None:
        self.page = page

    def __str__(self) -> str:
        return f"page {self.page} cannot be read"


def own_error() -> None:
    raise Unreadable(3)


TEXTS: dict[Callable[[], None], tuple[str, str]] = {
    validation_error: ("ValidationError", "1 validation error for Receipt\ntotal\n  Input should be a valid number"),
    http_exception: ("HTTPException", "404: no such receipt"),
    retry_error: ("RetryError", "state=finished raised ZeroDivisionError"),
    database_error: ("OperationalError", "no such table: receipts\n[SQL: SELECT total FROM receipts]"),
    own_error: ("Unreadable", "page 3 cannot be read"),
}


class Tables:
    """What a W&B run is given, and what the feed needs of it."""

    offline = False
    url = "somewhere"

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def log(self, row: dict[str, Any]) -> None:
        self.logged.append(row)

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def finish(self) -> None: ...

    @staticmethod
    def Table(columns: list[str], data: list[list[str]]) -> list[list[str]]:
        return data


@pytest.mark.parametrize("tool", TEXTS, ids=lambda tool: tool.__name__)
def test_the_text_of_an_error_can_be_read_wherever_it_is_shown(
    tool: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """It says what went wrong, and not only the name of the class.

    Seen red: with `setup(error_text="args")`, which shows the arguments alone.
    """
    kind, text = TEXTS[tool]
    calls: list[ToolCall] = []
    with caplog.at_level(logging.INFO, "toolweaver_monitor.calls"), setup(LogSink(), calls.append) as monitor:
        with pytest.raises(Exception, match=r"\w") as caught:
            monitored("tool")(tool)()
        assert monitor.flush(10)
        (error,) = monitor.errors.latest
        assert error["error_type"] == kind
        assert text in error["error"]
        assert error["error"] == str(caught.value)[:256] or error["error"].endswith("...")
        assert escape(text) in monitor.report()
    assert any(f"{kind}: " in line and escape(text) in line for line in caplog.messages)
    run = Tables()
    feed = RunFeed(lambda: WandbRun(run, run, is_ours=True))  # type: ignore[arg-type]
    feed.write(calls)
    feed.finish(None)
    (table,) = [row[key] for row in run.logged for key in row if key == rows.ERRORS_TABLE]
    assert table[0][2] == kind
    assert text in table[0][3]
