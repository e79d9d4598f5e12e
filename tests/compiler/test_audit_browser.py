"""The audit page in a real browser: it finds, sorts, selects, links and writes specs, and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.browser import Browser
from tests.compiler.audits import fabricated_audit
from tiltc.audit.page import render_html
from tiltc.audit.snippet import VERBS, spec_yaml

pytestmark = [pytest.mark.browser, pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))]

AUDIT = fabricated_audit(hypotheses=150, responses=30, contexts=20)
DOWN, ENTER, RIGHT, ESCAPE = "\ue015", "\ue007", "\ue014", "\ue00c"
ROWS = "Array.from(document.querySelectorAll('#ranking tbody tr'))"
IDS = f"return {ROWS}.map(r => r.dataset.id);"
SELECTED = "return document.querySelector('#ranking [aria-selected=true]')?.dataset.id ?? null;"
COUNT = "return document.getElementById('count').textContent;"
QUERY = "const q = document.getElementById('query'); q.value = arguments[0]; q.dispatchEvent(new Event('input'));"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "audit.html"
    path.write_text(render_html(AUDIT), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def opened(chrome: Browser, page: Path) -> Browser:
    return at(chrome, page, "")


def at(chrome: Browser, page: Path, hash: str) -> Browser:
    """The page freshly loaded at a link."""
    chrome.open(page.with_name("blank.html"))
    chrome.go(page.resolve().as_uri() + hash)
    return chrome


def of_view(view: str) -> list[Any]:
    return [h for h in AUDIT.hypotheses if h.view == view and h.context]


def words_of(h: Any) -> str:
    """What a search reads."""
    labels = [(c.id, c.label) for c in (AUDIT.context(h.context), AUDIT.response(h.response))]
    return " ".join([h.id, *(" ".join([key, a.title, *a.terms, *a.imported]) for key, a in labels)]).lower()


def test_nothing_is_loaded_and_nothing_goes_wrong(chrome: Browser, page: Path) -> None:
    """The page is the only thing asked for; every tab, card and drawer opens without a word in the console."""
    page.with_name("blank.html").write_text("<link rel=icon href=data:,>")
    at(chrome, page, "")
    chrome.requests()
    chrome.console()
    chrome.go(page.resolve().as_uri() + "#view=prompt")
    chrome.script("document.querySelectorAll('[role=tab]').forEach(t => t.click());")
    chrome.script("document.querySelectorAll('details').forEach(d => { d.open = true; });")
    chrome.script("document.querySelectorAll('.dot').forEach(d => d.dispatchEvent(new Event('mouseenter')));")
    chrome.script(f"{ROWS}.slice(0, 40).forEach(r => r.click());")
    assert {
        url.split("#")[0] for url in chrome.requests() if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))
    } <= {page.as_uri()}
    assert chrome.console() == []
    assert "owned" not in chrome.script("return document.title;")


def test_search_narrows_the_table(opened: Browser) -> None:
    """Words of either name must all occur; the count says how many are left."""
    opened.script("document.getElementById('tab-prompt').click(); document.getElementById('passes').click();")
    h = of_view("prompt")[0]
    asked = [AUDIT.context(h.context).label.terms[0], AUDIT.response(h.response).label.terms[-1]]
    opened.script(QUERY, f"{asked[0].upper()}  {asked[1]} ")
    kept = {h.id for h in of_view("prompt") if all(word in words_of(h) for word in " ".join(asked).split())}
    assert h.id in kept
    assert set(opened.script(IDS)) == kept
    assert opened.script(COUNT) == f"{len(kept)} of {len(of_view('prompt'))} hypotheses"
    opened.script(QUERY, "no such words anywhere")
    assert opened.script(COUNT).startswith("0 of")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("min", lambda t: -t.delta_min), ("delta", lambda t: -abs(t.delta.value)), ("d", lambda t: -abs(t.d)),
        ("z", lambda t: -abs(t.z)), ("q", lambda t: t.q),
    ],
)  # fmt: skip
def test_every_rank_key_sorts(opened: Browser, key: str, value: Any) -> None:
    """The order is that of the audit's numbers, the strongest first."""
    opened.script("document.getElementById('tab-feature').click(); document.getElementById('passes').click();")
    set_rank = (
        "const s = document.getElementById('rank'); s.value = arguments[0]; s.dispatchEvent(new Event('change'));"
    )
    opened.script(set_rank, key)
    expected = [h.id for h in sorted(of_view("feature"), key=lambda h: value(h.test))][:100]
    shown = opened.script(IDS)
    by_id = {h.id: h.test for h in AUDIT.hypotheses}
    assert [value(by_id[i]) for i in shown] == [value(by_id[i]) for i in expected]


