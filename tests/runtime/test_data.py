from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from tests.runtime.planned import PAIRS, PROMPTS, forms, tiny_rows, tiny_world
from tests.runtime.tiny import tiny_model, tiny_tokenizer
from tiltc_runtime.data import Instructions, TrainingRows, training_rows
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.trainer import COLUMNS, OFFSET, WEIGHT


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("world"))


def applied(world: Path, rows: pa.Table | None = None, max_length: int = 256, **options: Any) -> TrainingRows:
    pairs = load_pairs("pairs.jsonl", world).pairs
    made, found = training_rows(
        pairs, tiny_rows(world) if rows is None else rows, tiny_tokenizer(), max_length, **options
    )
    assert made is not None, list(found)
    return made


def test_weights_and_offsets_stay_with_their_pair(world: Path) -> None:
    """After a pair is dropped, every other one still has its own weight and offset."""
    rows = tiny_rows(world)
    data = applied(world, rows).dataset
    by_id = {r["row_id"]: r for r in rows.to_pylist()}
    assert len(data) == PAIRS - 1
    for row in data:
        assert (row[WEIGHT], row[OFFSET]) == (by_id[row["row_id"]]["weight"], by_id[row["row_id"]]["margin_offset"])
        assert by_id[row["row_id"]]["keep"]


def test_a_plain_run_sees_every_pair_and_no_plan(world: Path) -> None:
    """The baseline has all rows, and none of the plan's columns."""
    rows = tiny_rows(world, **forms(PAIRS, "tokens", "inoculate", "steer"))
    data = applied(world, rows, plain=True).dataset
    assert len(data) == PAIRS
    assert not set(COLUMNS) & set(data.column_names)


def test_neutral_columns_are_left_out(world: Path) -> None:
    """A plan that only drops rows trains with TRL's own loss."""
    rows = tiny_rows(world, weight=[1.0] * PAIRS, margin_offset=[0.0] * PAIRS)
    assert not set(COLUMNS) & set(applied(world, rows).dataset.column_names)


def test_masks_prompts_and_steering_stay_with_their_pair(world: Path) -> None:
    """After a pair is dropped, every other one still has its own."""
    tokenizer, rows = tiny_tokenizer(), tiny_rows(world, **forms(PAIRS, "tokens", "inoculate", "steer"))
    by_id = {r["row_id"]: r for r in rows.to_pylist()}
    data = applied(world, rows, instructions=Instructions(PROMPTS)).dataset
    for row in data:
        planned = by_id[row["row_id"]]
        for name in ("chosen_masked", "rejected_masked", "chosen_steered", "rejected_steered"):
            assert row[name] == planned[name]
        prompt = planned["chosen_prompt"]
        assert bool(row["instructed_ids"]) == (prompt >= 0)
        if prompt >= 0:
            user = tokenizer.decode(row["instructed_ids"]).split("<|im_end|>")[0]
            assert user == tokenizer.decode(row["prompt_ids"]).split("<|im_end|>")[0] + "\n\n" + PROMPTS[prompt]
        if planned["chosen_steered"] or planned["rejected_steered"]:
            assert tokenizer.decode(row["prompt_ids"][: row["steered_from"]]) == "<|im_start|>user\n"


def test_a_mask_beyond_the_response_is_a_finding(world: Path) -> None:
    """Evidence and training count the tokens of a response alike, or the plan is not one of this data."""
    rows = tiny_rows(world, chosen_masked=[[0, 5000], *[[]] * (PAIRS - 1)])
    made, found = training_rows(load_pairs("pairs.jsonl", world).pairs, rows, tiny_tokenizer(), 256)
    assert made is None
    assert [d.code for d in found] == ["T536"]
    assert "token 5000 of" in next(iter(found)).notes[0]


def test_an_instruction_that_the_model_has_no_room_for_is_a_finding(world: Path) -> None:
    """Nothing is cut or dropped in silence; without the instruction the same rows fit."""
    rows = tiny_rows(world, **forms(PAIRS, "inoculate"))
    longest = max(
        len(row["instructed_ids"]) + len(row["chosen_ids"])
        for row in applied(world, rows, instructions=Instructions(PROMPTS)).dataset
    )
    pairs = load_pairs("pairs.jsonl", world).pairs
    for context, code in ((longest, []), (longest - 1, ["T543"])):
        instructions = Instructions(PROMPTS, context)
        made, found = training_rows(pairs, rows, tiny_tokenizer(), longest - 1, instructions=instructions)
        assert [d.code for d in found] == code
        assert (made is None) == bool(code)


def test_tokens_are_those_of_trl(world: Path, tmp_path: Path) -> None:
    """Rows, tokens and the rows left out for length are what TRL makes of the raw data, cut as its collator cuts."""
    pairs = load_pairs("pairs.jsonl", world).pairs
    limit = sorted(len(p) for p in applied(world, plain=True).dataset["prompt_ids"])[PAIRS // 2]
    ours = applied(world, max_length=limit, plain=True)
    raw = Dataset.from_list(
        [{"prompt": list(p.prompt), "chosen": list(p.chosen), "rejected": list(p.rejected)} for p in pairs]
    )
    args = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], max_length=limit)
    tokenizer = tiny_tokenizer()
    (tmp_path / "model").mkdir()
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    model.config._name_or_path = str(tmp_path / "model")
    theirs = DPOTrainer(model=model, args=args, train_dataset=raw, processing_class=tokenizer).train_dataset
    assert 0 < ours.counts.too_long < PAIRS
    assert len(ours.dataset) == len(theirs) == ours.counts.trained
    for one, other in zip(ours.dataset, theirs, strict=True):
        assert one["prompt_ids"] == other["prompt_ids"]
        room = limit - len(one["prompt_ids"])
        for side in ("chosen_ids", "rejected_ids"):
            assert one[side] == other[side][:room]


def test_counts_say_what_became_of_the_pairs(world: Path) -> None:
    """Dropped by the plan, too long, trained: they add up."""
    counts = applied(world).counts
    assert (counts.pairs, counts.kept, counts.too_long, counts.trained) == (PAIRS, PAIRS - 1, 0, PAIRS - 1)


@pytest.mark.parametrize(
    ("columns", "max_length"),
    [({"keep": [False] * PAIRS}, 256), ({"weight": [0.0] * PAIRS}, 256), ({}, 2)],
    ids=["none kept", "all weights zero", "all too long"],
)
def test_nothing_to_train_on_is_a_finding(world: Path, columns: dict[str, Any], max_length: int) -> None:
    """A run that could not learn anything does not start."""
    pairs = load_pairs("pairs.jsonl", world).pairs
    made, found = training_rows(pairs, tiny_rows(world, **columns), tiny_tokenizer(), max_length)
    assert made is None
    assert [d.code for d in found] == ["T534"]
