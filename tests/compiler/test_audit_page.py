"""The page as text: complete, self-contained, small, and safe whatever the data says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.compiler.audits import NASTY, fabricated_audit
from tiltc.audit.model import Audit
from tiltc.audit.page import headline, render_html
from tiltc.audit.payload import payload, script_json, shown, utf16
from tiltc.plan import DataPin

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Reader(HTMLParser):
    """Elements in order, ids, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def audit() -> Audit:
    return fabricated_audit()


@pytest.fixture(scope="module")
def reader(audit: Audit) -> Reader:
    return read(render_html(audit))


def test_nothing_is_loaded(reader: Reader) -> None:
    """No element of the page names an address, and a policy forbids what a script could ask for."""
    named = [(tag, key, value) for tag, attrs in reader.tags for key, value in attrs.items() if key in ("src", "href")]
    assert [name for name in named if name[2] and not name[2].startswith(("#", "data:"))] == []
    policy = next(
        attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_there_is_one_data_block_and_one_script(reader: Reader) -> None:
    """Nothing of the data opens another script, and no text of it is an element."""
    assert [attrs.get("type") for tag, attrs in reader.tags if tag == "script"] == ["application/json", None]
    assert not [tag for tag, _ in reader.tags if tag == "img"]
    json.loads(reader.scripts[0])


def test_ids_are_unique_and_labels_lead_somewhere(reader: Reader) -> None:
    """Every id once; `aria-labelledby` and `aria-controls` name elements that are there."""
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {attrs[key] for _, attrs in reader.tags for key in ("aria-labelledby", "aria-controls") if key in attrs}
    assert wanted <= set(ids)


def test_no_control_character_reaches_the_page(audit: Audit) -> None:
    """Control, direction and line-separator characters of the data are replaced, in markup and in the data block."""
    assert not CONTROL.search(render_html(audit).replace("\n", ""))
    assert not re.search(r"\\u0000|\\u001b|\\u202e", render_html(audit))


def test_nasty_names_are_shown_as_they_are(audit: Audit) -> None:
    """The name of a data set is text, not markup."""
    page = render_html(audit.model_copy(update={"data": DataPin(name=NASTY[0] + NASTY[1], digest="", rows=1)}))
    assert len([tag for tag, _ in read(page).tags if tag == "script"]) == 2
    assert "&lt;/script&gt;&lt;script&gt;" in page


@pytest.mark.parametrize("text", NASTY)
def test_texts_survive_the_data_block(text: str) -> None:
    """What the script reads is the printable text, and the block holds no `<`."""
    block = script_json([shown(text)])
    assert "<" not in block
    assert json.loads(block) == [shown(text)]
    assert len(shown(text)) == len(text)


def test_marks_are_counted_as_a_browser_counts() -> None:
    """Characters beyond the basic plane are two units in a browser."""
    assert utf16("a😀b", [(0, 1), (1, 2), (2, 3)]) == [[0, 1], [1, 3], [3, 4]]
    assert utf16("", []) == []
    assert utf16("é日", [(0, 2)]) == [[0, 2]]


def columns(table: dict[str, Any], name: str) -> list[Any]:
    return [row[table["columns"].index(name)] for row in table["rows"]]


def test_the_data_is_all_there(audit: Audit) -> None:
    """Every hypothesis, cluster, context, concept and pair is in the page, in order."""
    data = payload(audit)
    assert columns(data["hypotheses"], "id") == [h.id for h in audit.hypotheses]
    assert columns(data["responses"], "id") == [r.id for r in audit.responses]
    assert columns(data["contexts"], "id") == [c.id for c in audit.contexts]
    assert columns(data["concepts"], "id") == [c.name for c in audit.concepts]
    assert len(data["pairs"]) == len(audit.pairs)
    assert set(data["spec"]["choices"]) == {*columns(data["hypotheses"], "id"), *columns(data["concepts"], "id")}


def test_a_large_audit_stays_small() -> None:
    """400 hypotheses a view, the paper's numbers of clusters and 300 long pairs fit in 4 MB."""
    audit = fabricated_audit(hypotheses=400, responses=407, contexts=512, pairs=300, characters=1200, concepts=60)
    assert len(render_html(audit).encode()) < 4_000_000


def test_the_headline_is_what_is_taught_or_what_remains(audit: Audit) -> None:
    """Without a plan the strongest concepts and the count against chance; with one, how much is left."""
    assert re.search(r"would move std\.\S+ up \(\+0\.\d+ sd\).* stand out at q < 0\.05; with labels", headline(audit))
    assert re.search(r"\d+% of a typical difference remains: \d+ of the \d+", headline(fabricated_audit(plan=True)))
    bare = fabricated_audit(hypotheses=0, concepts=0, plan=True)
    assert headline(bare) == "Nothing stands out today, so the plan has nothing to take away."


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_audit_renders(size: int, plan: bool) -> None:
    """Nothing found, nothing to divide by."""
    page = render_html(
        fabricated_audit(hypotheses=size, responses=size, contexts=size, pairs=1, concepts=size, plan=plan)
    )
    assert "</html>" in page