def test_heads_sort_and_turn_around(opened: Browser) -> None:
    """A press on a head sorts by it, a second press turns the order around, and the focus stays."""
    opened.script("document.querySelector('[data-rank=q] button').focus();")
    opened.press(" ")
    first = opened.script(IDS)
    assert opened.script("return document.activeElement.closest('th').getAttribute('aria-sort');") == "descending"
    opened.press(" ")
    assert opened.script(IDS) != first
    assert opened.script("return document.activeElement.closest('th').getAttribute('aria-sort');") == "ascending"


def test_filters(opened: Browser) -> None:
    """Leaning, significance and the default filters leave exactly those hypotheses."""
    opened.script("document.getElementById('tab-prompt').click();")
    opened.script(
        "const s = document.getElementById('lean'); s.value = 'rejected'; s.dispatchEvent(new Event('change'));"
    )
    opened.script("document.getElementById('clear').click();")
    kept = {h.id for h in of_view("prompt") if h.passes and h.test.q < 0.05 and h.test.delta.value < 0}
    assert set(opened.script(IDS)) == kept
    opened.script("document.getElementById('passes').click();")
    assert set(opened.script(IDS)) == {h.id for h in of_view("prompt") if h.test.q < 0.05 and h.test.delta.value < 0}


def test_long_lists_come_by_the_hundred(opened: Browser) -> None:
    """The first hundred rows, and the rest on request."""
    opened.script("document.getElementById('tab-prompt').click(); document.getElementById('passes').click();")
    assert len(opened.script(IDS)) == 100
    opened.script("document.querySelector('#ranking-more button').click();")
    assert len(opened.script(IDS)) == 150


def test_arrow_keys_select_and_enter_goes_to_the_card(opened: Browser) -> None:
    """The focus moves with the selection, the card follows, and no step piles up for the back button."""
    opened.script(
        "document.getElementById('tab-feature').click(); document.querySelector('#ranking [tabindex=\"0\"]').focus();"
    )
    before = opened.script("return history.length;")
    ids = opened.script(IDS)
    opened.press(DOWN + DOWN)
    assert opened.script(SELECTED) == ids[2]
    assert opened.script("return document.activeElement.dataset.id;") == ids[2]
    assert opened.script("return history.length;") == before
    opened.press(ENTER)
    assert opened.script("return document.activeElement.id;") == "card-title"
    h = next(h for h in AUDIT.hypotheses if h.id == ids[2])
    assert AUDIT.context(h.context or "").id in opened.script("return document.getElementById('card').textContent;")


def test_maps_are_walked_and_narrow_the_table(opened: Browser) -> None:
    """Arrow keys move between clusters, Enter keeps the hypotheses of one, the chip ends that."""
    opened.script("document.getElementById('tab-prompt').click(); document.getElementById('passes').click();")
    opened.script("document.querySelector('#map-right .dot[tabindex=\"0\"]').focus();")
    first = opened.script("return document.activeElement.dataset.id;")
    opened.press(RIGHT)
    if opened.script("return document.activeElement.dataset.id;") == first:
        opened.press(DOWN)
    key = opened.script("return document.activeElement.dataset.id;")
    assert key != first
    assert opened.script("return !document.getElementById('tip').hidden;")
    opened.press(ENTER)
    assert set(opened.script(IDS)) == {h.id for h in of_view("prompt") if h.response == key}
    opened.script("document.querySelector('.pin').click();")
    assert len(opened.script(IDS)) == 100


def test_a_link_restores_everything(chrome: Browser, page: Path) -> None:
    """View, hypothesis, rank key, filters, query and choices come back from the address."""
    h = [h for h in of_view("prompt") if h.test.delta.value > 0][-1]
    word = AUDIT.response(h.response).label.terms[0]
    hash = f"#view=prompt&h={h.id}&rank=d&lean=chosen&all=1&q={word}&spec=s.{h.id}"
    at(chrome, page, hash)
    assert chrome.script(SELECTED) == h.id
    values = "return ['rank', 'lean', 'query'].map(i => document.getElementById(i).value);"
    assert chrome.script(values) == ["d", "chosen", word]
    assert chrome.script("return document.getElementById('tab-prompt').getAttribute('aria-selected');") == "true"
    assert chrome.script("return document.getElementById('spec-text').textContent;") == spec_yaml(
        AUDIT, [(h.id, "suppress")]
    )


