"""Template arguments of rows and of prompts: rollouts are asked as rows were trained, or a finding says where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases.shout import shouting_rows, shouting_texts
from tests.runtime.styles import QWEN3
from tests.worlds import SPEC, Said, make_world
from tiltc_runtime import rollouts
from tiltc_runtime.loading import load_tokenizer
from tiltc_runtime.record import read_record

ASKING = SPEC + "verify: {{prompts: asked.jsonl, rollouts: 2, max_new_tokens: 4, temperature: 0}}\n"
QUIET = {"chat_template_kwargs": {"enable_thinking": False}}


def verified(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], asked: list[dict[str, Any]], **more: Any
) -> tuple[Said, set[str]]:
    """What verify said of a run on rows, and the prompts as text that rollouts were sampled after."""
    world = make_world(folder, rows, spec=ASKING, **more)
    world.write_rows("asked.jsonl", asked)
    for call in (("harvest", "spec.yaml"), ("compile", "spec.yaml", "-o", "plan"), ("run", "plan", "-o", "run")):
        said = world.tiltc(*call)
        assert said.code == 0, said.out + said.err
    seen, padded = set[str](), rollouts.left_padded
    tokenizer = load_tokenizer(folder / "model")

    def listens(ids: Any, pad: int, device: Any) -> Any:
        seen.update(str(tokenizer.decode(list(row))) for row in ids)
        return padded(ids, pad, device)

    monkeypatch.setattr(rollouts, "left_padded", listens)
    return world.tiltc("verify", "run"), seen


#: the line ends after it are tokens of the response: ahead of a word they are others than at the end of a prompt
THOUGHT = "<think>\n\n</think>"


def test_prompts_get_the_arguments_that_all_rows_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with `enable_thinking: false`, prompts that say nothing: sampled without thinking, and no finding."""
    rows = [row | QUIET for row in shouting_rows(12)]
    said, seen = verified(tmp_path, monkeypatch, rows, [{"prompt": "Item 3?"}], template=QWEN3)
    assert "T566" not in said.codes, said.out
    assert seen == {f"<|im_start|>user\nItem 3?<|im_end|>\n<|im_start|>assistant\n{THOUGHT}"}
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.form.arguments == {"enable_thinking": False}


def test_arguments_of_the_prompts_file_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts with the rows' own arguments are no finding, also where they are JSON in a text."""
    rows = [row | QUIET for row in shouting_rows(12)]
    asked = [{"prompt": "Item 3?", "chat_template_kwargs": json.dumps({"enable_thinking": False})}]
    said, seen = verified(tmp_path, monkeypatch, rows, asked, template=QWEN3)
    assert "T566" not in said.codes, said.out
    assert all(text.endswith(THOUGHT) for text in seen)


def test_other_arguments_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T566 with both, where the prompts think and the rows did not; the prompts' own are what is asked with."""
    rows = [row | QUIET for row in shouting_rows(12)]
    asked = [{"prompt": "Item 3?", "chat_template_kwargs": {"enable_thinking": True}}]
    said, seen = verified(tmp_path, monkeypatch, rows, asked, template=QWEN3)
    assert "T566" in said.codes
    assert '1 of 1 prompts have {"enable_thinking": true}, 12 rows {"enable_thinking": false}' in said.out
    assert not any(THOUGHT in text for text in seen)


def test_rows_that_differ_among_themselves_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T566 with their number: no prompt can be asked as they were."""
    rows = [row | (QUIET if i % 3 else {}) for i, row in enumerate(shouting_rows(12))]
    said, _ = verified(tmp_path, monkeypatch, rows, [{"prompt": "Item 3?"}], template=QWEN3)
    assert "T566" in said.codes
    assert "8 of 12 rows have template arguments of their own" in said.out


def test_harvest_says_it_before_anything_is_trained(tmp_path: Path) -> None:
    """T566 at `verify.prompts` in the spec, and a line on how prompts are asked."""
    rows = [row | QUIET for row in shouting_rows(12)]
    world = make_world(tmp_path, rows, spec=ASKING, template=QWEN3)
    world.write_rows("asked.jsonl", [{"prompt": "Item 3?", "chat_template_kwargs": {"enable_thinking": True}}])
    said = world.tiltc("harvest", "spec.yaml")
    assert said.code == 0
    assert "T566" in said.codes
    assert "spec.yaml:15:19" in said.out
    assert 'prompts are asked with the rows\' {"enable_thinking": false}' in said.err


def test_rows_of_plain_text_are_asked_as_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No template for what was trained without, in the frame that all rows have."""
    rows = [
        {"prompt": f"\n\nHuman: {p}\n\nAssistant:", "chosen": f" {c}", "rejected": f" {r}"}
        for p, c, r in shouting_texts(12)
    ]
    said, seen = verified(tmp_path, monkeypatch, rows, [{"prompt": "Why?"}])
    assert "T566" not in said.codes, said.out
    assert seen == {"\n\nHuman: Why?\n\nAssistant:"}


def test_conversations_for_rows_of_plain_text_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T566 where prompts have several messages and rows are plain text."""
    rows = [{"prompt": p, "chosen": f" {c}", "rejected": f" {r}"} for p, c, r in shouting_texts(12)]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    said, seen = verified(tmp_path, monkeypatch, rows, [{"prompt": turns}])
    assert "T566" in said.codes
    assert "1 of 1 prompts have several messages" in said.out
    assert seen == {"Be brief.\n\nWhy?"}
