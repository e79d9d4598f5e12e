from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.planned import BENT, PAIRS, STEERING, TOOLS, TRAIN, forms, tiny_plan, tiny_rows, tiny_world
from tests.runtime.tiny import WIDTH, tiny_data_file, tiny_model_folder
from tiltc.diagnostics import Diagnostics
from tiltc.plan import PlanConcept, Projection
from tiltc.planfile import write_plan
from tiltc.spec import Concept, Lora
from tiltc_runtime.admit import admit, check_sae


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tiny_plan(tiny_world(tmp_path), tmp_path / "plan")
    return tmp_path


def refused(world: Path, **options: Any) -> Diagnostics:
    admitted, found = admit(world / "plan", root=world, **options)
    assert admitted is None
    assert found.failed
    return found


def codes(found: Diagnostics) -> list[str]:
    return [d.code for d in found]


def test_a_plan_that_fits_is_admitted(world: Path) -> None:
    """With the pinned model, template and data in place, there is nothing to say."""
    admitted, found = admit(world / "plan", root=world)
    assert not found
    assert admitted is not None
    assert len(admitted.pairs) == PAIRS
    assert admitted.model_folder == world / "model"


def test_relative_paths_start_at_the_plan_by_default(world: Path) -> None:
    """A plan folder that holds its data and model needs no root."""
    for name in ("model", "pairs.jsonl"):
        (world / name).rename(world / "plan" / name)
    admitted, found = admit(world / "plan")
    assert admitted is not None, list(found)


def test_other_weights_are_refused_with_both_digests(world: Path) -> None:
    """The same architecture with other weights is another model."""
    shutil.rmtree(world / "model")
    tiny_model_folder(world / "model", seed=1)
    (only,) = refused(world)
    assert only.code == "T523"
    assert [note.split(":")[0] for note in only.notes] == ["digest pinned", "digest found"]
    assert only.notes[0].split()[-1] != only.notes[1].split()[-1]


def test_another_depth_is_named(world: Path) -> None:
    """A model with more layers is refused, and the finding says so."""
    shutil.rmtree(world / "model")
    tiny_model_folder(world / "model", layers=4)
    (only,) = refused(world)
    assert only.code == "T523"
    assert "layers found:  4" in only.notes


def test_another_template_is_refused(world: Path) -> None:
    """A changed chat template changes every token that training sees."""
    (world / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert codes(refused(world)) == ["T525"]


def test_an_edited_row_is_refused_and_found(world: Path) -> None:
    """One changed character in one pair, and the finding names the row."""
    lines = (world / "pairs.jsonl").read_text().splitlines()
    row = json.loads(lines[4])
    row["chosen"][0]["content"] += "!"
    lines[4] = json.dumps(row)
    (world / "pairs.jsonl").write_text("\n".join(lines))
    (only,) = refused(world)
    assert only.code == "T524"
    assert any("first difference at row 5" in note for note in only.notes)


def test_another_data_set_is_refused(world: Path) -> None:
    """A plan is about its rows: other data of the same form and size is refused."""
    tiny_data_file(world / "pairs.jsonl", PAIRS, seed=9)
    assert codes(refused(world)) == ["T524"]


@pytest.mark.parametrize("change", ["shorter", "longer", "swapped"])
def test_rows_added_removed_or_moved_are_refused(world: Path, change: str) -> None:
    """Weights belong to rows, so a row more, a row less, or two rows swapped is another data set."""
    lines = (world / "pairs.jsonl").read_text().splitlines()
    changed = {"shorter": lines[:-1], "longer": [*lines, lines[0]], "swapped": [lines[1], lines[0], *lines[2:]]}
    (world / "pairs.jsonl").write_text("\n".join(changed[change]))
    assert codes(refused(world)) == ["T524"]


def test_rows_in_another_order_than_the_data_are_refused(world: Path) -> None:
    """A plan whose pins are right but whose rows are in another order would give weights to the wrong pairs."""
    ids = tiny_rows(world)["row_id"].to_pylist()
    tiny_plan(world, world / "plan", rows=tiny_rows(world, row_id=[ids[1], ids[0], *ids[2:]]))
    assert codes(refused(world)) == ["T524"]


def test_the_same_rows_from_another_file_are_admitted(world: Path) -> None:
    """What counts is the content: the same rows with other white space are the same data."""
    rows = [json.loads(line) for line in (world / "pairs.jsonl").read_text().splitlines()]
    (world / "pairs.jsonl").write_text("\n".join(json.dumps(row, indent=None, separators=(",", ":")) for row in rows))
    admitted, found = admit(world / "plan", root=world)
    assert admitted is not None, list(found)


def test_all_mismatches_are_reported_at_once(world: Path) -> None:
    """Model, template and data all differ: three findings, not the first one."""
    shutil.rmtree(world / "model")
    tiny_model_folder(world / "model", seed=1)
    (world / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    tiny_data_file(world / "pairs.jsonl", PAIRS, seed=9)
    assert sorted(codes(refused(world))) == ["T523", "T524", "T525"]


def test_missing_model_and_data_are_findings(world: Path) -> None:
    """Nothing at the pinned names: findings of the loaders, no exception."""
    shutil.rmtree(world / "model")
    (world / "pairs.jsonl").unlink()
    assert codes(refused(world)) == ["T507", "T514"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"loss": "ipo"}, "T532"),
        ({"liger": True}, "T533"),
        ({"lora": Lora(layers=3)}, "T537"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(sorted(value)),
)
def test_settings_that_would_void_the_plan_are_refused(world: Path, changes: dict[str, Any], code: str) -> None:
    """A loss without a margin, a fused loss, adapters above the last layer."""
    tiny_plan(world, world / "plan", train=TRAIN.model_copy(update=changes))
    assert codes(refused(world)) == [code]


def test_ipo_takes_a_plan_without_offsets(world: Path) -> None:
    """Weights alone are exact under any loss, and a plain run uses neither."""
    ipo = TRAIN.model_copy(update={"loss": "ipo"})
    tiny_plan(world, world / "plan", train=ipo)
    assert admit(world / "plan", root=world, plain=True)[0] is not None
    tiny_plan(world, world / "plan", train=ipo, rows=tiny_rows(world, margin_offset=[0.0] * PAIRS))
    assert admit(world / "plan", root=world)[0] is not None


def test_a_negative_weight_is_refused(world: Path) -> None:
    """A weight below zero would turn a preference round; the compiler never writes one."""
    tiny_plan(world, world / "plan", rows=tiny_rows(world, weight=[-0.1] + [1.0] * (PAIRS - 1)))
    assert codes(refused(world)) == ["T536"]


def test_a_plan_that_masks_prompts_and_steers_is_admitted(world: Path) -> None:
    """What it counts is there."""
    rows = tiny_rows(world, **forms(PAIRS, "tokens", "inoculate", "steer"))
    tiny_plan(world, world / "plan", rows=rows, forward=True)
    admitted, found = admit(world / "plan", root=world)
    assert admitted is not None, list(found)
    assert admitted.loaded.tools.keys() == BENT.keys()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("chosen_masked", [2, 1]),
        ("chosen_masked", [1, 1]),
        ("rejected_masked", [-1]),
        ("chosen_prompt", 2),
        ("chosen_prompt", -2),
        ("chosen_steered", [3]),
        ("chosen_steered", [0, 0]),
        ("rejected_steered", [-1]),
    ],
)
def test_numbers_of_what_is_not_there_are_refused(world: Path, column: str, value: Any) -> None:
    """Masks out of order, prompts and vectors that the plan does not have, or has once; a plain run does not look."""
    neutral: Any = -1 if column == "chosen_prompt" else []
    rows = tiny_rows(world, **{column: [value, *[neutral] * (PAIRS - 1)]})
    tiny_plan(world, world / "plan", rows=rows, forward=True)
    assert codes(refused(world)) == ["T536"]
    assert admit(world / "plan", root=world, plain=True)[0] is not None