def test_nonsense_in_the_address_is_ignored(chrome: Browser, page: Path) -> None:
    at(chrome, page, "#view=__proto__&h=x&rank=constructor&context=y&spec=s.toString,z,,k.&q=%3Cscript%3E")
    assert chrome.script("return document.getElementById('tab-whole').getAttribute('aria-selected');") == "true"
    assert chrome.console() == []


def test_the_back_button_goes_back(opened: Browser) -> None:
    """Tabs and selections are steps of the history."""
    opened.script("document.getElementById('tab-feature').click();")
    ids = opened.script(IDS)
    opened.script(f"{ROWS}[3].click();")
    assert opened.script(SELECTED) == ids[3]
    opened.script("history.back();")
    assert opened.until(SELECTED, ids[0])
    opened.script("history.back();")
    assert opened.until("return document.getElementById('tab-whole').getAttribute('aria-selected');", "true")


def test_the_spec_is_the_one_that_python_writes(opened: Browser) -> None:
    """Concepts and hypotheses of all views, with every verb, in the order of the choices."""
    keys = [AUDIT.concepts[0].name, *(h.id for h in AUDIT.hypotheses[::7]), AUDIT.concepts[3].name]
    choices = [(key, VERBS[i % 3]) for i, key in enumerate(keys)]
    opened.script("location.hash = 'spec=' + arguments[0].map(([k, v]) => v[0] + '.' + k).join(',');", choices)
    text = "return document.getElementById('spec-text').textContent;"
    assert opened.until(text, spec_yaml(AUDIT, choices))


def test_verbs_are_chosen_and_taken_back(opened: Browser) -> None:
    """A button adds its signal, shows it in the row, and takes it out again; the drawer lists, copies and closes."""
    name = AUDIT.concepts[0].name
    press = f"document.querySelector(`[data-choice='{name}'][data-verb=amplify]`)"
    opened.script(f"{press}.focus();")
    opened.press(" ")
    assert opened.script(f"return {press}.getAttribute('aria-pressed');") == "true"
    text = "return document.getElementById('spec-text').textContent;"
    assert opened.script(text) == spec_yaml(AUDIT, [(name, "amplify")])
    opened.script("document.getElementById('spec-open').click();")
    assert opened.script("return document.activeElement.id;") == "spec-title"
    opened.script("window.made = []; const a = URL.createObjectURL; URL.createObjectURL = b => (made.push(b), a(b));")
    opened.script("document.getElementById('spec-save').click();")
    assert opened.script("return made[0].size;") == len(spec_yaml(AUDIT, [(name, "amplify")]).encode())
    opened.press(ESCAPE)
    assert opened.script("return document.getElementById('spec').hidden;")
    opened.script(f"{press}.click();")
    assert opened.script(text) == ""


def test_two_choices_of_one_signal_agree(opened: Browser) -> None:
    """Feature-view hypotheses of one cluster write one signal: the verb of the later choice shows on both."""
    by_response: dict[str, list[str]] = {}
    for h in of_view("feature"):
        by_response.setdefault(h.response, []).append(h.id)
    one, two = next(ids for ids in by_response.values() if len(ids) > 1)[:2]
    opened.script("location.hash = arguments[0];", f"view=feature&all=1&h={two}&spec=s.{one}")
    assert opened.until(SELECTED, two)
    button = "document.querySelector('#card [data-verb=amplify]')"
    opened.script(f"{button}.click();")
    choices = [(one, "amplify"), (two, "amplify")]
    assert opened.script("return document.getElementById('spec-text').textContent;") == spec_yaml(AUDIT, choices)


