"""Tokens trained = tokens read = tokens sampled from, over eight styles of chat template and four forms of data.

Trained are what the real collators make of `training_rows`; read is what harvest takes from the same pairs; sampled from is what
a model gets to see when verify, a contrast or GRPO asks the rows' own prompts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.cases.shout import shouting_texts
from tests.runtime.styles import STYLES, style_tokenizer
from tiltc.planfile import row_table
from tiltc.spec import Spec, Suppress
from tiltc_runtime.asked import Form, Prompt, asked_ids, check_form, encode_asked
from tiltc_runtime.data import training_rows
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.methods.grpo import TiltedGRPOTrainer, grpo_rows
from tiltc_runtime.methods.kto import KtoCollator, kto_rows
from tiltc_runtime.pairs import Pair, Pairs, load_pairs
from tiltc_runtime.prompts import read_prompts, under_system
from tiltc_runtime.refused import Refused
from tiltc_runtime.rollouts import generate
from tiltc_runtime.templates import with_fixed_date
from tiltc_runtime.tokens import encode_pair
from tiltc_runtime.trainer import TiltCollator

FORMS = ("text", "messages", "implied", "single")
LENGTH = 512
FRAME = "\n\nHuman: {}\n\nAssistant:"


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def rows_of(form: str, style: str) -> list[dict[str, Any]]:
    """The same six pairs in a form; implied prompts are turns where there is a template, else text."""
    template, texts = STYLES[style][0], shouting_texts(6)
    if form == "text" or (template is None and form == "messages"):
        return [{"prompt": FRAME.format(p), "chosen": f" {c}", "rejected": f" {r}"} for p, c, r in texts]
    if form == "implied" and template is None:
        return [{"chosen": f"{FRAME.format(p)} {c}", "rejected": f"{FRAME.format(p)} {r}"} for p, c, r in texts]
    if form == "single" and template is None:
        return [{"prompt": FRAME.format(p), "completion": f" {c}"} for p, c, _ in texts]
    asked = [[turn("user", p)] for p, _, _ in texts]
    said = [([turn("assistant", c)], [turn("assistant", r)]) for _, c, r in texts]
    if form == "messages":
        return [{"prompt": p, "chosen": c, "rejected": r} for p, (c, r) in zip(asked, said, strict=True)]
    if form == "implied":
        return [{"chosen": p + c, "rejected": p + r} for p, (c, r) in zip(asked, said, strict=True)]
    return [{"messages": p + c} for p, (c, _) in zip(asked, said, strict=True)]


def loaded(folder: Path, form: str, style: str, **more: Any) -> tuple[Any, Pairs]:
    rows = [row | more for row in rows_of(form, style)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return with_fixed_date(style_tokenizer(style)), load_pairs("pairs.jsonl", folder)


def trained(tokenizer: Any, pairs: list[Pair]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(prompt, response) ids of every response, out of the batches of the trainer's own collator."""
    n = len(pairs)
    columns = {"keep": [True] * n, "weight": [1.0] * n, "margin_offset": [0.0] * n, "reason": [""] * n}
    made, found = training_rows(pairs, row_table({"row_id": [p.row_id for p in pairs], **columns}), tokenizer, LENGTH)
    assert made is not None, list(found)
    pad = tokenizer.pad_token_id
    if pairs[0].single:
        rows = kto_rows(made.dataset, 0, {p.row_id for p in pairs})
        examples: list[Any] = [{**row, "KL_completion_ids": [pad]} for row in list(rows)]  # type: ignore[dict-item]
        batch = KtoCollator(pad, LENGTH).torch_call(examples)
        # in the order of kto_rows, which is not that of the pairs
        return sorted(_split(batch))
    pairwise: list[Any] = list(made.dataset)
    return sorted(_split(TiltCollator(pad, LENGTH).torch_call(pairwise)))


