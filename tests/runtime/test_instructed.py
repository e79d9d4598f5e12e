"""Where an instruction goes, what stays as it is, and where the last user turn starts."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.runtime.tiny import tiny_tokenizer
from tiltc.pairs import normalise
from tiltc_runtime.instructed import instructed, instructed_ids, last_turn_start
from tiltc_runtime.pairs import Pair
from tiltc_runtime.tokens import encode_pair

USER, ANSWER, SYSTEM = "user", "assistant", "system"
#: adds a system turn where there is none, and thinks before it answers, as many a template does
WILFUL = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
)


def turns(*contents: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in contents]


def pair_of(prompt: Any, chosen: str = "the cat", rejected: str = "a garden") -> Pair:
    pairs, found = normalise([{"prompt": prompt, "chosen": chosen, "rejected": rejected}], "data")
    assert pairs is not None, list(found)
    return pairs[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(USER, "Hi")], [(USER, "Hi\n\nBe kind.")]),
        ([(SYSTEM, "S"), (USER, "Hi\n")], [(SYSTEM, "S"), (USER, "Hi\n\nBe kind.\n")]),
        (
            [(USER, "A"), (ANSWER, "B"), (USER, "C"), ("tool", "D")],
            [(USER, "A"), (ANSWER, "B"), (USER, "C\n\nBe kind."), ("tool", "D")],
        ),
        ([(SYSTEM, "S")], [(SYSTEM, "S\n\nBe kind.")]),
        ([(USER, "")], [(USER, "Be kind.")]),
    ],
    ids=["one", "system and white space", "tool after", "no user", "empty"],
)
def test_an_instruction_ends_the_last_user_turn(before: Any, after: Any) -> None:
    """After a blank line, whatever stands around that turn."""
    assert instructed(tuple(turns(*before)), "Be kind.") == tuple(turns(*after))


def test_a_prompt_without_turns_gets_one() -> None:
    """A conversation may start with the response."""
    assert instructed((), "Be kind.") == tuple(turns((USER, "Be kind.")))


def test_text_keeps_what_sets_the_response_apart() -> None:
    """White space at the end of a text prompt stays between the instruction and the response."""
    assert instructed("Q: why?\nA: ", "Be kind.") == "Q: why?\nA:\n\nBe kind. "


@pytest.mark.parametrize("template", [None, WILFUL], ids=["chatml", "wilful"])
@pytest.mark.parametrize("turn", ["Hi", " the cat?", "0", "?", "\n\nin a garden\n"])
def test_the_policy_reads_the_instruction_and_the_same_response(template: str | None, turn: str) -> None:
    """Decoded, the prompt is the template's own with the instruction in it; the response's tokens are untouched."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    pair = pair_of(turns((USER, "A"), (ANSWER, "B"), (USER, turn)))
    more = turns((USER, "A"), (ANSWER, "B"), (USER, turn.rstrip() + "\n\nBe kind." + turn[len(turn.rstrip()) :]))
    whole = tokenizer.apply_chat_template([*more, *turns((ANSWER, "the cat"))], tokenize=False)
    response = encode_pair(tokenizer, pair, sys.maxsize).responses[0]
    assert tokenizer.decode([*instructed_ids(tokenizer, pair, "Be kind."), *response]) == whole


@pytest.mark.parametrize("prompt", ["the cat", "the cat ", "Q: why?\nA:", "", "in a garden *"])
@pytest.mark.parametrize("response", ["over", " over", "** over", "\n\nover"])
def test_text_reads_on_after_the_instruction(prompt: str, response: str) -> None:
    """Text has no template: where tokens don't merge across the border, instruction and response stand side by side."""
    tokenizer = tiny_tokenizer()
    pair = pair_of(prompt, response, " or")
    own = encode_pair(tokenizer, pair, sys.maxsize)
    made = tokenizer.decode([*instructed_ids(tokenizer, pair, "Be kind."), *own.responses[0]])
    if tokenizer.decode(own.prompt) == prompt:
        body = prompt.rstrip()
        assert made == (f"{body}\n\n" if body else "") + "Be kind." + prompt[len(body) :] + response + "<|im_end|>"
    else:
        assert made.endswith(tokenizer.decode(own.responses[0]))


@pytest.mark.parametrize("template", [None, WILFUL], ids=["chatml", "wilful"])
@pytest.mark.parametrize("turn", ["Hi", " the cat?", "0", "?"])
@pytest.mark.parametrize("before", [[], [(SYSTEM, "S")], [(USER, "0"), (ANSWER, "?")]], ids=len)
def test_the_last_turn_starts_at_its_text(template: str | None, turn: str, before: Any) -> None:
    """After the header of the last user turn, also where the template adds turns of its own."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    pair = pair_of(turns(*before, (USER, turn)))
    prompt = encode_pair(tokenizer, pair, sys.maxsize).prompt
    start = last_turn_start(tokenizer, pair)
    text = tokenizer.decode(prompt[start:])
    assert text.startswith(turn.strip() if template else turn)
    assert tokenizer.decode(prompt[:start]).endswith("<|im_start|>user\n")
    assert USER not in text


def test_all_of_a_text_is_one_turn() -> None:
    """From the first token on, as the tokenizer puts none before it."""
    assert last_turn_start(tiny_tokenizer(), pair_of("the cat in a garden")) == 0
    assert last_turn_start(tiny_tokenizer(), pair_of("")) == 0
