"""Usage that a call hands on from calls inside it counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from toolweaver_monitor import Budget, Usage, current_call, monitored, setup, track
from toolweaver_monitor.testing import ToolRecorder

PRICES = {"m": {"input": 1.0, "output": 5.0}, "n": {"input": 1.0, "output": 5.0}}
FIGURES = {"prompt_tokens": 100, "completion_tokens": 20}


@monitored("llm")
def llm(model: str = "m", times: int = 1, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 100 * times, "completion_tokens": 20 * times}
    return {"text": "", "model": model, "usage": usage, **more}


def usage_of(*answers: dict[str, Any]) -> dict[str, int]:
    return {name: sum(answer["usage"][name] for answer in answers) for name in FIGURES}


HANDED_ON: dict[str, tuple[Callable[[], Any], int]] = {
    "usage and model": (lambda: {"model": "m", "usage": usage_of(llm())}, 120),
    "a model without its date": (lambda: {"model": "m", "usage": usage_of(llm("m-2026-01-01"))}, 120),
    "a model of a gateway": (lambda: {"model": "openai/m", "usage": usage_of(llm())}, 120),
    "usage without the model": (lambda: {"usage": usage_of(llm())}, 120),
    "one of several": (lambda: {"usage": usage_of([llm(times=n) for n in (1, 2, 3)][1])}, 720),
    "the total": (lambda: {"model": "m", "usage": usage_of(llm(), llm(times=2))}, 360),
    "the total of two models": (lambda: {"model": "n", "usage": usage_of(llm(), llm("n", 2))}, 360),
    "the total, not split": (lambda: {"tokens_used": sum(usage_of(llm(), llm()).values())}, 240),
    "with an equal cost": (lambda: {"usage": usage_of(llm(cost=0.5)), "cost": 0.5}, 120),
    "a cost alone": (lambda: {"text": (llm(cost=0.1), llm(cost=0.2))[0]["text"], "cost": 0.1 + 0.2}, 240),
}
OWN: dict[str, tuple[Callable[[], Any], int]] = {
    "other tokens": (lambda: {"model": "m", "usage": {**usage_of(llm()), "completion_tokens": 21}}, 241),
    "the same sum, split otherwise": (
        lambda: llm() and {"model": "m", "usage": {"prompt_tokens": 20, "completion_tokens": 100}},
        240,
    ),
    "another model": (lambda: {"model": "n", "usage": usage_of(llm())}, 240),
    "another model of the family": (lambda: {"model": "m", "usage": usage_of(llm("m-2026-01-01-mini"))}, 240),
    "another cost": (lambda: {"usage": usage_of(llm(cost=0.5)), "cost": 0.6}, 240),
    "another cost alone": (lambda: llm(cost=0.5) and {"cost": 0.6}, 120),
    "nothing inside": (lambda: {"model": "m", "usage": dict(FIGURES)}, 120),
}


def agent_of(work: Callable[[], Any], way: str) -> Callable[[], Any]:
    """Return an agent that does this work, of one kind of function."""

    async def coroutine() -> Any:
        return work()

    def generator() -> Iterator[Any]:
        yield work()

    def deep() -> Any:
        with track("step"):
            return monitored("helper")(lambda: (work(),) * 5)()[0]

    if way == "coroutine":
        agent = monitored("agent")(coroutine)
        return lambda: asyncio.run(agent())
    if way == "generator":
        stream = monitored("agent")(generator)
        return lambda: list(stream())
    return monitored("agent")(deep if way == "deep" else work)


@pytest.mark.parametrize("way", ["function", "coroutine", "generator", "deep"])
@pytest.mark.parametrize("case", HANDED_ON)
def test_usage_that_is_handed_on_counts_once(case: str, way: str) -> None:
    """The figures of one call inside, however deep, or of all of them; a note says so once.

    Seen red: with `covers` never true, without the total in it, and without `_merge` in `add`.
    """
    work, tokens = HANDED_ON[case]
    monitor = setup(prices=PRICES)
    agent = agent_of(work, way)
    agent()
    agent()
    assert monitor.summary()["total_tokens"] == 2 * tokens
    assert monitor.summary()["unpriced_calls"] == 0
    assert monitor.costs.by("tool")["agent"]["tokens"] == 0
    (note,) = [note for note in monitor.health()["notes"] if "'agent'" in note]
    assert "handed on" in note


@pytest.mark.parametrize("way", ["function", "coroutine", "generator", "deep"])
@pytest.mark.parametrize("case", OWN)
def test_other_figures_are_the_calls_own(case: str, way: str) -> None:
    """Nothing is subtracted from figures that differ.

    Seen red: with models, costs and the split not compared.
    """
    work, tokens = OWN[case]
    monitor = setup(prices=PRICES)
    agent_of(work, way)()
    assert monitor.summary()["total_tokens"] == tokens
    assert not [note for note in monitor.health()["notes"] if "handed on" in note]


def test_usage_of_a_callable_is_compared_as_that_of_a_result() -> None:
    """A `usage=` of the agent reads the run's own total."""
    with ToolRecorder() as recorder:
        monitored("agent", usage=lambda _: Usage(input_tokens=100, output_tokens=20))(lambda: llm() and "text")()
        assert sum(call.tokens for call in recorder.calls()) == 120


