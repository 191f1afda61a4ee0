"""The page in a real Chromium: its numbers are the monitor's, texts stay texts, and nothing leaves the machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import Monitor, setup, track

pytestmark = pytest.mark.system

ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "'\"><svg onload=window.hacked=1>",
    "javascript:window.hacked=1",
    "</title></style></table><h1>hacked</h1>",
    "__proto__",
    "constructor",
    "{{7*7}}${7*7}",
)


@pytest.fixture(scope="module")
def browser(require_program: Callable[..., str], require_package: Callable[..., None]) -> Iterator[Any]:
    path = require_program("chromium")
    require_package("playwright", "pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Opened:
    """A page that is open, with what it asked for and complained of."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else 0)
        self.page.goto(url)

    def cells(self) -> dict[str, dict[str, str]]:
        """The table of tools as a reader sees it: by tool and by column."""
        script = """() => [...document.querySelectorAll('#tools-table tbody tr[data-tool]')].map(row =>
            [row.dataset.tool, Object.fromEntries([...row.cells].map(cell =>
                [cell.className.match(/c-([a-z0-9]+)/)[1], cell.innerText.trim()]))])"""
        return dict(self.page.evaluate(script))

    def order(self) -> list[str]:
        return list(self.cells())

    def wait(self, script: str) -> None:
        """Wait until an expression is true. Playwright's own way evaluates text in the page, which the page forbids."""
        deadline = time.monotonic() + 10
        while not self.page.evaluate(f"() => Boolean({script})"):
            assert time.monotonic() < deadline, script
            self.page.wait_for_timeout(50)


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with setup(dashboard=0, budget=10.0) as running:
        yield running


@pytest.fixture
def show(browser: Any, monitor: Monitor) -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def show(address: str = "", url: str | None = None, **options: Any) -> Opened:
        opened.append(Opened(browser, (url or str(monitor.sinks[0].url)) + address, **options))
        return opened[-1]

    yield show
    for each in opened:
        assert each.complaints == []
        own = ("http://127.0.0.1:", "file://", "blob:http://127.0.0.1:")
        assert [asked for asked in each.requests if not asked.startswith(own)] == []
        each.context.close()


def read_receipts(count: int) -> None:
    for number in range(count):
        with track("receipt", customer="acme"):
            with track("ocr") as call:
                call.record(cost=0.004, tokens=800)
                if number % 4 == 3:
                    call.fail("out of paper")
            with track("categorize") as call:
                call.record(tokens=20, model="our-model")


def test_it_starts_empty_and_fills_while_the_program_runs(monitor: Monitor, show: Callable[..., Opened]) -> None:
    """First the lines that make a first call, then the figures of the monitor, without a reload."""
    opened = show()
    opened.wait("!document.getElementById('empty').hidden")
    assert "@monitored" in opened.page.inner_text("#empty")
    with track("slow"):
        opened.wait("document.getElementById('first').innerText.includes('slow')")
    read_receipts(20)
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 4")
    opened.wait("document.querySelector('.tile .big').innerText === '61'")
    cells = opened.cells()
    summary = monitor.metrics.by_operation()
    for tool, totals in summary.items():
        assert cells[tool]["calls"] == str(totals["count"])
        assert cells[tool]["failed"].removeprefix("✕ ") == str(totals["failures"])
    assert cells["ocr"]["cost"] == "$0.08"
    assert cells["ocr"]["share"] == "100 %"
    assert cells["ocr"]["rate"] == "25 %"
    assert cells["categorize"]["cost"] == "—", "unknown is not 0"
    assert cells["categorize"]["unpriced"] == "! 20"
    assert monitor.summary()["total_cost_usd"] == pytest.approx(0.08)
    assert "$9.92 left of $10.00" in opened.page.inner_text("#first")


def test_hostile_names_and_errors_show_as_text(monitor: Monitor, show: Callable[..., Opened], tmp_path: Path) -> None:
    """Live and in the file: no script of theirs runs, and no element of theirs is made. Seen red: with `innerHTML`."""
    for text in HOSTILE:
        with track(text, customer=text) as call:
            call.fail(text)
    path = monitor.html(tmp_path / "report.html")
    call_id = monitor.errors.latest[0]["call_id"]
    for url in (None, path.as_uri()):
        opened = show(f"#tool={HOSTILE[0]}&call={call_id}", url=url)
        opened.wait(f"document.querySelectorAll('#tools-table tbody tr').length === {len(HOSTILE)}")
        opened.wait("document.querySelector('#detail .waterfall') !== null")
        assert set(opened.order()) == {call.tool_name for call in monitor.metrics._shared.operations}  # type: ignore[union-attr]
        assert opened.page.evaluate("window.hacked") is None
        made = "document.querySelectorAll('img, table h1, main script, main style').length"
        assert opened.page.evaluate(made) == 0
        assert HOSTILE[0] in opened.page.inner_text("#latest")


