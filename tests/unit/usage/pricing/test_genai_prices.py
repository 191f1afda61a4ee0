"""What genai-prices adds, when it is loaded, and what it never does."""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import inspect
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers import wait_until

from toolweaver_monitor import Budget, monitored, setup, track
from toolweaver_monitor._core.call import ToolCall
from toolweaver_monitor._core.details import CallDetails
from toolweaver_monitor._usage import Usage, apply_usage
from toolweaver_monitor._usage.pricing import PriceBook
from toolweaver_monitor._usage.pricing import book as book_module


@pytest.fixture(scope="module", autouse=True)
def genai_prices(require_package: Callable[[str, str], None]) -> Any:
    """The real one."""
    require_package("genai_prices", "pip install 'toolweaver_monitor[prices]'")
    return importlib.import_module("genai_prices")


def until_ready(book: PriceBook) -> PriceBook:
    wait_until(lambda: book.ready, 30)
    return book


@pytest.fixture(scope="module")
def book() -> PriceBook:
    book = PriceBook({"gpt-4o": {"input": 1.0, "output": 2.0}})
    book.start_loading()
    return until_ready(book)


def of(model: str, provider: str | None = None, **tokens: int) -> ToolCall:
    return ToolCall("chat", _details=CallDetails(model=model, provider=provider, **tokens))  # type: ignore[arg-type]


def test_the_users_table_goes_before_genai_prices_and_that_before_unknown(book: PriceBook) -> None:
    """Three sources in this order; the last one is None and never 0."""
    tokens = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    assert book.cost_nanousd(of("gpt-4o", **tokens)) == 3_000_000_000
    assert book.cost_nanousd(of("gpt-4o-mini", **tokens)) == 750_000_000  # $0.15 and $0.60
    assert book.cost_nanousd(of("unknown-model", **tokens)) is None
    assert [source.split(":")[0].split(" ")[0] for source in book.sources()] == ["your", "genai-prices"]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"), ("gpt-4.1", None), ("o3", "openai"), ("text-embedding-3-small", "openai"),
        ("claude-haiku-4-5", "anthropic"), ("claude-sonnet-4-5-20250929", "anthropic"), ("gemini-2.5-flash", "google"),
        ("gemini-2.5-pro", "google"), ("mistral-large-latest", "mistral"), ("command-r", "cohere"),
        ("llama-3.3-70b-versatile", "groq"), ("openai/gpt-4.1", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("input_tokens", "output_tokens", "cached"), [(1, 1, 0), (1_000, 77, 0), (5_000, 123, 4_096), (250_000, 9, 3)]
)
def test_our_sums_are_those_of_genai_prices(
    genai_prices: Any,
    book: PriceBook,
    model: str,
    provider: str | None,
    input_tokens: int,
    output_tokens: int,
    cached: int,
) -> None:
    """The library calculates by itself, in a fiftieth of the time, and arrives at the same nano-dollar."""
    if model.startswith("text-embedding"):
        output_tokens = 0
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    ours = book.cost_nanousd(of(model, provider, cached_tokens=cached, **tokens))
    usage = genai_prices.Usage(cache_read_tokens=cached, **tokens)
    host, _, name = model.rpartition("/")
    theirs = genai_prices.calc_price(
        usage, name, provider_id=provider or host or "openai", genai_request_timestamp=datetime.now(tz=UTC)
    )
    assert ours == int((theirs.total_price * 10**9).to_integral_value())


@pytest.mark.parametrize(
    ("model", "provider"),
    [("gpt-realtime", "openai"), ("gpt-4o-transcribe", "openai"), ("gemini-2.5-flash", "google"), ("gpt-5", "openai")],
)
@pytest.mark.parametrize(
    ("input_audio", "cached_audio", "output_audio"), [(0, 0, 0), (1, 0, 1), (900, 300, 70), (1_000, 400, 77)]
)
def test_our_sums_of_audio_are_those_of_genai_prices(
    genai_prices: Any,
    book: PriceBook,
    model: str,
    provider: str,
    input_audio: int,
    cached_audio: int,
    output_audio: int,
) -> None:
    """Speech costs several times what text does; a model whose list has no price for it takes that of text."""
    if (model, provider) == ("gpt-4o-transcribe", "openai"):
        cached_audio = 0  # it has no cache
    tokens = {"input_tokens": 1_000, "output_tokens": 77, "cached_tokens": cached_audio}
    call = of(model, provider, **tokens)
    call._ensure_details().audio_tokens = input_audio, cached_audio, output_audio
    ours = book.cost_nanousd(call)
    usage = genai_prices.Usage(
        input_tokens=1_000, output_tokens=77, cache_read_tokens=cached_audio, input_audio_tokens=input_audio,
        cache_audio_read_tokens=cached_audio, output_audio_tokens=output_audio,
    )  # fmt: skip
    theirs = genai_prices.calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=datetime.now(tz=UTC)
    ).total_price
    assert ours == int((theirs * 10**9).to_integral_value())


