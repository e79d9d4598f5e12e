"""Preference rows: which forms are accepted, what they become, and that their tokens are those of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.tiny import tiny_pairs, tiny_tokenizer
from tiltc.evidence import evidence_request
from tiltc.pairs import Pair, normalise
from tiltc.spec import FileRef, Spec, Suppress
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.refused import Refused
from tiltc_runtime.tokens import encode_pair, encode_response, row_status

USER = {"role": "user", "content": "What color is the sky?"}
BLUE = {"role": "assistant", "content": "It is blue."}
GREEN = {"role": "assistant", "content": "It is green."}
SYSTEM = {"role": "system", "content": "Be brief."}


def one(row: dict[str, Any]) -> Pair:
    pairs, found = normalise([row], "rows")
    assert pairs is not None, list(found)
    return pairs[0]


def codes(rows: list[dict[str, Any]]) -> list[str]:
    return [d.code for d in normalise(rows, "rows")[1]]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]},
        {"chosen": [USER, BLUE], "rejected": [USER, GREEN]},
        {"prompt": "a column that repeats the prompt", "chosen": [USER, BLUE], "rejected": [USER, GREEN]},
        {"prompt": USER["content"], "chosen": [BLUE], "rejected": [GREEN]},
        {"prompt": [USER], "chosen": BLUE["content"], "rejected": GREEN["content"]},
        {
            "prompt": [{**USER, "name": None}],
            "chosen": [{**BLUE, "tool_calls": None}],
            "rejected": [GREEN],
            "source": 3,
        },
    ],
)
def test_forms_of_a_conversation(row: dict[str, Any]) -> None:
    """Every accepted form of one and the same pair becomes the same pair with the same id."""
    pair = one(row)
    assert (pair.prompt, pair.chosen, pair.rejected) == ((USER,), (BLUE,), (GREEN,))
    assert pair == one({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]})


def test_forms_of_text() -> None:
    """Text stays text; without a prompt the common beginning is the prompt, and the responses keep their space."""
    assert one({"prompt": "a", "chosen": " b", "rejected": " c"}).prompt == "a"
    pair = one({"prompt": None, "chosen": "Sky? blue", "rejected": "Sky? grey"})
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Sky?", " blue", " grey")


def test_ids_and_groups() -> None:
    """An id is the content's; repeats are numbered; rows with one prompt share a group."""
    rows = [{"prompt": "a", "chosen": c, "rejected": "d"} for c in ("b", "c", "b", "b")]
    pairs = normalise(rows, "rows")[0] or []
    first = pairs[0].row_id
    assert [p.row_id for p in pairs[2:]] == [f"{first}-1", f"{first}-2"]
    assert len({p.row_id for p in pairs}) == 4
    assert len({p.group for p in pairs}) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, USER, BLUE]},
        {"prompt": [SYSTEM, USER], "completion": [BLUE]},
        {"prompt": [SYSTEM, USER], "response": BLUE["content"]},
    ],
)
def test_single_responses(row: dict[str, Any]) -> None:
    """Data for supervised training is read as pairs with an empty rejected side, and has its own status."""
    pair = one(row)
    assert (pair.prompt, pair.chosen) == ((SYSTEM, USER), (BLUE,))
    assert (pair.single, pair.status) == (True, "single")


def test_single_responses_of_text() -> None:
    """Texts stay texts; without a response there is nothing to read."""
    pair = one({"prompt": "The sky is", "completion": " blue."})
    assert (pair.prompt, pair.chosen, pair.rejected, pair.status) == ("The sky is", " blue.", "", "single")
    assert one({"prompt": "The sky is", "completion": " "}).status == "empty"
    assert codes([{"messages": [USER]}]) == ["T516"]
    assert codes([{"messages": [USER, BLUE]}, {"messages": "none"}]) == ["T516"]
    assert codes([{"completion": "no prompt"}]) == ["T516"]


