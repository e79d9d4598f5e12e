"""Marks: every token of a span stands in the row's text where it is said to, or nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.tiny import CHAT_TEMPLATE, tiny_tokenizer
from tiltc.pairs import Pair, normalise, plain_text
from tiltc_runtime.marks import Marked, Marker
from tiltc_runtime.tokens import Encoded, encode_pair

QUESTION = {"role": "user", "content": "in the winter garden?"}
SYSTEM = {"role": "system", "content": "the cat"}
ANSWER, OTHER = "the winter in the garden", "**no** cat"


def pair(prompt: Any, chosen: str = ANSWER, rejected: str = OTHER) -> Pair:
    turns = prompt if isinstance(prompt, str) else list(prompt)
    texts = [t if isinstance(prompt, str) else [{"role": "assistant", "content": t}] for t in (chosen, rejected)]
    pairs, found = normalise([{"prompt": turns, "chosen": texts[0], "rejected": texts[1]}], "rows")
    assert pairs is not None, list(found)
    return pairs[0]


def marked(row: Pair, tokenizer: Any = None, max_length: int = 1000) -> tuple[Marked, Encoded]:
    tokenizer = tokenizer or tiny_tokenizer()
    encoded = encode_pair(tokenizer, row, max_length)
    return Marker(tokenizer).mark(row, encoded), encoded


def covered(text: str, starts: Any) -> list[str]:
    """What each token covers."""
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def assert_exact(row: Pair, tokenizer: Any, made: Marked, encoded: Encoded) -> None:
    """Tokens cover what they decode to, or nothing where they are the template's."""
    texts = (plain_text(row.prompt), *made.responses)
    for text, starts, ids in zip(
        texts, (made.prompt_starts, *made.starts), (encoded.prompt, *encoded.responses), strict=True
    ):
        assert len(starts) == len(ids)
        parts = covered(text, starts)
        assert "".join(parts) == text[starts[0] :]
        assert all(part in ("", tokenizer.decode([token])) for part, token in zip(parts, ids, strict=True))


def test_a_conversation() -> None:
    """Tokens of the text cover their characters; the template's before it start at 0, those after it at its end."""
    tokenizer = tiny_tokenizer()
    row = pair([QUESTION])
    made, encoded = marked(row, tokenizer)
    assert_exact(row, tokenizer, made, encoded)
    head = len(tokenizer("<|im_start|>user\n")["input_ids"])
    assert made.prompt_starts[: head + 2] == [0] * (head + 1) + [2]
    assert made.responses == (ANSWER, OTHER)
    assert made.starts[0][0] == 0
    assert made.starts[0][-2:] == [len(ANSWER)] * 2


def test_texts() -> None:
    """Plain text is marked without a template, and the end-of-sequence token covers nothing."""
    row, tokenizer = pair("in the garden", " the cat", " a cat"), tiny_tokenizer()
    made, encoded = marked(row, tokenizer)
    assert_exact(row, tokenizer, made, encoded)
    assert made.prompt_starts[0] == 0
    assert made.starts[0][-1] == len(" the cat")


def test_several_turns() -> None:
    """In `role: content` blocks, contents are marked; what the template puts between them covers the blocks' heads."""
    row = pair([SYSTEM, QUESTION])
    made, _ = marked(row)
    text = plain_text(row.prompt)
    parts = covered(text, made.prompt_starts)
    assert "".join(parts) == text
    assert [made.prompt_starts.count(at) > 0 for at in (text.index("the cat"), text.index("in the"))] == [True, True]
    assert [p for p in parts if p][:5] == ["system: ", "the", " ", "c", "a"]


def test_characters_of_several_tokens() -> None:
    """The last token of a character covers it."""
    made, _ = marked(pair([QUESTION], "a 🎉!"))
    assert [p for p in covered("a 🎉!", made.starts[0]) if p] == ["a", " ", "🎉", "!"]
    assert made.starts[0].count(2) == 4


def test_a_template_that_strips() -> None:
    """White space that a template drops at a text's ends belongs to the tokens there."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE.replace("message['content']", "message['content'] | trim")
    made, _ = marked(pair([QUESTION], "  the cat \n"), tokenizer)
    assert covered("  the cat \n", made.starts[0])[0] == "the"
    assert made.starts[0][-2:] == [len("  the cat \n")] * 2


@pytest.mark.parametrize("change", ["upper", "replace('t', '')", "replace('cat', 'dog')"])
def test_a_template_that_rewrites(change: str) -> None:
    """Nothing is said about texts that the template changes."""
    tokenizer = tiny_tokenizer()
    how = f"| {change}" if change == "upper" else f".{change}"
    tokenizer.chat_template = CHAT_TEMPLATE.replace("message['content']", f"(message['content'] {how})")
    made, _ = marked(pair([{**QUESTION, "content": "cat?"}], "the cat", "a cat"), tokenizer)
    assert (made.prompt_starts, made.starts) == ([], ([], []))
    assert made.responses == ("the cat", "a cat")


def test_tokenizers_without_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without offsets there are no marks, and a cut response is what its tokens decode to."""
    tokenizer = tiny_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    row = pair([QUESTION])
    prompt = len(encode_pair(tokenizer, row, 1000).prompt)
    made, encoded = marked(row, tokenizer, prompt + 4)
    assert (made.prompt_starts, made.starts) == ([], ([], []))
    assert encoded.cut == (True, True)
    assert made.responses == ("the win", "**no**")
    assert all(text.startswith(part) for text, part in zip((ANSWER, OTHER), made.responses, strict=True))


@pytest.mark.parametrize("read", range(1, 14))
def test_cut_responses(read: int) -> None:
    """A cut text has the whole characters that were read, whatever the cut goes through."""
    tokenizer, text = tiny_tokenizer(), "the 🎉 cat"
    row = pair([QUESTION], text, OTHER)
    prompt = len(encode_pair(tokenizer, row, 1000).prompt)
    made, encoded = marked(row, tokenizer, prompt + read)
    ids = encoded.responses[0]
    expected = tokenizer.decode(ids, skip_special_tokens=True).rstrip("�\n")
    assert made.responses[0] == expected
    assert len(made.starts[0]) == len(ids)
    assert max(made.starts[0]) <= len(made.responses[0])


def test_offsets_with_holes_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets that leave characters out or run back are no marks."""
    row, tokenizer = pair("in", "abc", "d"), tiny_tokenizer()
    encoded, call = encode_pair(tokenizer, row, 100), type(tokenizer).__call__

    def wrong(self: Any, **keywords: Any) -> Any:
        made = call(self, **keywords)
        if "offset_mapping" in made:
            made["offset_mapping"][1] = (1, 1)
        return made

    monkeypatch.setattr(type(tokenizer), "__call__", wrong)
    assert Marker(tokenizer).mark(row, encoded).starts[0] == []
