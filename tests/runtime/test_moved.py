"""A run that changes nothing says so, whatever the reason; and a run that changes something does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runtime.planned import PAIRS, TRAIN, tiny_plan, tiny_rows, tiny_world
from tests.runtime.tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer
from tiltc.cli import main
from tiltc_runtime.moved import sample, share_moved
from tiltc_runtime.record import RunRecord
from tiltc_runtime.train import run

SHORT = TRAIN.model_copy(update={"epochs": 1, "save_steps": 50, "max_steps": 3})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("world"))


def trained(world: Path, out: Path, *, rows: dict[str, list[Any]] | None = None, **train: Any) -> tuple[Any, list[str]]:
    """The record of a run of a plan with these columns and settings, and the findings' texts by code."""
    tiny_plan(world, out / "plan", rows=tiny_rows(world, **rows or {}), train=SHORT.model_copy(update=train))
    record, found = run(out / "plan", out / "run", root=world)
    return record, [f"{d.code}: {d.primary.text}" for d in found if d.code in ("T564", "T536", "T534")]


ZERO = "the gradient was zero at each of 3 steps"
STILL = "% of the trained weights have another value than before, after 3 steps"


@pytest.mark.parametrize(
    ("rows", "train", "says"),
    [
        ({"margin_offset": [1e6] * PAIRS}, {}, ZERO),
        ({"margin_offset": [1e6] * PAIRS}, {"lora": None}, ZERO),
        ({"margin_offset": [50.0] * PAIRS}, {"loss": "hinge"}, ZERO),
        ({}, {"learning_rate": 1e-12, "lora": None}, STILL),
        ({}, {"learning_rate": 1e-7, "lora": None, "precision": "bf16"}, STILL),
        ({}, {"learning_rate": 1e-60}, STILL),
    ],
    ids=["saturated", "saturated, full", "beyond the hinge", "below float32", "below bfloat16", "below an adapter's"],
)
def test_a_run_that_changes_nothing(
    world: Path, tmp_path: Path, rows: dict[str, list[Any]], train: dict[str, Any], says: str
) -> None:
    """Gradients of zero, or updates below the weights' precision: the record is kept, and T564 says which."""
    record, (said,) = trained(world, tmp_path, rows=rows, **train)
    assert said.startswith("T564: ")
    assert said.endswith(says)
    assert isinstance(record, RunRecord)
    assert record.moved is not None
    assert record.moved < 0.001
    assert trained(world, tmp_path, rows=rows, **train) == (record, [said])


@pytest.mark.parametrize("train", [{}, {"lora": None}, {"method": "sft"}, {"learning_rate": 1e-9}])
def test_a_run_that_changes_something(world: Path, tmp_path: Path, train: dict[str, Any]) -> None:
    """An ordinary run is said to have moved, and nothing else is said."""
    rows = {"margin_offset": [0.0] * PAIRS} if train.get("method") else {}
    record, said = trained(world, tmp_path, rows=rows, **train)
    assert said == []
    assert record.moved > 0.3


def test_masks_over_everything(world: Path, tmp_path: Path) -> None:
    """Where every token is masked there is no gradient."""
    longest = tiny_rows(world).num_rows
    from tiltc_runtime.pairs import load_pairs
    from tiltc_runtime.tokens import encode_pair

    encoded = [encode_pair(tiny_tokenizer(), pair, 256) for pair in load_pairs("pairs.jsonl", world).pairs]
    rows = {
        f"{side}_masked": [list(range(len(e.responses[at]))) for e in encoded]
        for at, side in enumerate(("chosen", "rejected"))
    }
    assert len(rows["chosen_masked"]) == longest
    assert trained(world, tmp_path, rows=rows)[1] == [f"T564: {ZERO}"]


def test_the_command_fails(world: Path, tmp_path: Path) -> None:
    """`tiltc run` ends with 1, and says so again when it is asked again."""
    rows = tiny_rows(world, margin_offset=[1e6] * PAIRS)
    tiny_plan(world, tmp_path / "plan", rows=rows, train=SHORT)
    arguments = ["run", str(tmp_path / "plan"), "-o", str(tmp_path / "run"), "--root", str(world)]
    import io

    for _ in range(2):
        out = io.StringIO()
        assert main(arguments, out, io.StringIO()) == 1
        assert "T564" in out.getvalue()


def test_a_template_that_drops_the_answers(tmp_path: Path) -> None:
    """Rows that harvest would not read are refused before training where the plan has them (T536); a plain run trains
    every row as it is, and says that it changed nothing."""
    world = tiny_world(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages[:1] %}" + CHAT_TEMPLATE.partition("%}")[2]
    tokenizer.save_pretrained(world / "model")
    assert trained(world, tmp_path)[1] == [f"T536: {PAIRS - 1} rows of the plan can't be trained on"]
    record, found = run(tmp_path / "plan", tmp_path / "plain", root=world, plain=True)
    assert [d.primary.text for d in found if d.code == "T564"] == [ZERO]
    assert record is not None


def test_the_share_that_moved() -> None:
    """Counted over values, in every precision; frozen tensors are none of them."""
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_model().to(dtype)
        before = sample(model)
        assert share_moved(before, model) == 0.0
        weight = model.model.layers[1].mlp.up_proj.weight
        with torch.no_grad():
            weight.add_(torch.full_like(weight, 0.01))
        looked_at = sum(values.numel() for values in before.values())
        assert share_moved(before, model) == pytest.approx(weight.numel() / looked_at, rel=0.05)
    model.requires_grad_(False)
    assert sample(model) == {}
