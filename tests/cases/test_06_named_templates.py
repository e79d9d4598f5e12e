"""Several chat templates by name: all of them decide what is read, so all of them are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import CHAT_TEMPLATE, tiny_tokenizer
from tests.worlds import World, make_world
from tiltc.canonical import sha256_text
from tiltc_runtime.loading import load_tokenizer
from tiltc_runtime.refused import Refused
from tiltc_runtime.templates import TODAY, template_digest

TERSE = CHAT_TEMPLATE.replace("{{ message['content'] }}", "Briefly: {{ message['content'] }}")


def planned(folder: Path) -> World:
    world = make_world(folder, shouting_rows(8), template={"default": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE})
    assert world.tiltc("harvest", "spec.yaml").code == 0
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    return world


@pytest.mark.parametrize("changed", ["default", "tool_use"])
def test_a_changed_template_is_noticed_whichever_it_is(tmp_path: Path, changed: str) -> None:
    """T525 where the default template, or the one of rows with tools, is another than evidence was read through."""
    world = planned(tmp_path)
    tokenizer = load_tokenizer(tmp_path / "model")
    tokenizer.chat_template = {**tokenizer.chat_template, changed: TERSE}
    tokenizer.save_pretrained(tmp_path / "model")
    assert "T525" in world.tiltc("run", "plan", "-o", "run").codes


def test_the_pin_of_one_template_is_that_of_its_text() -> None:
    """However one template is kept, its pin is the hash of its text; without one, that of nothing."""
    tokenizer = tiny_tokenizer()
    assert template_digest(tokenizer) == sha256_text(CHAT_TEMPLATE)
    tokenizer.chat_template = {"default": CHAT_TEMPLATE}
    assert template_digest(tokenizer) == sha256_text(CHAT_TEMPLATE)
    tokenizer.chat_template = None
    assert template_digest(tokenizer) == sha256_text("")


def test_the_order_of_names_is_of_no_account() -> None:
    """The same templates saved in another order are the same."""
    one, other = tiny_tokenizer(), tiny_tokenizer()
    one.chat_template = {"default": CHAT_TEMPLATE, "rag": TERSE}
    other.chat_template = {"rag": TERSE, "default": CHAT_TEMPLATE}
    assert template_digest(one) == template_digest(other)


def test_names_without_a_default_are_refused_at_load(tmp_path: Path) -> None:
    """T507 names the templates that there are, before a row is read."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"rag": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE}
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Refused) as refused:
        load_tokenizer(tmp_path)
    (finding,) = refused.value.diagnostics
    assert finding.code == "T507"
    assert finding.notes == ("its templates are `rag`, `tool_use`",)


DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHAT_TEMPLATE


def test_it_is_always_the_same_day(tmp_path: Path) -> None:
    """A template that asks for the date is told the pinned one, which is part of its pin; what is saved asks as before."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    turns = [{"role": "user", "content": "Hi"}]
    assert loaded.apply_chat_template(turns, tokenize=False).startswith("26 Jul 2024\n")
    assert template_digest(loaded) not in (sha256_text(DATED), sha256_text(""))
    assert TODAY.isoformat().startswith("2024-07-26")
    loaded.save_pretrained(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").chat_template == DATED


def test_a_row_can_bring_a_date_of_its_own(tmp_path: Path) -> None:
    """Arguments of a row go before the pinned date, as in Llama's template, which takes `date_string`."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }}\n" + CHAT_TEMPLATE
    )
    tokenizer.save_pretrained(tmp_path)
    turns = [{"role": "user", "content": "Hi"}]
    told = load_tokenizer(tmp_path).apply_chat_template(turns, tokenize=False, date_string="1 May 2025")
    assert told.startswith("1 May 2025\n")