RARE = {
    "gemini-2.5-flash-image": ("google", {"input_tokens": 10, "output_tokens": 1_290}, {"output_image_tokens": 1_290}),
    "gpt-realtime": (
        "openai",
        {"input_tokens": 1_000_000, "output_tokens": 5, "cached_tokens": 299_500},
        {"input_image_tokens": 999_000, "cached_image_tokens": 299_000},
    ),
    "gpt-image-1": ("openai", {"input_tokens": 400, "output_tokens": 1_056}, {"input_image_tokens": 323}),
    "gemini-omni-flash-preview": (
        "google", {"input_tokens": 40, "output_tokens": 9_000}, {"output_video_tokens": 8_990, "reasoning_tokens": 4},
    ),
    "sonar-deep-research": (
        "perplexity",
        {"input_tokens": 33, "output_tokens": 101_176},
        {"citation_tokens": 20_016, "reasoning_tokens": 73_997, "web_searches": 18},
    ),
    "claude-sonnet-4-5": ("anthropic", {"input_tokens": 2_000, "output_tokens": 90}, {"web_searches": 2}),
    "gpt-4o": ("openai", {"input_tokens": 2_000, "output_tokens": 90}, {"reasoning_tokens": 40}),
}  # fmt: skip
THEIR_NAMES = {
    "cached_tokens": "cache_read_tokens", "cached_image_tokens": "cache_image_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens", "citation_tokens": "output_citation_tokens",
}  # fmt: skip


def sums(
    genai_prices: Any, model: str, provider: str, usage: dict[str, int], tier: dict[str, str] | None = None
) -> Any:
    """Return the cost in nano-dollars by our sum and by that of genai-prices."""
    if "price_context" not in inspect.signature(genai_prices.calc_price).parameters:
        pytest.skip("this genai-prices knows neither tiers nor rare tokens, which are unpriced then")
    book = until_ready_book()
    call = ToolCall("chat", _details=CallDetails())
    name = next(iter(tier.values())) if tier else None
    apply_usage(call, Usage(model=model, provider=provider, service_tier=name, **usage))
    theirs = genai_prices.calc_price(
        genai_prices.Usage(**{THEIR_NAMES.get(name, name): count for name, count in usage.items()}),
        model, provider_id=provider, genai_request_timestamp=datetime.now(tz=UTC), price_context=tier,
    )  # fmt: skip
    return book.cost_nanousd(call), int((theirs.total_price * 10**9).to_integral_value())


@functools.cache
def until_ready_book() -> PriceBook:
    book = PriceBook()
    book.start_loading()
    return until_ready(book)


@pytest.mark.parametrize("model", RARE)
def test_our_sums_of_images_reasoning_and_searches_are_those_of_genai_prices(genai_prices: Any, model: str) -> None:
    """Images, reasoning and searches have prices of their own."""
    provider, whole, parts = RARE[model]
    ours, theirs = sums(genai_prices, model, provider, whole | parts)
    assert ours == theirs > 0


def test_the_two_sums_that_were_worked_out_by_hand(genai_prices: Any) -> None:
    """10 x $0.30 + 1,290 x $30, and 108 x $2 + 3,256 x $8 + 73,248 x $3 a million."""
    image = {"input_tokens": 10, "output_tokens": 1_290, "output_image_tokens": 1_290}
    assert sums(genai_prices, "gemini-2.5-flash-image", "google", image)[0] == 38_703_000
    research = {"input_tokens": 108, "output_tokens": 76_504, "reasoning_tokens": 73_248}
    assert sums(genai_prices, "sonar-deep-research", "perplexity", research)[0] == 246_008_000