def test_what_a_block_inside_recorded_is_handed_on_as_well() -> None:
    """The model's call is a block, and the agent returns what it recorded.

    Seen red: without `tell` in `is_complete`.
    """

    @monitored("agent")
    def agent() -> dict[str, Any]:
        with track("llm") as call:
            call.record(tokens=120, cost=0.01)
        return {"tokens_used": 120, "cost": 0.01}

    with ToolRecorder() as recorder:
        agent()
        assert sorted(call.tokens for call in recorder.calls()) == [0, 120]


def test_a_total_that_was_handed_on_is_handed_on_again() -> None:
    """A supervisor calls a model and an agent, and returns what the agent returned: the total of a part of its calls.

    Seen red: with nothing added to `_handed_on`, in `covers` or in `_merge`.
    """

    def hand_on() -> Any:
        return {"model": "m", "usage": usage_of(llm(), llm())}

    @monitored("supervisor")
    def supervisor() -> Any:
        llm()
        with track("step"):
            answer = monitored("agent")(hand_on)()
        with track("other step"):
            llm(times=3)
        return dict(answer)

    with ToolRecorder() as recorder:
        supervisor()
        assert sum(call.tokens for call in recorder.calls()) == 6 * 120


def test_a_call_with_nothing_of_its_own_closes_without_details() -> None:
    """What calls inside have told goes to the call around, and only that. Its own record is added to it.

    Seen red: with the details kept in `is_complete`, and with `InsideDetails` kept when the call records.
    """
    setup()

    @monitored("agent")
    def agent() -> Any:
        with track("step") as step:
            with track("inner step") as inner:
                llm()
            assert inner._details is None
            step.record(cost=0.25)
        assert step._details is not None
        assert (step.tokens, step.cost_usd, step._details.inside) == (0, 0.25, None)
        return {"usage": dict(FIGURES)}

    with ToolRecorder() as recorder:
        agent()
        assert sum(call.tokens for call in recorder.calls()) == 120


SAVED: dict[str, Callable[[Any], Any]] = {
    "a copy": lambda ask: {"model": "m", "usage": usage_of(ask(1))},
    "the total": lambda ask: {"usage": usage_of(ask(1), ask(2))},
    "the cost alone": lambda ask: {"text": "", "cost": ask(1)["cost"]},
    "the total with cost": lambda ask: {"tokens_used": 360, "cost": ask(1)["cost"] + ask(2)["cost"]},
}