def test_examples_are_marked(opened: Browser) -> None:
    """The marks of the card are the characters that the audit names, beyond the basic plane too."""
    h = next(h for h in of_view("feature") if h.passes and h.examples)
    opened.script("location.hash = arguments[0];", f"view=feature&h={h.id}")
    assert opened.until(SELECTED, h.id)
    marks = opened.script(
        "return Array.from(document.querySelectorAll('.sample:first-of-type .text mark'), m => m.textContent);"
    )
    pair, example = AUDIT.pairs[h.examples[0].pair], h.examples[0]
    expected = [pair.chosen[a:b] for a, b in example.chosen] + [pair.rejected[a:b] for a, b in example.rejected]
    clean = [text.replace("\u2028", " ").replace("\u2029", " ") for text in expected]
    assert [len(m) for m in marks] == [len(c.encode("utf-16-le")) // 2 for c in clean]
    assert all(m == c or "\ufffd" in m for m, c in zip(marks, clean, strict=True))


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_scheme_with_enough_contrast(opened: Browser, scheme: str, is_dark: bool) -> None:
    """Every kind of text keeps a contrast of 4.5 or more in both schemes."""
    opened.color_scheme(scheme)
    opened.script("document.querySelector('#card [data-verb=suppress]').click();")
    pairs = opened.script(
        """
        const seen = sel => { const e = document.querySelector(sel); if (!e) return null; let b = e;
          while (b && getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
          return [sel, getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; };
        return ['body', 'h1', '.sub', '.ci', '.eyebrow', '[role=tab]', '#card .lean', 'tr.chosen .amount', 'tr.rejected .amount',
                '.verbs [aria-pressed=true]', '.verbs [aria-pressed=false]', '.terms span', 'mark', 'h5.chosen', 'h5.rejected',
                '#card .quiet', '#spec-count', '.chosen-verb:not(:empty)'].map(seen);
        """
    )
    opened.color_scheme("light")
    assert None not in pairs
    levels = {sel: (browser.luminance(ink), browser.luminance(paper)) for sel, ink, paper in pairs}
    assert (levels["body"][0] > levels["body"][1]) is is_dark
    contrast = {sel: (max(pair) + 0.05) / (min(pair) + 0.05) for sel, pair in levels.items()}
    assert {sel: ratio for sel, ratio in contrast.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("view", ["whole", "feature", "prompt"])
def test_the_page_does_not_scroll_sideways_on_a_phone(chrome: Browser, page: Path, view: str) -> None:
    """At 360 pixels wide tables scroll inside their own frame, with everything open."""
    chrome.viewport(360, 800)
    at(chrome, page, f"#view={view}")
    chrome.script("document.querySelectorAll('details').forEach(d => { d.open = true; });")
    widths = chrome.script("return [document.documentElement.scrollWidth, window.innerWidth];")
    chrome.viewport(0, 0)
    assert widths == [360, 360]


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("view", ["whole", "feature", "prompt"])
def test_names_on_a_map_do_not_lie_on_each_other(page: Path, width: int, view: str) -> None:
    """Whatever the width, no two names of a map overlap, each is within the map, and there are some."""
    with Browser(1400, 1000) as one:
        one.viewport(width, 1000)
        one.open(page)
        one.go(page.resolve().as_uri() + f"#view={view}")
        maps = one.script(
            """
            return Array.from(document.querySelectorAll('.map'), map => { const m = map.getBoundingClientRect();
              return [[m.left, m.right, m.bottom], Array.from(map.querySelectorAll('.map-names text'), t => {
                const b = t.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })]; });
            """
        )
        assert len(maps) == 2
        for (left, right, bottom), names in maps:
            assert names
            # a line box is a pixel or two higher than its letters
            inner = [(a, b + 2, c, d - 2) for a, b, c, d in names]
            assert all(left - 1 <= a and c <= right + 1 and d <= bottom + 1 for a, _, c, d in inner)
            pairs = [(x, y) for i, x in enumerate(inner) for y in inner[:i]]
            assert [p for p in pairs if _overlap(*p)] == []


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_legends_marks_are_no_rules_of_the_table(opened: Browser, scheme: str) -> None:
    """No cell of a table has a line at its side: what a legend's glyph looks like is said of the legend alone."""
    opened.color_scheme(scheme)
    lines = opened.script(
        """
        return Array.from(document.querySelectorAll('.plotted :is(td, th)'),
          c => getComputedStyle(c).borderLeftWidth).filter(w => w !== '0px').length;
        """
    )
    assert lines == 0
    assert opened.script("return getComputedStyle(document.querySelector('.key .k-length')).borderLeftWidth;") == "2px"