@pytest.mark.parametrize(
    ("model", "provider", "tier"),
    [
        ("gpt-5-nano", "openai", {"service_tier": "flex"}), ("gpt-5", "openai", {"service_tier": "priority"}),
        ("gpt-5-nano", "openai", {"processing": "batch"}), ("claude-opus-4-8", "anthropic", {"speed": "fast"}),
        ("gpt-5-nano", "openai", {"service_tier": "default"}),
    ],
)  # fmt: skip
def test_our_sums_of_tiers_are_those_of_genai_prices(
    genai_prices: Any, model: str, provider: str, tier: dict[str, str]
) -> None:
    """An answer that says that it was served at another price costs that."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000, "cached_tokens": 1_000}
    ours, theirs = sums(genai_prices, model, provider, usage, tier)
    assert ours == theirs
    assert (ours != sums(genai_prices, model, provider, usage)[0]) == (tier != {"service_tier": "default"})


def test_a_tier_that_no_list_has_a_price_for_is_unknown(genai_prices: Any) -> None:
    """Neither the standard price nor 0."""
    usage = {"input_tokens": 1_000, "output_tokens": 1_000}
    assert sums(genai_prices, "gpt-5-nano", "openai", usage, {"service_tier": "scale"})[0] is None
    assert sums(genai_prices, "mistral-large-latest", "mistral", usage, {"service_tier": "priority"})[0] is None


def test_a_list_without_a_price_for_a_search_leaves_it_unknown(genai_prices: Any) -> None:
    """A search is charged by the piece; tokens do not tell what it cost."""
    usage = {"input_tokens": 1_000, "output_tokens": 1_000, "web_searches": 1}
    assert sums(genai_prices, "gpt-3.5-turbo", "openai", usage)[0] is None


def test_it_is_imported_on_a_thread_and_no_event_loop_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup()` and the first calls go on at once; what they cost is found when the list is there."""
    may_load = threading.Event()
    real = book_module.GenaiPrices
    importers: list[str] = []

    def slow() -> Any:
        importers.append(threading.current_thread().name)
        may_load.wait(30)
        return real()

    monkeypatch.setattr(book_module, "GenaiPrices", slow)

    @monitored("chat")
    async def chat() -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 1_000, "completion_tokens": 0}}

    async def run() -> None:
        monitor = setup(budget=Budget(limit_usd=1.0))
        await chat()
        before = monitor._components.prices.status()
        assert (before["ready"], before["genai_prices"]) == (False, "loading")
        may_load.set()
        await asyncio.to_thread(until_ready, monitor._components.prices)
        await chat()

    asyncio.run(run())
    assert importers == ["toolweaver-prices"]


def test_a_reader_on_an_event_loop_does_not_wait_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its totals at once; what has no price yet is unpriced, not free."""
    may_load = threading.Event()
    monkeypatch.setattr(book_module, "GenaiPrices", lambda: may_load.wait(30))
    monkeypatch.setattr(book_module, "MAX_WAIT_S", 30)

    async def run() -> None:
        monitor = setup()
        with track("chat") as call:
            call.record(model="gpt-4o-mini", input_tokens=1_000)
        assert monitor.summary()["unpriced_calls"] == 1
        assert monitor.health()["prices"]["genai_prices"] == "loading"

    try:
        asyncio.run(asyncio.wait_for(run(), 20))
    finally:
        may_load.set()


def test_a_short_program_prints_its_costs_though_the_list_was_still_loading() -> None:
    """Totals that are read in the first moments wait for the list, since nothing else waits for them."""
    code = (
        "import toolweaver_monitor as t\n"
        "from toolweaver_monitor._usage.pricing import book\n"
        "book.MAX_WAIT_S = 30\n"  # this machine may be busy
        "monitor = t.setup()\n"
        "with t.track('chat') as call: call.record(model='gpt-4o-mini', input_tokens=1_000_000)\n"
        "print(monitor.summary()['total_cost_usd'], monitor.summary()['unpriced_calls'])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("0.15 0\n", "")


def test_a_price_that_is_found_late_reaches_totals_and_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of the first moments, before the list is there, are not free: not in the report, and not for a budget."""

    def loading(book: PriceBook) -> None:
        book._state, book._wait_until_s = "loading", time.monotonic() + 30

    monkeypatch.setattr(PriceBook, "start_loading", loading)
    monitor = setup(budget=[Budget(limit_usd=1.0), Budget(limit_usd=2.0, per="day", name="daily")])
    with track("chat") as call:
        call.record(model="gpt-4o-mini", input_tokens=1_000_000)
    with track("chat") as call:
        call.record(model="gpt-4o-mini", input_tokens=1_000_000, cached=True)
    assert monitor._components.ledger is not None
    assert [row["spent"] for row in monitor._components.ledger.status()] == [0.0, 0.0]  # not known yet
    monitor._components.prices._load()  # what the thread does
    assert monitor.summary()["total_cost_usd"] == 0.15
    assert monitor.costs.by("tool")["chat"]["saved_usd"] == 0.15
    assert monitor.summary()["unpriced_calls"] == 0
    assert [row["spent"] for row in monitor._components.ledger.status()] == [0.15, 0.15]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    attempts: list[Any] = []

    def refuse(*where: Any, **_: Any) -> Any:
        attempts.append(where)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return attempts