def test_sort_filter_and_drill_down_by_keyboard_alone(show: Callable[..., Opened]) -> None:
    """From the filter to the trace of one call and back, without a mouse; Back of the browser works as well."""
    read_receipts(8)
    opened = show()
    page = opened.page
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 3")
    page.keyboard.press("/")
    page.keyboard.type("oc")
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 1")
    page.keyboard.press("Escape")
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 3")
    page.focus("[data-sort=name]")
    page.keyboard.press("Enter")
    assert opened.order() == ["categorize", "ocr", "receipt"]
    page.keyboard.press("Enter")
    assert opened.order() == ["receipt", "ocr", "categorize"]
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    opened.wait("document.querySelector('#detail .strip')")
    assert "ocr" in page.inner_text("#detail h2")
    assert "out of paper" in page.inner_text("#detail")
    page.focus("#detail .calls a")
    page.keyboard.press("Enter")
    opened.wait("document.querySelectorAll('#detail .waterfall .span').length === 3")
    page.keyboard.press("Escape")
    opened.wait("document.querySelector('#detail .strip')")
    page.keyboard.press("Escape")
    opened.wait("document.getElementById('detail').hidden")
    page.go_back()
    opened.wait("document.querySelector('#detail .strip')")
    page.keyboard.press("3")
    assert page.inner_text("#weights [aria-pressed=true]") == "calls"
    page.keyboard.press("?")
    assert page.is_visible("#help")


def test_the_flame_graph_zooms_in_and_out(show: Callable[..., Opened]) -> None:
    """A click fills the width with a tool, and its address can be sent."""
    read_receipts(5)
    opened = show("#weight=calls")
    page = opened.page
    opened.wait("document.querySelectorAll('.flame .frame').length === 3")
    page.click(".flame .frame:has-text('ocr')")
    opened.wait("location.hash.includes('zoom')")
    bar, whole = ".flame .frame:nth-of-type(2) rect", ".flame"
    wide = f"document.querySelector('{bar}').getBBox().width / document.querySelector('{whole}').clientWidth"
    assert page.evaluate(wide) > 0.99
    page.keyboard.press("Escape")
    opened.wait("document.querySelectorAll('.flame .frame').length === 3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 920, 1240, 1920])
def test_nothing_is_wider_than_the_screen(show: Callable[..., Opened], width: int, scheme: str) -> None:
    """From a phone to a wide screen, with a very long name, in both schemes; dark is dark."""
    read_receipts(3)
    with track("again") as call:
        call.record(attempt=2)
    with track("a_name_that_goes_on_" * 6) as call:
        call.fail("x" * 250)
    opened = show(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 5")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    narrowest = "Math.min(...[...document.querySelectorAll('tbody .c-name')].map(cell => cell.clientWidth))"
    assert opened.page.evaluate(narrowest) >= 80, "room for the names"
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    shades = [int(part) for part in re.findall(r"\d+", ground)]
    assert (sum(shades) < 200) == (scheme == "dark")


def test_it_says_that_the_program_has_ended(monitor: Monitor, show: Callable[..., Opened]) -> None:
    """The last figures stay, and say so."""
    read_receipts(2)
    opened = show()
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 3")
    monitor.shutdown()
    opened.wait("document.getElementById('state').innerText.includes('last figures')")
    assert len(opened.order()) == 3
    opened.complaints.clear()  # the browser's own, of the connection that is refused


def test_a_thousand_tools_are_drawn_a_screen_at_a_time(show: Callable[..., Opened]) -> None:
    """Only rows that can be seen are in the document, wherever the table is scrolled to."""
    for number in range(1_000):
        with track(f"tool_{number:04d}") as call:
            call.record(cost=number * 1e-6)
    opened = show("#sort=name")
    opened.wait("document.querySelector('[data-tool=tool_0000]')")
    assert len(opened.cells()) < 60
    opened.page.evaluate("document.querySelector('.wide').scrollTop = 1e6")
    opened.wait("document.querySelector('[data-tool=tool_0999]')")
    assert len(opened.cells()) < 60
    opened.page.focus("[data-tool=tool_0999]")
    opened.page.keyboard.press("Home")
    opened.wait("document.activeElement.dataset.tool === 'tool_0000'")


def test_the_download_is_the_page_with_its_figures(show: Callable[..., Opened], tmp_path: Path) -> None:
    """It opens from disk, drills down, and asks for nothing."""
    read_receipts(4)
    opened = show()
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 3")
    with opened.page.expect_download() as download:
        opened.page.click("#download")
    download.value.save_as(tmp_path / "saved.html")
    saved = show("#tool=ocr", url=(tmp_path / "saved.html").as_uri())
    saved.wait("document.querySelector('#detail .strip')")
    assert saved.cells()["ocr"] == {**opened.cells()["ocr"], "last": saved.cells()["ocr"]["last"]}
    saved.page.click("#detail .calls a >> nth=0")
    saved.wait("document.querySelectorAll('#detail .waterfall .span').length === 3")
    time.sleep(1.2)  # longer than a poll
    assert [asked for asked in saved.requests if not asked.startswith("file:")] == []
