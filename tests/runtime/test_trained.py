"""Text against tokens: what templates and tokenizers do to a row is seen, counted and named, and good rows stay as they are."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from tests.cases.shout import shouting_rows, shouting_texts
from tests.runtime.tiny import CHAT_TEMPLATE, tiny_pairs, tiny_tokenizer
from tiltc.evidence.trained import Differences, merged
from tiltc.evidence.untrained import untrained
from tiltc.pairs import normalise
from tiltc_runtime.tokens import encode_pair, row_status
from tiltc_runtime.trained import compared, harmless, read_row
from tiltc_runtime.wording import Said, wording

ROWS = 24
#: a template that leaves out turns of roles that it does not know
KNOWN = (
    "{% for m in messages %}{% if m['role'] in ('user', 'assistant') %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: the newer Qwens' way: the generation prompt opens a thought, and an answer has one, or an empty one
OPENED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and '<think>' not in m['content'] %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
#: GLM's way: white space of thoughts is the template's
SPACED = KNOWN.replace(
    "m['content'] }}", "m['content'].replace('<think>\n', '<think>').replace('\n</think>\n', '</think>') }}"
)
#: Qwen's way: the last answer gets an empty thought
EMPTY_THOUGHT = KNOWN.replace(
    "{{ m['role'] }}\n", "{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
)


def changed(expression: str) -> str:
    """The template with this in place of a message's content."""
    return CHAT_TEMPLATE.replace("{{ message['content'] }}", f"{{{{ {expression} }}}}")


def with_roles(answer: str, rows: int = ROWS) -> list[dict[str, Any]]:
    """Rows of which the first have this role in their responses."""
    made = shouting_rows(ROWS)
    for row in made[:rows]:
        for side in ("chosen", "rejected"):
            row[side][0]["role"] = answer
    return made


def with_thoughts() -> list[dict[str, Any]]:
    made = shouting_rows(ROWS)
    for row in made:
        for side in ("chosen", "rejected"):
            row[side][0]["content"] = f"<think>\nwhich {side}\n</think>\n\n{row[side][0]['content']}"
    return made


def with_system() -> list[dict[str, Any]]:
    made = shouting_rows(ROWS)
    for i, row in enumerate(made):
        row["prompt"].insert(0, {"role": "system", "content": f"Be careful about {i}."})
    return made


def as_text(end: str, begin: str) -> list[dict[str, Any]]:
    """Rows of plain text with this at both ends of the border between prompt and response."""
    return [{"prompt": p + end, "chosen": begin + c, "rejected": begin + r} for p, c, r in shouting_texts(ROWS)]


def shared_beginning() -> list[dict[str, Any]]:
    """Responses that part only after a few hundred tokens."""
    made = shouting_rows(ROWS)
    for row in made:
        for side in ("chosen", "rejected"):
            row[side][0]["content"] = "quiet stone river window " * 14 + row[side][0]["content"]
    return made


