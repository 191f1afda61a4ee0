"""The page in a real Chromium: its numbers are the monitor's, texts stay texts, and nothing leaves the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from toolweaver_monitor import Budget, BudgetExceeded, Monitor, setup, track
from toolweaver_monitor.sinks import SQLiteStore

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


def test_rows_and_periods_change_with_one_choice(show: Callable[..., Opened], tmp_path: Path) -> None:
    """By customer, and with a store the last hour; a row opens down to a call of it. Lines are drawn beside."""
    with setup(SQLiteStore(tmp_path / "chosen.db"), dashboard=0) as running:
        read_receipts(6)
        running.flush()
        opened = show(url=running.sinks[1].url)
        page = opened.page
        opened.wait("document.querySelectorAll('#charts .lines').length === 3")
        page.select_option("#by", "tag:customer")
        opened.wait("document.querySelector('[data-tool=acme]')")
        assert opened.cells()["acme"]["calls"] == "18"
        page.select_option("#period", "3600")
        opened.wait("document.getElementById('about').innerText.includes('1 run in chosen.db')")
        opened.wait("document.querySelector('[data-tool=acme]')")
        assert opened.cells()["acme"]["cost"] == "$0.024"
        page.click("[data-tool=acme] .name")
        opened.wait("document.querySelector('#detail .strip')")
        page.click("#detail .calls a >> nth=0")
        opened.wait("document.querySelectorAll('#detail .waterfall .span').length === 3")
        page.select_option("#by", "run")
        opened.wait("document.querySelector('[data-tool*=\"run 1\"]') && document.getElementById('detail').hidden")
        page.click("[data-tool*='run 1'] .name")
        page.click("text=Show this run by itself")
        opened.wait("document.querySelector('[data-tool=ocr]') && document.getElementById('detail').hidden")
        assert page.evaluate("document.getElementById('period').selectedOptions[0].text") == "run 1 by itself"
        assert "1 run in chosen.db" in page.inner_text("#about")  # of the store, and not of this program
        page.select_option("#period", "")
        page.select_option("#by", "tool")
        opened.wait("document.querySelector('[data-tool=ocr]')")


def test_a_budget_begins_with_its_customer_and_refused_calls_cost_nothing(show: Callable[..., Opened]) -> None:
    """Of a name that is too long for its place the end is cut off; the cost of a call is that of the calls that ran.

    Seen red: each customer's line began `usd/hour by custo`, the cost of a call was $0.002, and 10 calls stood beside a
    failure rate of 2.
    """
    with setup(dashboard=0, budget=Budget(limit_usd=0.02, per="hour", tag="customer")) as running:
        for _ in range(10):
            with suppress(BudgetExceeded), track("ocr", customer="acme", cost=0.01):
                pass
        opened = show("#tool=ocr", url=running.sinks[0].url)
        opened.wait("document.querySelector('#detail .strip')")
        assert opened.page.inner_text(".budget .cut").startswith("acme: ")
        assert re.search(r"cost of a call\s+\$0\.01\n", opened.page.inner_text("#detail"))
        assert opened.page.inner_text(".tile .small >> nth=0").startswith("8 rejected · in ")


@pytest.mark.parametrize("width", [600, 900, 1200, 1280, 1680])
def test_nothing_in_the_heading_of_a_quiet_store_is_cut_off(
    show: Callable[..., Opened], tmp_path: Path, width: int
) -> None:
    """Neither since when its calls are, nor for how long none has come.

    Seen red: at 900 and 1280 px both ended in dots.
    """
    with setup(SQLiteStore(tmp_path / "quiet.db"), dashboard=0) as running:
        read_receipts(1)
        running.flush()
        opened = show("#period=all", running.sinks[1].url, viewport={"width": width, "height": 800})
        opened.wait("document.getElementById('about').innerText.includes('1 run in quiet.db')")
        fits = """() => {
            const [program, about, state] = ['program', 'about', 'state'].map(id => document.getElementById(id));
            program.textContent = 'receipts_of_every_month.py';
            state.textContent = 'quiet: no call for 23 h 59 min';
            return [program, about, state].map(each => each.scrollWidth <= each.clientWidth);
        }"""
        assert opened.page.evaluate(fits) == [True] * 3


def test_the_controls_of_a_narrow_page_are_in_one_line(show: Callable[..., Opened]) -> None:
    """Seen red: at 600 px the help was in a line of its own."""
    opened = show(viewport={"width": 600, "height": 800})
    tops = (
        "['period', 'by', 'download', 'help-open'].map(id => document.getElementById(id).getBoundingClientRect().top)"
    )
    assert len(set(opened.page.evaluate(tops))) == 1


def test_the_detail_of_a_group_leaves_out_what_is_not_known(show: Callable[..., Opened]) -> None:
    """Of a customer none of whose calls is kept, how they ended; of tokens given as one number, their kinds.

    Seen red: `outcomes` stood there with nothing, and 820 tokens were `0 in, 0 out`.
    """
    with setup(dashboard=0, max_operations=1) as running:
        read_receipts(1)
        with track("ocr", customer="globex"):
            pass
        opened = show("#by=tag:customer&tool=acme", running.sinks[0].url)
        opened.wait("document.querySelector('#detail .facts')")
        facts = re.sub(r"\n+", "\n", opened.page.inner_text("#detail .facts"))
        assert "calls\n3\np50" in facts
        assert "tokens\n820\n" in facts


def test_the_heading_of_a_joined_worker_says_that_it_is_one(monitor: Monitor, show: Callable[..., Opened]) -> None:
    """A program by itself is none. Seen red: both gave the pid only, and the figures seemed to be of all workers."""
    read_receipts(1)
    alone = show()
    alone.wait("document.getElementById('about').innerText.includes(' · pid ')")
    alone.page.close()  # the next setup takes its program away
    with setup(dashboard=0, shared=True) as running:
        read_receipts(1)
        opened = show(url=running.sinks[0].url)
        opened.wait("document.getElementById('about').innerText.includes(' · this worker, pid ')")


def test_the_rest_of_the_budgets_opens_by_keyboard(show: Callable[..., Opened]) -> None:
    """It stays open, and the focus on its button, while the figures change. Seen red: `and 4 more` was a text."""
    with setup(dashboard=0, budget=Budget(limit_usd=1, per="hour", tag="customer")) as running:
        for number in range(7):
            with track("ocr", customer=f"customer-{number}", cost=0.01):
                pass
        opened = show(url=running.sinks[0].url)
        opened.wait("document.querySelectorAll('.budget').length === 3")
        more = "document.getElementById('more-budgets')"
        assert opened.page.inner_text("#more-budgets") == "and 4 more"
        opened.page.focus("#more-budgets")
        opened.page.keyboard.press("Enter")
        opened.wait("document.querySelectorAll('.budget').length === 7")
        with track("ocr", customer="customer-0", cost=0.5):
            pass
        opened.wait("document.querySelector('.budget').innerText.startsWith('$0.49')")
        assert opened.page.evaluate(f"document.activeElement === {more} && {more}.ariaExpanded") == "true"
        opened.page.keyboard.press("Enter")
        opened.wait("document.querySelectorAll('.budget').length === 3")


def test_eight_tools_have_eight_colours(show: Callable[..., Opened]) -> None:
    """Whatever their names, also after a reload. Seen red: by the hash of the name alone, two had one colour."""
    for number in range(8):
        with track(f"tool-{number * number}"):
            pass
    opened = show()
    dots = "[...document.querySelectorAll('#tools-table tbody tr .dot')]"
    colours = f"{dots}.map(dot => getComputedStyle(dot).backgroundColor)"
    opened.wait(f"new Set({colours}).size === 8")
    before = opened.page.evaluate(colours)
    opened.page.reload()
    opened.wait(f"String({colours}) === '{','.join(before)}'")


def test_a_store_by_itself_is_shown_by_program(browser: Any, tmp_path: Path) -> None:
    """With the period that it opens with, too. Seen red: the rows were tools."""
    with setup(SQLiteStore(tmp_path / "runs.db")):
        read_receipts(1)
    command = [sys.executable, "-m", "toolweaver_monitor", "dashboard", str(tmp_path / "runs.db"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            opened = Opened(browser, process.stdout.readline().strip() + "#by=run")
            opened.wait("document.querySelector('[data-tool*=\"run 1\"]')")
            assert opened.page.inner_text("#about").startswith("1 run · since")  # its name stands beside already
            opened.context.close()
        finally:
            process.terminate()


def test_the_first_figures_are_there_soon(show: Callable[..., Opened]) -> None:
    """From the navigation to the first figures on loopback: aim 0.2 s; a busy machine is given ten times as long."""
    read_receipts(5)
    opened = show()
    opened.wait("document.querySelectorAll('#tools-table tbody tr').length === 3")
    opened.wait("performance.getEntriesByName('first-contentful-paint').length")  # the rows may be there earlier
    paint = opened.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint after {paint:.0f} ms")
    assert paint < 2_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious(browser: Any, monitor: Monitor, width: int, scheme: str) -> None:
    """`AXE_CORE` names axe.min.js, of `npm install axe-core`. Seen red: with bars named unlike the cut text in them."""
    path = os.environ.get("AXE_CORE")
    if not path:
        pytest.skip("this test needs AXE_CORE=.../axe-core/axe.min.js, of the npm package")
    read_receipts(4)
    call_id = monitor.errors.latest[0]["call_id"]
    # It is put into the page as a script, which the page itself forbids.
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    for view in ("", "#tool=ocr", f"#tool=ocr&call={call_id}", "#by=tag:customer"):
        page = context.new_page()
        page.goto(str(monitor.sinks[0].url) + view)
        page.wait_for_selector("#detail h2" if "tool=" in view else "#charts .lines")
        page.wait_for_timeout(500)
        page.add_script_tag(path=path)
        found = page.evaluate("axe.run().then(result => result.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == [], view
        page.close()
    context.close()


PICTURES: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "page": (("0", "0.03"), "", {}),
    "page-dark": (("0", "0.03"), "", {"color_scheme": "dark"}),
    "page-360": (("0", "0.03"), "", {"viewport": {"width": 360, "height": 780}}),
    "page-768": (("0", "0.03"), "", {"viewport": {"width": 768, "height": 1024}}),
    "page-1920": (("0", "0.03"), "", {"viewport": {"width": 1920, "height": 1080}}),
    "tool": (("0", "0.03"), "#tool=ocr", {}),
    "customers": (("0", "0.03"), "#by=tag:customer", {}),
    "many": (("1000", "0.03"), "", {}),
    "failing": (("0", "0.6"), "", {}),
}
"""By the name of the file: the arguments of the program, the address, and the browser's options."""


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_the_page(browser: Any, name: str) -> None:
    """`PAGE_PICTURES` names the folder for them, which CI keeps; `make picture` makes the one in docs/."""
    folder = os.environ.get("PAGE_PICTURES")
    if not folder:
        pytest.skip("this makes files for people to look at, in the folder that PAGE_PICTURES names")
    arguments, address, options = PICTURES[name]
    program = Path(__file__).parent / "lifelike" / "receipts.py"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(program), *arguments], **pipes) as process:  # type: ignore[call-overload]
        try:
            opened = Opened(browser, process.stdout.readline().strip() + address, **options)
            opened.wait("document.querySelectorAll('#charts .lines').length === 3")
            opened.page.wait_for_timeout(1_000)
            Path(folder).mkdir(parents=True, exist_ok=True)
            opened.page.screenshot(path=Path(folder) / f"{name}.png")
            assert opened.complaints == []
            opened.context.close()
        finally:
            process.stdin.close()
