"""Functions of Semantic Kernel, which no table knows, monitored with `methods=[...]`."""

from __future__ import annotations

from typing import Any

import pytest

from toolweaver_monitor import Usage, instrument, monitored, uninstrument

pytest.importorskip("semantic_kernel", reason="installed by `nox -s frameworks`")

from semantic_kernel import Kernel
from semantic_kernel.functions import kernel_function

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the framework's own


def usage_of(result: Any) -> Usage:
    """Read the figures in the value of a result, the one thing that has to be told."""
    return Usage(tokens=result.value["tokens_used"], cost=result.value["cost"])


async def test_a_framework_that_is_not_known_is_monitored_by_a_listed_method(trial: Any) -> None:
    """The name is found in the parameter `function_name`."""

    class Receipts:
        @kernel_function(name="ocr")
        def ocr(self, image: str) -> dict[str, Any]:
            return dict(trial.ocr(image))

    kernel = Kernel()
    kernel.add_plugin(Receipts(), "receipts")
    instrument(kernel, methods=["invoke"], usage=usage_of)
    await kernel.invoke(function_name="ocr", plugin_name="receipts", image="a.png")
    with pytest.raises(Exception, match="ocr") as raised:
        await kernel.invoke(function_name="ocr", plugin_name="receipts", image="bad.png")
    assert "unreadable" in str(raised.value.__cause__)
    uninstrument(kernel)
    await kernel.invoke(function_name="ocr", plugin_name="receipts", image="a.png")
    trial.check(models=0, text="ocr")


async def test_a_monitored_function_is_seen_below_the_decorator(trial: Any) -> None:
    """What it raises is a failure, and so is what its result tells."""
    for function in trial.ocr, trial.telling(trial.told):
        kernel = Kernel()
        watched = kernel_function(monitored("read_receipt")(function), name="ocr")
        kernel.add_function("receipts", watched)
        await kernel.invoke(function_name="ocr", plugin_name="receipts", image="a.png")
        if function is trial.ocr:
            with pytest.raises(Exception, match="ocr"):
                await kernel.invoke(function_name="ocr", plugin_name="receipts", image="bad.png")
            trial.check(models=0, name="read_receipt")
    trial.check_told()
