"""Classes of frameworks are known by their package and name; these stand in for those that `nox` tests for real."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from toolweaver_monitor import Usage, instrument, monitored, setup, uninstrument
from toolweaver_monitor._instrument.patching import known
from toolweaver_monitor._instrument.patching.everywhere import installed_frameworks
from toolweaver_monitor._instrument.patching.frameworks import TABLE
from toolweaver_monitor.errors import ConfigurationError


def of(module: str, name: str, **members: Any) -> Any:
    """Make a class that looks like one of a framework."""
    return type(name, (), {"__module__": module, "__qualname__": name, **members})


class Fields:
    """An object with fields, as most results are."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def run_async_name(self: Any, **_: Any) -> Any:
    return dict(self.result) if type(self.result) is dict else self.result


BaseTool = of("google.adk.tools.base_tool", "BaseTool", run_async=run_async_name)
Model = of("smolagents.models", "Model", generate=lambda self, messages: self.answer)


class Own(BaseTool):  # type: ignore[misc]  # made above
    """A user's tool, derived from the framework's class."""

    name = "ocr"

    def __init__(self, result: Any) -> None:
        self.result = result


def model(answer: Any) -> Any:
    made = Model()
    made.model_id, made.answer = "gpt-4o-mini", answer
    return made


def test_every_row_can_be_read() -> None:
    """A package, a name, and either methods or what stands for them."""
    for row in TABLE:
        module, colon, name = row.path.partition(":")
        assert module
        assert colon
        assert row.methods or row.holds, row.path
        assert all(ways.split("|") for ways in row.methods)
        assert name or module == "litellm"


@pytest.mark.parametrize(
    ("result", "outcome", "cost"),
    [
        ({"total": 12, "cost": 0.5}, "success", 0.5),
        ({"status": "error", "error_message": "unreadable"}, "failure", None),
        ({"status": "ok", "error_message": "unreadable"}, "success", None),
        (Fields(status="error", message="unreadable"), "failure", None),
    ],
)
def test_a_row_tells_name_failure_and_figures(calls: Any, result: Any, outcome: str, cost: Any) -> None:
    """For subclasses as well. Seen red: with the fields of `failed` never looked at."""
    tool = instrument(Own(result))
    tool.run_async()
    uninstrument(tool)
    (call,) = calls()
    assert (call.tool_name, call.outcome, call.cost_usd) == ("ocr", outcome, cost)
    assert call.error == ("unreadable" if outcome == "failure" else "")


def test_no_property_of_a_result_is_run(calls: Any) -> None:
    """A field that is a property is none: its code may do anything."""

    class Sly:
        @property
        def status(self) -> str:
            raise AssertionError("looked at")

    tool = instrument(Own(Sly()))
    tool.run_async()
    uninstrument(tool)
    assert [call.outcome for call in calls()] == ["success"]


def test_another_package_with_a_class_of_that_name_is_not_known() -> None:
    """The package counts, not the name alone."""
    assert known.row_of(of("somewhere.tools", "BaseTool")()) is None
    assert known.row_of(of("smolagents_extra.models", "Model")()) is None
    assert known.row_of(Model()) is known.row_of(Model)


def test_an_agent_is_searched_for_its_tools_and_models(calls: Any) -> None:
    """In containers and objects of the framework; not in those of others, such as a client that a tool holds."""
    agent = of("smolagents.agents", "CodeAgent")()
    usage = Fields(input_tokens=100, output_tokens=20)
    agent.model = model(Fields(raw=None, token_usage=usage))
    agent.deep = {"tools": [(Own({"cost": 0.5}),)]}
    agent.other = Fields(hidden=Own({}))
    assert instrument(agent) is agent
    agent.model.generate([])
    agent.deep["tools"][0][0].run_async()
    agent.other.hidden.run_async()
    uninstrument(agent)
    agent.model.generate([])
    found = [(call.tool_name, call.tokens, call.model) for call in calls()]
    assert found == [("gpt-4o-mini", 120, "gpt-4o-mini"), ("ocr", 0, None)]


def test_an_agent_without_known_tools_is_told_what_to_do() -> None:
    """An agent of a framework in which nothing is found is an error that says what there is."""
    with pytest.raises(ConfigurationError, match=r"methods=\[...\]"):
        instrument(of("smolagents.agents", "CodeAgent", run=lambda self: 1)())