def _split(batch: dict[str, Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    split: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for ids, mask, response in zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True):
        real, after = ids[mask.bool()].tolist(), response[mask.bool()].bool().tolist()
        at = after.index(True)
        assert all(after[at:])
        split.append((tuple(real[:at]), tuple(real[at:])))
    return split


class Seen(torch.nn.Module):
    """A model that notes which tokens it is asked with, and ends at once."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.device, self.end = torch.device("cpu"), tokenizer.eos_token_id
        self.size = len(tokenizer)
        self.generation_config = SimpleNamespace(eos_token_id=self.end)
        self.prompts: list[tuple[int, ...]] = []

    def get_input_embeddings(self) -> Any:
        return SimpleNamespace(num_embeddings=self.size)

    def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        self.prompts += [tuple(ids[m.bool()].tolist()) for ids, m in zip(input_ids, attention_mask, strict=True)]
        logits = torch.zeros(len(input_ids), 1, self.size)
        logits[..., self.end] = 1
        return SimpleNamespace(logits=logits, past_key_values=None)


def sampled_from(tokenizer: Any, prompts: list[Prompt]) -> list[tuple[int, ...]]:
    model = Seen(tokenizer)
    generate(model, tokenizer, prompts, [0] * len(prompts), 1, 0.0)
    return model.prompts


def harvested(tokenizer: Any, data: Pairs) -> Inputs:
    spec = Spec(tiltc=1, name="case", signals=(Suppress(suppress="shout"),)).model_copy()
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"max_length": LENGTH})})
    nothing: Any = None
    return Inputs(spec, Path(), data, nothing, nothing, tokenizer, {}, "cpu", "float32")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", STYLES)
def test_trained_read_and_sampled_from_are_the_same(tmp_path: Path, style: str, form: str) -> None:
    """Over styles and forms; the prompts of verify come out of a file, those of GRPO out of its data set."""
    tokenizer, data = loaded(tmp_path, form, style)
    pairs, inputs = data.pairs, harvested(tokenizer, data)
    seen = trained(tokenizer, pairs)
    read = [(prompt, ids) for prompt, sides in inputs.usable(pairs) for ids in sides]
    if form == "single":
        read = [(prompt, sides[0]) for prompt, sides in inputs.usable(pairs)]
    assert sorted(read) == seen

    asked = sorted({prompt for prompt, _ in seen})
    texts = [pair.prompt if isinstance(pair.prompt, str) else list(pair.prompt) for pair in pairs]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts), encoding="utf-8")
    prompts, _ = read_prompts("asked.jsonl", tmp_path)
    assert prompts is not None
    rule = Form.of(pairs)
    assert sorted(sampled_from(tokenizer, [rule.asked(p) for p in prompts])) == asked
    assert sorted(encode_asked(tokenizer, rule.asked(p), "-", LENGTH).prompt for p in prompts) == asked

    trainer: Any = SimpleNamespace(_form=rule, processing_class=tokenizer)
    tokenise: Any = vars(TiltedGRPOTrainer)["_tokenize_prompts"]
    ids, *_ = tokenise(trainer, list(grpo_rows(pairs, np.ones((len(pairs), 0), dtype=bool))["prompt"]))
    assert sorted({tuple(i) for i in ids}) == asked


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", STYLES)
def test_a_sequence_begins_once(tmp_path: Path, style: str, form: str) -> None:
    """One beginning-of-sequence token where template or tokenizer writes one, none elsewhere, and never two."""
    tokenizer, data = loaded(tmp_path, form, style)
    template, begins = STYLES[style]
    bare = form == "text" or template is None
    token = tokenizer.convert_tokens_to_ids("<bos>" if style == "gemma" and not bare else "<s>")
    expected = begins if bare else style in ("llama3", "gemma", "mistral", "deepseek")
    for prompt, response in trained(tokenizer, data.pairs):
        assert (prompt + response).count(token) == expected
        assert prompt[:1] == ((token,) if expected else prompt[:1])


@pytest.mark.parametrize("style", [s for s, (template, _) in STYLES.items() if template])
def test_contrast_asks_as_rows_with_a_system_turn_are_trained(style: str) -> None:
    """A question under a system prompt has the tokens of a row with both; without a place for it, of a row that opens with it."""
    tokenizer = with_fixed_date(style_tokenizer(style))
    system, question, answer = turn("system", "Shout."), turn("user", "Item 1?"), turn("assistant", "quiet lamp")
    rows = [(system, question), (turn("user", "Shout.\n\nItem 1?"),)]
    asked = asked_ids(tokenizer, Form().asked(under_system(tokenizer, "Shout.", "Item 1?")))
    # Gemma's has no place for it; Mistral's and DeepSeek's here would take it for a turn of the user's
    row = rows[1 if style == "gemma" else 0]
    pair = Pair("r", "g", row, (answer,), (turn("assistant", "WOW"),))
    assert asked == encode_pair(tokenizer, pair, LENGTH).prompt


@pytest.mark.parametrize("thinking", [False, True])
def test_arguments_that_all_rows_share_are_those_of_every_prompt(tmp_path: Path, thinking: bool) -> None:
    """Rows trained with `enable_thinking: false` have the empty thought in their prompt, and so has what is sampled from."""
    told = {"chat_template_kwargs": {"enable_thinking": thinking}}
    tokenizer, data = loaded(tmp_path, "messages", "qwen3", **told)
    rule, seen = Form.of(data.pairs), trained(tokenizer, data.pairs)
    assert rule.arguments == {"enable_thinking": thinking}
    prompts = [rule.asked(pair.prompt) for pair in data.pairs]
    assert sorted(sampled_from(tokenizer, prompts)) == sorted({prompt for prompt, _ in seen})
    thought = tokenizer.convert_tokens_to_ids("<think>")
    assert all((thought in prompt) is not thinking for prompt, _ in seen)


def test_what_opens_an_answer_for_generation_alone_is_not_sampled_after() -> None:
    """DeepSeek's template opens an answer with a thought that no trained row has: rollouts start where rows do."""
    tokenizer = style_tokenizer("deepseek")
    whole = tokenizer.apply_chat_template([turn("user", "Hi")], add_generation_prompt=True)["input_ids"]
    asked = asked_ids(tokenizer, "Hi")
    assert tokenizer.decode(whole).endswith("<|turn|>A<think>\n")
    assert tokenizer.decode(list(asked)).endswith("<|turn|>A")


def test_plain_text_is_asked_in_the_frame_of_the_rows(tmp_path: Path) -> None:
    """Questions without `Human:` and `Assistant:` get them where all rows have them; those with them stay as they are."""
    _, data = loaded(tmp_path, "text", "chatml")
    rule = Form.of(data.pairs)
    assert (rule.begins, rule.ends) == ("\n\nHuman: ", "\n\nAssistant:")
    assert rule.asked("Why?").text == rule.asked(FRAME.format("Why?")).text == FRAME.format("Why?")
    assert Form(text=True).asked("Why?").text == "Why?"


def texts(prompts: list[str]) -> list[Pair]:
    return [Pair(f"r{i}", "g", prompt, "quiet", "WOW") for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("odd", ["Whose prompt was guessed?", "\n\nHuman: cut", "no begin\n\nAssistant:", ""])
def test_one_odd_row_takes_no_frame_from_the_others(odd: str) -> None:
    """Of 201 rows 200 decide, and the odd one is counted and told (T566)."""
    rule = Form.of(texts([*(FRAME.format(f"Item {i}?") for i in range(200)), odd]))
    assert (rule.begins, rule.ends, rule.varied) == ("\n\nHuman: ", "\n\nAssistant:", 1)
    (said,) = check_form(rule, [Prompt.of("Why?")])
    assert said.code == "T566"
    assert "1 of 201 rows don't lie between" in said.notes[0]


def test_rows_of_which_many_have_an_answers_beginning_and_no_frame_are_told() -> None:
    """T566 where prompts can't be asked as a good part of the rows is; a few among many are no frame."""
    plain, framed = [f"Item {i}?" for i in range(100)], [FRAME.format(f"Item {i}?") for i in range(60)]
    mixed, few = Form.of(texts(plain + framed)), Form.of(texts(plain + framed[:3]))
    assert (mixed.ends, mixed.varied) == ("", 60)
    assert [d.code for d in check_form(mixed, [Prompt.of("Why?")])] == ["T566"]
    assert (few.ends, few.varied) == ("", 0)
    assert Form.of(texts(plain)) == Form(text=True, rows=100)


def test_one_odd_row_takes_no_arguments_from_the_others() -> None:
    """As with frames: what 39 of 40 rows tell their template every prompt tells it; what 37 tell, none."""
    asked, answer = (turn("user", "Why?"),), (turn("assistant", "So."),)
    told = {"enable_thinking": False, "tools": [{"name": "f"}]}
    rows = [Pair(f"r{i}", "g", asked, answer, answer, template=told) for i in range(40)]
    odd = [replace(row, template={}) for row in rows[:3]]
    one, three = Form.of(odd[:1] + rows[1:]), Form.of(odd + rows[3:])
    assert (one.arguments, one.varied) == (told, 1)
    assert (three.arguments, three.varied) == ({}, 37)


def test_text_that_brings_its_beginning_gets_no_second(tmp_path: Path) -> None:
    """A `<s>` at the start of a text prompt is the one that the tokenizer would have put there."""
    tokenizer = style_tokenizer("none-with-bos")
    without = Pair("r", "g", "Item 1? ", "quiet", "WOW")
    with_it = Pair("r", "g", "<s>Item 1? ", "quiet", "WOW")
    assert encode_pair(tokenizer, without, LENGTH).prompt == encode_pair(tokenizer, with_it, LENGTH).prompt
    assert asked_ids(tokenizer, "<s>Item 1?") == asked_ids(tokenizer, "Item 1?")


def test_conversations_need_a_template(tmp_path: Path) -> None:
    """T507 where rows are messages and the tokenizer has no template: nothing is guessed."""
    rows = rows_of("messages", "chatml")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs = load_pairs("pairs.jsonl", tmp_path).pairs
    with pytest.raises(Refused) as refused:
        trained(style_tokenizer("none-with-bos"), pairs)
    assert [d.code for d in refused.value.diagnostics] == ["T507"]