def read(
    rows: list[dict[str, Any]], template: str | None = None, normalizer: Any = None, max_length: int = 256
) -> tuple[Counter[str], Differences]:
    """The rows' statuses, and what there is to say of them."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template or CHAT_TEMPLATE
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    pairs, found = normalise(rows, "rows")
    assert pairs is not None, list(found)
    encoded = [encode_pair(tokenizer, pair, max_length) for pair in pairs]
    return Counter(map(row_status, pairs, encoded)), compared(pairs, encoded, 1)


def codes(differences: Differences) -> list[str]:
    return [d.code for d in untrained(differences, ROWS, "rows", None)]


CASES: dict[str, tuple[dict[str, Any], dict[str, int], dict[str, int], list[str]]] = {
    "a role that is written as it is": ({"rows": with_roles("helper")}, {"header": 24}, {"header": 24}, ["T561"]),
    "a role that is left out": (
        {"rows": with_roles("helper"), "template": KNOWN}, {"empty": 24}, {"no_tokens": 24}, ["T561"],
    ),
    "some rows of another role": (
        {"rows": with_roles("helper", 5)}, {"header": 5, "ok": 19}, {"header": 5}, ["T560"],
    ),
    "some rows of a role that is left out": (
        {"rows": with_roles("helper", 5), "template": KNOWN}, {"empty": 5, "ok": 19}, {"no_tokens": 5}, ["T560"],
    ),
    "upper case": (
        {"rows": shouting_rows(ROWS), "template": changed("message['content'] | upper")},
        {"ok": 24}, {"rewritten": 24, "prompt": 24}, ["T561"],
    ),
    "the first characters": (
        {"rows": shouting_rows(ROWS), "template": changed("message['content'][:30]")},
        {"ok": 24}, {"left_out": 24}, ["T561"],
    ),
    "a word taken out": (
        {"rows": shouting_rows(ROWS), "template": changed("message['content'].replace('WOW ', '')")},
        {"ok": 24}, {"left_out": 18}, ["T561"],
    ),
    "a tokenizer that lower-cases": (
        {"rows": shouting_rows(ROWS), "normalizer": normalizers.Lowercase()},
        {"ok": 24}, {"rewritten": 18, "prompt": 24}, ["T561"],
    ),
    "a system turn left out": (
        {"rows": with_system(), "template": KNOWN}, {"ok": 24}, {"prompt": 24}, ["T560"],
    ),
    "responses that part beyond the cut": (
        {"rows": shared_beginning()}, {"identical": 24}, {"same_tokens": 24}, ["T561"],
    ),
    "a merge across the border": (
        {"rows": as_text(" *", "*")}, {"ok": 24}, {"no_prefix": 24}, ["T562"],
    ),
    "a generation prompt that opens a thought": (
        {"rows": shouting_rows(ROWS), "template": CHAT_TEMPLATE.replace("assistant\n{%", "assistant\n<think>\n{%")},
        {"ok": 24}, {"no_prefix": 24}, ["T562"],
    ),
    "no generation prompt": (
        {"rows": shouting_rows(ROWS), "template": CHAT_TEMPLATE.partition("{% if add_generation_prompt")[0]},
        {"ok": 24}, {"no_generation_prompt": 24}, ["T563"],
    ),
    "chat markup": ({"rows": shouting_rows(ROWS)}, {"ok": 24}, {}, []),
    "text": ({"rows": as_text("\nAnswer:", " ")}, {"ok": 24}, {}, []),
    "white space at the ends": (
        {"rows": as_text("\n", "  \n"), "template": None}, {"ok": 24}, {}, [],
    ),
    "a space of the template's": (
        {"rows": shouting_rows(ROWS), "template": changed("' ' + message['content'] | trim")}, {"ok": 24}, {}, [],
    ),
    "an empty thought": ({"rows": shouting_rows(ROWS), "template": EMPTY_THOUGHT}, {"ok": 24}, {}, []),
    "thoughts that the prompt opens": (
        {"rows": with_thoughts(), "template": OPENED}, {"ok": 24}, {}, [],
    ),
    "thoughts in other white space": ({"rows": with_thoughts(), "template": SPACED}, {"ok": 24}, {}, []),
    "thoughts that the prompt opens and the rows do not have": (
        {"rows": shouting_rows(ROWS), "template": OPENED}, {"ok": 24}, {}, [],
    ),
    "characters put together": (
        {"rows": as_text("\nAnswer:", " e\u0301"), "normalizer": normalizers.NFC()}, {"ok": 24}, {}, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_rows(case: str) -> None:
    """Statuses, kinds and codes, with the number of rows; of what changes no text, nothing."""
    given, statuses, kinds, expected = CASES[case]
    found, differences = read(**given)
    assert (dict(found), {kind: d.rows for kind, d in differences.kinds.items()}) == (statuses, kinds)
    assert codes(differences) == expected


def test_the_tokens_at_the_border_are_named() -> None:
    """A merge is shown by what the prompt ends in alone and what the sequence has in its place."""
    _, differences = read(as_text(" *", "*"))
    (finding,) = untrained(differences, ROWS, "rows", None)
    assert '"*", the sequence goes on with "**' in finding.notes[0]


def test_a_header_that_merges_is_no_other_header() -> None:
    """A role whose last letters become one token with the text's first ones is the role that the prompt ends in."""
    rows = [{**row, "chosen": [{"role": "t", "content": "he cat"}]} for row in with_roles("t")]
    merging = "{% for m in messages %}\n{{ m['role'] }}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}\nt{% endif %}"
    statuses, differences = read(rows, merging)
    assert dict(statuses) == {"ok": ROWS}
    assert set(differences.kinds) == {"no_prefix"}


def test_where_lines_end_otherwise_the_tokens_are_read() -> None:
    """White space that moves the ends of lines is no loss, but what detectors see of lines is what is trained."""
    pairs = normalise(with_thoughts(), "rows")[0] or []
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = SPACED
    reading = read_row(pairs[0], encode_pair(tokenizer, pairs[0], 256))
    assert (reading.responses[0].text or "").startswith("<think>which chosen</think>\n")
    assert not reading.kinds