@pytest.mark.parametrize(
    ("changes", "vector", "says"),
    [
        ({"layer": 3}, TOOLS["warmth"], "layer 3, the model's last layer is 2"),
        ({"layer": -1}, TOOLS["warmth"], "layer -1"),
        ({"key": "candour"}, TOOLS["warmth"], "has no `candour`"),
        ({}, TOOLS["warmth"][1:], "the model's width is 32"),
        ({}, TOOLS["warmth"] * np.nan, "not finite"),
    ],
    ids=["above", "below", "key", "width", "nan"],
)
def test_a_vector_that_does_not_fit_the_model_is_refused(
    world: Path, changes: dict[str, Any], vector: np.ndarray, says: str
) -> None:
    """Nothing would be where the plan adds it, or something else would be."""
    rows = tiny_rows(world)
    plan = tiny_plan(world, world / "plan", rows=rows)
    steered = plan.model_copy(update={"steering": (STEERING[0].model_copy(update=changes),)})
    write_plan(steered, rows, world / "plan", {"warmth": vector})
    (only,) = refused(world)
    assert only.code == "T539"
    assert says in only.primary.text
    assert admit(world / "plan", root=world, plain=True)[0] is not None


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((9, WIDTH + 1), True), ((3, WIDTH + 1), True), ((8, WIDTH + 1), False), ((9, WIDTH), False), ((WIDTH,), False)],
)
def test_an_attention_probe_fits_the_model_or_is_refused(world: Path, shape: tuple[int, ...], fits: bool) -> None:
    """Two rows a head and one more, as wide as the model with a bias; a vector is no probe."""
    concept = PlanConcept(
        name="warmth", role="declared", definition=Concept(about="Warm.", words=("dear",)), status="resolved",
        readout="attention",
        projection=Projection(key="warmth.attention", objective="token cross-entropy", mean=0.0, sd=1.0),
    )  # fmt: skip
    rows = tiny_rows(world)
    plan = tiny_plan(world, world / "plan", rows=rows).model_copy(update={"concepts": (concept,)})
    write_plan(plan, rows, world / "plan", {"warmth.attention": np.ones(shape, np.float32)})
    admitted, found = admit(world / "plan", root=world)
    assert (admitted is not None) == fits
    assert codes(found) == ([] if fits else ["T539"])


def test_another_sae_is_refused(world: Path) -> None:
    """Feature ids mean nothing in another SAE."""
    admitted, _ = admit(world / "plan", root=world)
    assert admitted is not None
    pin = admitted.plan.pins.sae
    assert not check_sae(admitted.plan, pin)
    assert codes(check_sae(admitted.plan, pin.model_copy(update={"digest": "1" * 64}))) == ["T526"]