@pytest.mark.parametrize("case", SAVED)
@pytest.mark.parametrize("way", ["the same object", "cached in the result", "record(cached=True)", "a stream"])
def test_figures_that_a_cache_saved_are_not_charged_to_the_call_that_hands_them_on(case: str, way: str) -> None:
    """The second agent gets its answers from the cache of the tool inside: nothing is spent any more.

    Seen red: the call inside counted nothing, so the agent was charged what its result told.
    """
    monitor = setup(prices=PRICES)
    answers: dict[int, dict[str, Any]] = {}

    def look_up(times: int) -> dict[str, Any]:
        is_new = times not in answers
        answer = answers.setdefault(times, llm.__wrapped__(times=times, cost=0.5 * times))
        if way == "cached in the result" and not is_new:
            return {**answer, "cached": True}
        if way == "record(cached=True)" and not is_new:
            current_call().record(cached=True)
            return dict(answer)
        return answer

    def items(times: int) -> Iterator[Any]:
        yield look_up(times)

    ask = monitored("ask")(look_up)
    stream = monitored("ask")(items)
    agent = monitored("agent")(
        lambda: SAVED[case]((lambda times: next(iter([*stream(times)]))) if way == "a stream" else ask)
    )
    agent()
    spent = monitor.summary()["total_cost_usd"]
    with track("session"):
        agent()
        agent()
    assert spent == sum(0.5 * times for times in answers)
    assert monitor.summary()["total_cost_usd"] == spent
    assert monitor.costs.by("tool")["agent"]["tokens"] == 0


@pytest.mark.parametrize("way", ["function", "coroutine", "generator", "deep"])
@pytest.mark.parametrize(
    ("name", "unpriced"), [("m-2026-01-01", 0), ("m", 0), ("openai/m", 0), ("n", 1), ("m-mini", 1)]
)
def test_the_model_of_calls_inside_is_no_usage_of_unknown_cost(name: str, unpriced: int, way: str) -> None:
    """An agent names the model beside its answer. Its own usage would be unknown only if the model were another one.

    Seen red: each agent was unpriced, and charged the reserve of the budget.
    """
    monitor = setup(prices={"m": PRICES["m"]}, budget=Budget(limit_usd=1, reserve=0.5))
    agent_of(lambda: {"answer": llm("m-2026-01-01")["text"], "model": name}, way)()
    assert monitor.summary()["total_tokens"] == 120
    assert monitor.summary()["unpriced_calls"] == unpriced
    assert monitor.health()["budgets"][0]["spent"] == pytest.approx(0.0002 + 0.5 * unpriced)
    assert not [note for note in monitor.health()["notes"] if "handed on" in note]


def test_a_model_that_a_block_records_is_kept() -> None:
    """What `record()` says counts: the block has used that model itself, at an unknown cost."""
    monitor = setup(prices=PRICES)
    with track("agent") as call:
        llm()
        call.record(model="m")
    assert (call.model, monitor.summary()["unpriced_calls"]) == ("m", 1)


@pytest.mark.parametrize("model", ["m", "n"])
def test_items_that_name_a_model_beside_those_that_come_again_are_no_usage(model: str) -> None:
    """Of a stream out of a cache the chunks may be new, and the last one not.

    Seen red: such a stream was no cache hit, and unpriced.
    """
    last = llm.__wrapped__()

    @monitored("stream")
    def stream() -> Iterator[Any]:
        yield {"object": "chat.completion.chunk", "model": model, "choices": []}
        yield last

    monitor = setup(prices=PRICES)
    for _ in range(3):
        list(stream())
    row = monitor.costs.by("tool")["stream"]
    assert (row["tokens"], row["unpriced"], row["cache_hits"]) == (120, 0, 2)


def test_what_a_call_records_itself_counts() -> None:
    """It says so in so many words."""

    @monitored("agent")
    def agent() -> Any:
        from toolweaver_monitor import current_call

        current_call().record(tokens=usage_of(llm())["prompt_tokens"] + 20)

    with ToolRecorder() as recorder:
        agent()
        assert sum(call.tokens for call in recorder.calls()) == 240


def test_a_failed_call_inside_is_handed_on_with_what_it_recorded() -> None:
    """The agent catches the error, and returns the usage."""

    @monitored("llm")
    def failing() -> None:
        from toolweaver_monitor import current_call

        current_call().record(tokens=120)
        raise OSError

    @monitored("agent")
    def agent() -> Any:
        try:
            failing()
        except OSError:
            return {"tokens_used": 120}

    with ToolRecorder() as recorder:
        agent()
        assert sum(call.tokens for call in recorder.calls()) == 120