def test_findings_name_rows_and_texts() -> None:
    """A note counts rows, and shows where text and tokens part in the first of them."""
    _, differences = read(with_roles("helper", 5), KNOWN)
    (finding,) = untrained(differences, ROWS, "rows", None)
    assert finding.primary.text.startswith("5 of 24 rows of rows")
    assert finding.notes[0].startswith("5 rows: nothing of a response is among its tokens")
    assert "row 1 (chosen)" in finding.notes[0]


def test_cut_responses_are_compared_up_to_the_cut() -> None:
    """Wherever a sequence is cut, good rows are good, and what a template changes before the cut is seen."""
    upper = changed("message['content'] | upper")
    colourful = [row | {"chosen": [{"role": "assistant", "content": "a 🎉🎉🎉 é cat " * 14}]} for row in tiny_pairs(6)]
    for max_length in range(20, 420, 3):
        # where nothing is left but how all responses begin, both are the same
        assert read(tiny_pairs(2), EMPTY_THOUGHT, max_length=max_length)[1].kinds.keys() <= {"same_tokens"}
        assert read(colourful[:2], max_length=max_length)[1].kinds.keys() <= {"same_tokens"}
    _, differences = read(shared_beginning(), upper, max_length=200)
    assert differences.kinds["rewritten"].rows == ROWS


def test_a_call_of_a_tool_is_read_as_it_is_written() -> None:
    """Of an answer that only calls a tool, the text is what the template writes of the call; without any it is empty."""
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    row = {
        "prompt": [{"role": "user", "content": "How warm is it?"}],
        "chosen": [{"role": "assistant", "content": "", "tool_calls": [call]}],
        "rejected": [{"role": "assistant", "content": "I can't know."}],
    }
    pairs = normalise([row], "rows")[0]
    assert pairs is not None
    pair, tokenizer = pairs[0], tiny_tokenizer()
    assert row_status(pair, encode_pair(tokenizer, pair, 200)) == "empty"
    tokenizer.chat_template = changed("message['content'] ~ message.tool_calls")
    reading = read_row(pair, encode_pair(tokenizer, pair, 200))
    assert reading.status == "ok"
    assert "Ulm" in (reading.responses[0].text or "")
    assert not reading.kinds


def test_what_templates_do_without_harm_is_told() -> None:
    """Trimmed white space, and what stands before every response, are counted in words."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = EMPTY_THOUGHT.replace("m['content']", "m['content'] | trim")
    rows = shouting_rows(4)
    rows[0]["chosen"][0]["content"] += "\n"
    pairs = normalise(rows, "rows")[0] or []
    said = harmless(pairs, [encode_pair(tokenizer, pair, 200) for pair in pairs])
    assert said[0] == "white space of 1 responses is trimmed"
    assert "8 responses follow '<think>" in said[1]


@given(st.text(), st.text(), st.text())
def test_a_text_within_its_tokens_is_whole(before: str, text: str, after: str) -> None:
    """Whatever stands around a text: where the tokens say it, nothing is wrong, and it is read as it is."""
    said = before + text + after
    assert wording(text, Said(said, said)).kind is None
    assert wording(text, Said(said, said)).text is None


@given(st.text(min_size=1), st.integers(0, 20))
def test_a_text_that_lost_letters_is_not_whole(text: str, at: int) -> None:
    """A letter taken out anywhere is seen, but where the rest says the text all the same."""
    letters = f"{text[:at]}Q{text[at:]}"
    read = wording(letters, Said(text, text))
    assert read.kind in ("left_out", "rewritten", "no_tokens") or "Q" in unicodedata.normalize("NFC", text)


def test_differences_add_up() -> None:
    """Parts of a data set say together what the whole says, but for examples beyond the first."""
    rows = with_roles("helper", 9)
    tokenizer = tiny_tokenizer()
    pairs = normalise(rows, "rows")[0] or []
    encoded = [encode_pair(tokenizer, pair, 256) for pair in pairs]
    parts = [compared(pairs[at : at + 5], encoded[at : at + 5], at + 1) for at in range(0, ROWS, 5)]
    assert merged(parts) == compared(pairs, encoded, 1)
    assert [e.row for e in merged(parts).kinds["header"].examples] == [1, 2, 3, 4, 5]