def test_rows_that_are_refused() -> None:
    """Missing columns, malformed rows and mixed forms are findings that name the rows."""
    good = {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}
    assert codes([{"prompt": "a", "reject": "b", "chosen": "c"}]) == ["T515"]
    for bad in (None, 3, [], [{"role": "user"}], [{"role": "user", "content": [{"type": "image"}]}], "\ud800", "text"):
        found = normalise([good, {**good, "chosen": bad}], "rows")[1]
        assert [d.code for d in found] == ["T516"], bad
        assert "row 2" in next(iter(found)).notes[0]
    assert codes([good, {"prompt": "a", "chosen": "b", "rejected": "c"}]) == ["T517"]
    assert codes([good, {"chosen": [USER, BLUE], "rejected": [USER, GREEN]}]) == ["T517"]


def test_statuses() -> None:
    """Pairs that can teach nothing are told apart."""
    tokenizer = tiny_tokenizer()

    def status(prompt: str, chosen: str, rejected: str) -> str:
        turns = [{"role": "assistant", "content": text} for text in (chosen, rejected)]
        pair = one({"prompt": [{**USER, "content": prompt}], "chosen": turns[:1], "rejected": turns[1:]})
        return row_status(pair, encode_pair(tokenizer, pair, 100))

    assert status("a", "b", "c") == "ok"
    assert status("a", "b", "b") == "identical"
    assert status("a", " ", "b") == "empty"
    assert status("a" * 100, "b", "c") == "too_long"


def test_local_files(tmp_path: Path) -> None:
    """The same rows in JSON lines, JSON and Parquet have the same digest; `rows` takes the first ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = tiny_pairs(5)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    pins = [load_pairs(f"a.{kind}", tmp_path).pin for kind in ("jsonl", "json", "parquet")]
    assert len({pin.digest for pin in pins}) == 1
    assert [pin.name for pin in pins] == ["a.jsonl", "a.json", "a.parquet"]
    assert load_pairs(FileRef(file="a.jsonl", rows=2), tmp_path).pin.rows == 2


def test_a_part_of_what_is_built_in() -> None:
    """`{file: builtin:NAME, rows: N}` are the first rows of the data set that ships with tiltc, under its own name."""
    part, whole = load_pairs(FileRef(file="builtin:planted", rows=3)), load_pairs("builtin:planted")
    assert (part.pin.name, part.pin.rows) == ("builtin:planted", 3)
    assert part.pairs == whole.pairs[:3]
    signals = (Suppress(suppress="std.style.bold"),)
    asked = evidence_request(Spec(tiltc=1, name="part", data=FileRef(file="builtin:planted", rows=3), signals=signals))
    assert (asked["data"], asked["rows"]) == ("builtin:planted", 3)
    with pytest.raises(Refused) as refused:
        load_pairs(FileRef(file="builtin:plnted", rows=3))
    assert [(d.code, d.primary.text) for d in refused.value.diagnostics] == [("T514", "there is no builtin:plnted")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("none.jsonl", None, "T514"),
        ("a.txt", b"x", "T514"),
        ("a.jsonl", b'{"chosen": "\xff"}\n', "T514"),
        ("a.jsonl", b"{not json}\n", "T514"),
        ("a.jsonl", b"[1]\n", "T514"),
        ("a.json", b'{"a": 1}', "T514"),
        ("a.parquet", b"PAR1 but no more", "T514"),
        ("a.csv", b"prompt,chosen,rejected\n\xff,b,c\n", "T514"),
        ("a.jsonl", b"\n", "T518"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    """Whatever is wrong with a data file, it is a finding and no traceback."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused) as refused:
        load_pairs(name, tmp_path)
    assert [d.code for d in refused.value.diagnostics] == [code]


