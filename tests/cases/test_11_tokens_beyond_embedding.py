"""A tokenizer that is larger than the model's embedding is a finding before anything looks a token up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import tiny_tokenizer
from tests.worlds import World, make_world

#: rows of the tiny embedding beyond its tokenizer's own tokens
SPARE = 8


def grown(names: list[str]) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<|spare-{i}|>" for i in range(SPARE)])
    tokenizer.add_tokens(names)
    return tokenizer


def said(world: World) -> tuple[int, list[str], str]:
    answer = world.tiltc("harvest", "spec.yaml")
    return answer.code, answer.codes, answer.out


def test_rows_with_such_a_token_are_named(tmp_path: Path) -> None:
    """T565 with the token and its number, where a row has one that was added and not embedded."""
    rows = shouting_rows(8)
    rows[3]["chosen"][0]["content"] += " lamp"
    code, codes, out = said(make_world(tmp_path, rows, tokenizer=grown(["lamp"])))
    assert (code, codes) == (1, ["T565"])
    assert "'lamp'" in out


def test_such_tokens_that_no_row_has_are_no_fault(tmp_path: Path) -> None:
    """Marks of images, for example, are beyond the embedding of models that are good to train."""
    code, codes, _ = said(make_world(tmp_path, shouting_rows(8), tokenizer=grown(["<image_soft_token>"])))
    assert (code, codes) == (0, [])


@pytest.mark.parametrize("part", ["pad_token", "eos_token", "bos_token"])
def test_marks_that_every_sequence_has_must_be_embedded(tmp_path: Path, part: str) -> None:
    """T565 at load, with the mark, whatever the rows hold."""
    tokenizer = grown(["<mark>"])
    setattr(tokenizer, part, "<mark>")
    code, codes, out = said(make_world(tmp_path, shouting_rows(8), tokenizer=tokenizer))
    assert (code, codes) == (1, ["T565"])
    assert "'<mark>'" in out


def test_the_vocabulary_of_another_model(tmp_path: Path) -> None:
    """T565 at load where plain words are beyond the embedding."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate([*"abcdefghij", *(f"word{i}" for i in range(400))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="b", pad_token="c")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    code, codes, _ = said(make_world(tmp_path, shouting_rows(8), tokenizer=tokenizer))
    assert (code, codes) == (1, ["T565"])
