"""The report page in a real browser: it sorts, filters, follows the colour scheme, and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import browser
from tests.browser import Browser, luminance
from tests.runtime.fabricated import GROUPS, LIBRARY, fabricated_trial
from tiltc_runtime.assess import assess
from tiltc_runtime.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))]

TABLE = "var table = document.getElementById('collateral-table');"
COLUMN = f"{TABLE} return Array.from(table.tBodies[0].rows).map(r => Number(r.cells[2].dataset.value));"
VISIBLE = f"{TABLE} return Array.from(table.tBodies[0].rows).filter(r => !r.hidden).length;"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(assess(fabricated_trial())[0], tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def opened(chrome: Browser, page: Path) -> Browser:
    chrome.open(page)
    return chrome


def test_nothing_is_loaded_and_nothing_goes_wrong(chrome: Browser, page: Path) -> None:
    """The page itself is the only thing that is asked for, and the console stays empty."""
    chrome.requests()
    chrome.console()
    chrome.open(page)
    assert [url for url in chrome.requests() if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))] == [
        page.as_uri()
    ]
    assert chrome.console() == []


def test_the_page_may_not_load_anything(opened: Browser) -> None:
    """Even a script that got in could not reach the network: the page's policy stops it."""
    opened.script("var i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);")
    assert any("Content Security Policy" in line for line in opened.console())


def test_columns_sort_both_ways_by_value(opened: Browser) -> None:
    """A press on a head sorts by number, upwards first, and says so to a screen reader."""
    before = opened.script(COLUMN)
    press = f"{TABLE} table.tHead.rows[0].cells[2].querySelector('button').click();"
    opened.script(press)
    assert opened.script(COLUMN) == sorted(before)
    assert opened.script(f"{TABLE} return table.tHead.rows[0].cells[2].getAttribute('aria-sort');") == "ascending"
    opened.script(press)
    assert opened.script(COLUMN) == sorted(before, reverse=True)
    assert opened.script(f"{TABLE} return table.tHead.rows[0].cells[2].getAttribute('aria-sort');") == "descending"


def test_sorting_works_from_the_keyboard(opened: Browser) -> None:
    """Heads are buttons: focus and the space bar sort the signals by name."""
    opened.script("document.querySelector('#signals-table thead button').focus();")
    opened.press(" ")
    names = opened.script(
        "return Array.from(document.querySelectorAll('#signals-table tbody .name'), n => n.textContent);"
    )
    assert names == sorted(names)
    assert opened.script("return document.activeElement.closest('th').getAttribute('aria-sort');") == "ascending"


def test_the_filter_hides_rows_and_says_how_many_are_left(opened: Browser) -> None:
    """Typing narrows the table as one goes; an empty box shows everything again."""
    box = "document.querySelector('[data-filter=collateral-table]')"
    opened.script(f"{box}.closest('details').open = true; {box}.focus();")
    opened.press("group-1")
    assert opened.script(VISIBLE) == 10
    told = opened.script("return document.querySelector('[data-count=collateral-table]').textContent;")
    assert told == f"10 of {GROUPS + len(LIBRARY)} shown"
    opened.script(f"{box}.value = ''; {box}.dispatchEvent(new Event('input'));")
    assert opened.script(VISIBLE) == GROUPS + len(LIBRARY)


def test_samples_can_be_filtered(opened: Browser) -> None:
    """The samples narrow to those that hold the word."""
    box = "document.querySelector('[data-filter=samples]')"
    opened.script(f"{box}.value = 'GREAT QUESTION'; {box}.dispatchEvent(new Event('input'));")
    shown = opened.script(
        "return Array.from(document.querySelectorAll('.sample')).filter(s => !s.hidden).map(s => s.textContent);"
    )
    assert shown
    assert all("great question" in text.lower() for text in shown)


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_scheme_with_enough_contrast(opened: Browser, scheme: str, is_dark: bool) -> None:
    """Paper and ink change with the system's scheme, and every kind of text keeps a contrast of 4.5 or more."""
    opened.color_scheme(scheme)
    pairs = opened.script(
        """
        const seen = sel => { const e = document.querySelector(sel); if (!e) return null; let b = e;
          const none = 'rgba(0, 0, 0, 0)';
          while (b && getComputedStyle(b).backgroundColor === none) b = b.parentElement;
          return [sel, getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; };
        return ['body', 'h1', '.sub', '.ci', '.eyebrow', '.chip.good', '.chip.mixed', '.findings .code', 'summary',
                '.answers .start', '.answers .plain', '.answers .tilted', 'mark', '.facts dt'].map(seen);
        """
    )
    assert None not in pairs
    luminances = {sel: (luminance(ink), luminance(paper)) for sel, ink, paper in pairs}
    assert (luminances["body"][0] > luminances["body"][1]) is is_dark
    contrast = {sel: (max(pair) + 0.05) / (min(pair) + 0.05) for sel, pair in luminances.items()}
    assert {sel: ratio for sel, ratio in contrast.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_does_not_scroll_sideways(page: Path, width: int) -> None:
    """Wide tables and figures scroll inside their own frame, on a phone too."""
    with Browser(width, 900) as narrow:
        narrow.open(page)
        narrow.script("document.querySelectorAll('details').forEach(d => { d.open = true; });")
        assert narrow.script("return document.documentElement.scrollWidth <= window.innerWidth;")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_a_signal_is_a_card_with_its_verdict_first(page: Path, scheme: str) -> None:
    """At 420 px no verdict is out of sight and no name is broken: each signal is a card that begins with the verdict."""
    with Browser(1200, 900) as phone:
        phone.viewport(420, 900)
        phone.color_scheme(scheme)
        phone.open(page)
        cards = phone.script(
            """
            return Array.from(document.querySelectorAll('#signals-table tbody tr'), row => {
              const chip = row.querySelector('.chip').getBoundingClientRect(), name = row.querySelector('.name');
              const top = cell => cell.getBoundingClientRect().top;
              const first = Array.from(row.cells).every(c => c.contains(row.querySelector('.chip')) || top(c) >= chip.bottom);
              return [first, chip.left >= 0 && chip.right <= innerWidth, name.getClientRects().length,
                Array.from(row.querySelectorAll('td[data-label]'), c => c.dataset.label)];
            });
            """
        )
        assert len(cards) == 3
        for first, in_sight, lines, labels in cards:
            assert (first, in_sight, lines) == (True, True, 1)
            assert labels == ["Start", "Plain", "Tilted", "Tilted − plain", "Undone"]


def test_the_contents_lead_to_every_section(opened: Browser) -> None:
    """Each section with a title is in the list, in the page's order, and each link leads to one."""
    links = opened.script(
        "return Array.from(document.querySelectorAll('.contents a'), a => [a.getAttribute('href').slice(1), a.textContent]);"
    )
    sections = opened.script(
        "return Array.from(document.querySelectorAll('main > section'), s => [s.id, s.querySelector('h2').textContent]);"
    )
    assert links == sections
    assert len(links) >= 7