def test_pricing_never_goes_to_the_network(no_network: list[Any]) -> None:
    """Known models, unknown ones, made-up providers: no socket is ever opened."""
    book = PriceBook({"mine": {"input": 1}})
    book.start_loading()
    until_ready(book)
    for n in range(50):
        for model in ("gpt-4o", "claude-haiku-4-5", f"unknown-{n}", "mine"):
            book.cost_nanousd(of(model, f"provider-{n % 3}" if n % 2 else None, input_tokens=10))
    assert no_network == []


def test_without_the_package_the_table_still_prices_and_health_has_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is reported with the line that installs it, and stops nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monitor = setup(prices={"mine": {"input": 1}})
    until_ready(monitor._components.prices)
    status = monitor.health()["prices"]
    assert (status["genai_prices"], status["ready"]) == ("missing", True)
    assert status["cure"] == "pip install 'toolweaver_monitor[prices]'"
    assert monitor._components.prices.cost_nanousd(of("mine", input_tokens=1_000_000)) == 10**9


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_package_that_is_broken_stops_nothing_and_health_says_so(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it: calls go on unpriced, and the fault is shown."""

    def broken() -> Any:
        raise kind("half installed")

    monkeypatch.setattr(book_module, "GenaiPrices", broken)
    monitor = setup()
    until_ready(monitor._components.prices)
    status = monitor.health()["prices"]
    assert (status["genai_prices"], status["fault"]) == ("failed", f"{kind.__name__}: half installed")
    assert "import genai_prices" in status["cure"]


def test_unknown_names_fill_no_memory(book: PriceBook) -> None:
    """A model's name may come from anywhere, also from an attacker."""
    for n in range(book_module.MAX_MODELS + 100):
        assert book.cost_nanousd(of(f"made-up-{n}", input_tokens=1)) is None
    assert len(book._tariffs) <= book_module.MAX_MODELS


def test_setup_does_not_import_it_on_the_callers_thread() -> None:
    """A program that never needs a price does not wait for the list."""
    code = (
        "import sys, threading, importlib.util\n"
        "real = importlib.util.find_spec\n"
        "seen = []\n"
        "importlib.util.find_spec = lambda *a: (seen.append((threading.current_thread().name, *a)), real(*a))[1]\n"
        "import toolweaver_monitor\n"
        "assert 'genai_prices' not in sys.modules\n"
        "monitor = toolweaver_monitor.setup()\n"
        "while not monitor._components.prices.ready: pass\n"
        "assert 'genai_prices' in sys.modules\n"
        "assert [name for name, package, *_ in seen if package == 'genai_prices'] == ['toolweaver-prices'], seen\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_the_list_is_loading_loads_it_again() -> None:
    """The thread that was importing it is not in the child, whose own import must not wait for it.

    Seen red: without `fork_import.discard_partial_imports`, the child's call stayed unpriced.
    """
    code = (
        "import os, sys\n"
        "import toolweaver_monitor as t\n"
        "from toolweaver_monitor._usage.pricing import book\n"
        "book.MAX_WAIT_S = 30\n"  # this machine may be busy
        "monitor = t.setup()\n"
        "while 'genai_prices' not in sys.modules: pass\n"
        "child = os.fork()\n"
        "if child: sys.exit(os.waitpid(child, 0)[1])\n"
        "with t.track('chat') as call: call.record(model='gpt-4o-mini', input_tokens=1_000_000)\n"
        "print(monitor.summary()['total_cost_usd'], flush=True)\n"
        "os._exit(0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "0.15\n"), ended.stderr
