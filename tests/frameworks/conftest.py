"""Fixtures of the framework tests: tools, plain and monitored, what a scripted model asks for, and the recorded calls.

The annotations are strings (`from __future__ import annotations`), one of them names a class of this module, and the
docstrings describe the parameters: everything from which a framework makes a schema.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import pytest

from toolweaver_monitor import ToolCall, monitored, uninstrument
from toolweaver_monitor._instrument.patching.everywhere import CLASSES, DECORATORS, instrument_everywhere

try:
    from pydantic import BaseModel
except ImportError:  # a framework without it
    BaseModel = object  # type: ignore[assignment,misc]


class Period(BaseModel):
    """A stretch of time."""

    year: int
    month: int = 1


def find(shop: str, period: Period | None = None, kind: Literal["paper", "photo"] = "paper") -> dict[str, Any]:
    """Find the receipts of a shop.

    Args:
        shop: whose receipts.
        period: when they were written.
        kind: how they were kept.
    """
    if shop == "closed":
        raise ValueError("this shop is closed")
    return {"shop": shop, "kind": kind, "cost": 0.5}


async def find_async(
    shop: str, period: Period | None = None, kind: Literal["paper", "photo"] = "paper"
) -> dict[str, Any]:
    """Find the receipts of a shop.

    Args:
        shop: whose receipts.
        period: when they were written.
        kind: how they were kept.
    """
    return find(shop, period, kind)


find_async.__name__ = "find"  # both are the same tool to a framework


class Pair(NamedTuple):
    """A function, and the same monitored."""

    plain: Callable[..., Any]
    watched: Callable[..., Any]


@pytest.fixture(params=[find, find_async], ids=["sync", "async"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return a tool, sync and async in turn."""
    return Pair(request.param, monitored("find_receipts")(request.param))


@pytest.fixture
def seen(calls: Callable[[], list[ToolCall]]) -> Callable[[], list[tuple[Any, ...]]]:
    """Return name, outcome and dollars of the calls since the last request."""
    return lambda: [(call.tool_name, call.outcome, call.cost_usd) for call in calls()]


MODEL = "gpt-4o-mini"


def ocr(image: str) -> dict[str, Any]:
    """Read a receipt.

    Args:
        image: where it is.
    """
    if image == "bad.png":
        raise ValueError("unreadable")
    return {"text": "total 12", "tokens_used": 7, "cost": 0.01}


def telling(result: Any) -> Callable[[str], Any]:
    """Return a tool that returns its failure, and does not raise it."""

    def ocr(image: str) -> Any:
        """Read a receipt.

        Args:
            image: where it is.
        """
        return result

    return ocr


class Trial:
    """What a scripted model asks for, and the check that all of it was seen.

    The model's answers report 100 tokens of input and 20 of output each.
    """

    ocr = staticmethod(ocr)
    telling = staticmethod(telling)
    model = MODEL
    told: ClassVar = {"success": False, "error": "unreadable", "tokens_used": 7, "cost": 0.01}
    good, bad = ("ocr", {"image": "a.png"}), ("ocr", {"image": "bad.png"})

    def __init__(self, calls: Callable[[], list[ToolCall]]) -> None:
        self._calls = calls

    @property
    def script(self) -> list[Any]:
        """A fresh script: a good call of the tool, a failing one, and the end."""
        return [self.good, self.bad, "done"]

    def check(
        self, *, tools: tuple[Any, ...] | None = None, models: int = 3, name: str = "ocr", text: str = "unreadable"
    ) -> None:
        """Require one call a run with its name, outcome, tokens and dollars, and the tokens of the model.

        Args:
            tools: the (outcome, tokens, dollars) of the tool's calls; by default a success and a failure.
            models: how many calls of the model there were.
            name: the name of the tool.
            text: stands in the text of each failure.
        """
        calls = self._calls()
        of_model = [call for call in calls if call.tool_name == MODEL]
        of_tools = [call for call in calls if call.tool_name != MODEL]
        expected = (("success", 7, 0.01), ("failure", 0, None)) if tools is None else tools
        assert [(call.tool_name, call.outcome, call.tokens, call.cost_usd) for call in of_tools] == [
            (name, *each) for each in expected
        ]
        assert all(text in call.error for call in of_tools if call.outcome == "failure")
        assert [(call.outcome, call.input_tokens, call.output_tokens, call.model) for call in of_model] == [
            ("success", 100, 20, MODEL)
        ] * models

    def check_told(self, tokens: int = 7, dollars: float | None = 0.01) -> None:
        """Require one call of `read_receipt` that failed, with the figures of its result."""
        self.check(tools=(("failure", tokens, dollars),), models=0, name="read_receipt")

    def nothing(self) -> None:
        """Require that no call was seen."""
        assert self._calls() == []


outside: list[object] = []
"""The hosts beyond this machine that a framework has asked for."""


def _note_outside(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a name that is looked up, or an address that is connected to, unless it is this machine's own."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and type(arguments[1]) is tuple:  # else a Unix socket
        host = arguments[1][0]
    else:
        return
    if host not in {None, "", "localhost", "127.0.0.1", "::1"}:
        outside.append(host)


sys.addaudithook(_note_outside)  # for good: there is no way to remove one


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    """Require that nothing beyond this machine is asked for."""
    outside.clear()
    yield
    assert outside == []


@pytest.fixture
def trial(calls: Callable[[], list[ToolCall]]) -> Trial:
    """Return the script and the check of one trial."""
    return Trial(calls)


@pytest.fixture
def everywhere() -> Iterator[None]:
    """Have everything that is known monitored, as `toolweaver-monitor run` has."""
    instrument_everywhere()
    yield
    for name in (*CLASSES, *DECORATORS):
        uninstrument(name)