def test_no_chat_template() -> None:
    """Conversations for a model without a chat template are refused; a template's own refusal is passed on."""
    tokenizer = tiny_tokenizer()
    pair = one({"prompt": [SYSTEM, USER], "chosen": [BLUE], "rejected": [GREEN]})
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(Refused, match="T516"):
        encode_pair(tokenizer, pair, 100)
    tokenizer.chat_template = None
    with pytest.raises(Refused, match="T507"):
        encode_pair(tokenizer, pair, 100)


def test_one_response_is_encoded_like_a_pair() -> None:
    """A rollout is read on the same ids as the chosen side of a pair with that text."""
    tokenizer = tiny_tokenizer()
    pair = one({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]})
    both, alone = encode_pair(tokenizer, pair, 60), encode_response(tokenizer, USER["content"], BLUE["content"], 60)
    assert (alone.prompt, alone.responses) == (both.prompt, both.responses[:1])
    assert alone.cut == both.cut[:1]


TRL_ROWS = {
    "text": [
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green, I th"},
        {"prompt": "int", "chosen": "he end", "rejected": "o"},
        {"prompt": "long " * 30, "chosen": "a", "rejected": "b"},
    ],
    "implicit text": [{"chosen": "The sky is blue", "rejected": "The sky is grey or so"}],
    "conversation": [
        *tiny_pairs(4),
        {"prompt": [{**USER, "content": "x" * 140}], "chosen": [BLUE], "rejected": [GREEN]},
    ],
    "implicit conversation": [{"chosen": [USER, BLUE], "rejected": [USER, GREEN]}],
    "multi-turn with system": [
        {"prompt": [SYSTEM, USER, BLUE, USER], "chosen": [GREEN], "rejected": [BLUE, USER, GREEN]},
    ],
}


@pytest.mark.parametrize("form", TRL_ROWS)
def test_tokens_are_those_of_the_trainer(form: str, tmp_path: Path) -> None:
    """Prompt and response ids, dropped rows and truncation equal those of TRL's own DPO preprocessing."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows, limit = TRL_ROWS[form], 120
    tokenizer = tiny_tokenizer()
    trainer = object.__new__(DPOTrainer)
    trainer._tokenizer = tokenizer
    config = DPOConfig(output_dir=str(tmp_path), max_length=limit, bf16=False, report_to=[])
    theirs = list(trainer._prepare_dataset(Dataset.from_list(rows), tokenizer, config, "train"))

    pairs, _ = normalise(rows, "rows")
    encoded = [encode_pair(tokenizer, pair, limit) for pair in pairs or []]
    ours = [e for e in encoded if not e.too_long]
    assert len(ours) == len(theirs)
    for e, row in zip(ours, theirs, strict=True):
        assert list(e.prompt) == row["prompt_ids"]
        batch = DataCollatorForPreference(pad_token_id=0, max_length=limit)([row])
        seen = [batch["input_ids"][i][batch["completion_mask"][i].bool()].tolist() for i in (0, 1)]
        assert [list(r) for r in e.responses] == seen
        whole = [len(row["prompt_ids"]) + len(row[k]) for k in ("chosen_ids", "rejected_ids")]
        assert e.cut == tuple(n > limit for n in whole)


def test_the_row_that_is_just_too_long() -> None:
    """A prompt of exactly max_length tokens leaves no room and its row is dropped; with one token of room it is kept."""
    tokenizer = tiny_tokenizer()
    pair = one({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."})
    length = len(encode_pair(tokenizer, pair, 100).prompt)
    assert encode_pair(tokenizer, pair, length).too_long
    kept = encode_pair(tokenizer, pair, length + 1)
    assert not kept.too_long
    assert [len(r) for r in kept.responses] == [1, 1]


def test_some_rows_are_dropped_and_some_cut() -> None:
    """The comparison with TRL covers rows that it drops and responses that it cuts."""
    tokenizer = tiny_tokenizer()
    encoded = [encode_pair(tokenizer, p, 120) for rows in TRL_ROWS.values() for p in normalise(rows, "r")[0] or []]
    assert any(e.too_long for e in encoded)
    assert any(any(e.cut) for e in encoded)