def test_a_model_that_reports_nothing_has_an_unknown_cost(calls: Any) -> None:
    """Its call names the model, so it counts as unpriced and not as one without a cost."""
    made = instrument(model(Fields(raw=None, token_usage=None)))
    made.generate([])
    uninstrument(made)
    (call,) = calls()
    assert (call.model, call.tokens, call.cost_usd) == ("gpt-4o-mini", 0, None)


def test_the_users_own_usage_comes_first(calls: Any) -> None:
    """A callable takes the place of what the row says; False leaves results unread. Failures are told all the same."""
    tool = Own({"status": "error", "message": "unreadable", "cost": 0.5})
    for usage in (lambda result: Usage(cost=0.25), False):
        instrument(tool, usage=usage)
        tool.run_async()
    uninstrument(tool)
    assert [(call.outcome, call.cost_usd) for call in calls()] == [("failure", 0.25), ("failure", None)]


def test_a_method_that_leads_to_another_of_its_row_is_one_call(calls: Any) -> None:
    """As `invoke` of a model that goes through `stream`. Seen red: without `is_same_call`."""
    kind = of(
        "smolagents.models",
        "Model",
        model_id="gpt-4o-mini",
        generate=lambda self, messages: list(self.generate_stream(messages))[-1],
        generate_stream=lambda self, messages: iter([Fields(token_usage={"input_tokens": 5})]),
    )
    made = instrument(kind())
    made.generate([])
    uninstrument(made)
    (call,) = calls()
    assert call.input_tokens == 5


def test_a_module_has_a_row_as_well(write: Any, calls: Any) -> None:
    """`instrument(litellm)`: the functions are the interface, and the model is the name."""
    write("litellm.py", "def completion(model, messages): return {'cost': 0.5}\ndef helper(): return 1\n")
    module = importlib.import_module("litellm")
    instrument(module)
    module.completion("gpt-4o-mini", [])
    module.helper()
    uninstrument(module)
    assert [(call.tool_name, call.cost_usd) for call in calls()] == [("gpt-4o-mini", 0.5)]


def test_what_a_framework_does_by_itself_is_no_problem(write: Any) -> None:
    """Its own modules that took a function, and its own classes that override a method; those of the user are told."""
    write("litellm.py", "def completion(model): return 1\n")
    module = importlib.import_module("litellm")
    write("litellm_user.py", "from litellm import completion\n")
    importlib.import_module("litellm_user")
    monitor = setup()
    instrument(module)
    (problem,) = monitor.health()["problems"]
    assert problem.startswith("litellm_user:completion: imported before")
    uninstrument(module)
    base = of("google.adk.tools.base_tool", "BaseTool", run_async=run_async_name)
    theirs = type("TheirTool", (base,), {"run_async": run_async_name, "__module__": "google.adk.tools.other"})
    instrument(base)
    assert monitor.health()["problems"] == []
    mine = type("MyTool", (base,), {"run_async": run_async_name})
    (problem,) = monitor.health()["problems"]
    assert "MyTool" in problem
    assert "TheirTool" not in problem
    uninstrument(base)
    assert issubclass(theirs, base)
    assert issubclass(mine, base)


def test_the_doctor_names_the_frameworks_that_are_installed(write: Any) -> None:
    """With their versions, by their metadata alone: none is imported."""
    write("smolagents/__init__.py", "raise AssertionError('imported')\n")
    write("smolagents-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: smolagents\nVersion: 9.9\n")
    write("smolagents-9.9.dist-info/top_level.txt", "smolagents\n")
    assert installed_frameworks()["smolagents"] == "9.9"


def test_a_client_is_known_by_what_its_attributes_lead_to(calls: Any) -> None:
    """`client.chat.completions.create`; other clients are not touched."""
    completions = type("Completions", (), {"create": lambda self, *, model: {"cost": 0.5}})
    clients = [of("openai._client", "OpenAI")() for _ in range(2)]
    for client in clients:
        client.chat = Fields(completions=completions())
    instrument(clients[0])
    for client in clients:
        client.chat.completions.create(model="gpt-4o-mini")
    uninstrument(clients[0])
    clients[0].chat.completions.create(model="gpt-4o-mini")
    assert [(call.tool_name, call.cost_usd) for call in calls()] == [("gpt-4o-mini", 0.5)]


def test_monitored_above_a_frameworks_decorator_is_refused_at_once() -> None:
    """Where the framework runs the tool by another way than by calling it, nothing would be seen."""
    kind = of("strands.tools.decorator", "DecoratedFunctionTool", __call__=lambda self: 1)
    with pytest.raises(ConfigurationError, match="below that decorator"):
        monitored("ocr")(kind())
