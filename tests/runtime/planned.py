"""A plan for a tiny model and a tiny data set, made without a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.runtime.tiny import WIDTH, tiny_data_file, tiny_model_folder
from tiltc.plan import Control, Pins, Plan, SaePin, Spend, Steering
from tiltc.planfile import row_table, write_plan
from tiltc.spec import Budget, Lora, Train, Verify
from tiltc_runtime.loading import load_tokenizer, model_pin, template_digest
from tiltc_runtime.pairs import load_pairs

PAIRS = 14
TRAIN = Train(
    batch_size=2, learning_rate=1e-3, epochs=2, save_steps=2, max_length=256, lora=Lora(r=2, alpha=4, layers=1), seed=3
)
PROMPTS = ("Write warmly.", "Use **bold** over and over.")
CONTROLS = (
    Control(signal="suppress: warmth", text="Answer now."),
    Control(signal="suppress: bold", text="Reply to the message that stands above."),
)
TOOLS = {
    key: np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    for seed, key in enumerate(("warmth", "bold"))
}
STEERING = (
    Steering(concept="warmth", tool="direction", key="warmth", layer=1, size=0.8),
    Steering(concept="bold", tool="probe", key="bold", layer=0, size=-0.5),
)
#: the same and an adapter, on a layer to which a vector is added too
BENDING = (*STEERING, Steering(concept="calm", tool="reft", key="calm", layer=1, size=0.7, ends=4))
BENT = TOOLS | {"calm": np.random.default_rng(7).normal(size=(3, 2 * WIDTH + 1)).astype(np.float32) / WIDTH**0.5}


def forms(pairs: int, *names: str) -> dict[str, list[Any]]:
    """Columns under which rows are masked (`tokens`), prompted (`inoculate`), steered (`steer`), steered by an adapter as well
    (`reft`, of `BENDING`), and rows that are not."""
    columns: dict[str, dict[str, list[Any]]] = {
        "tokens": {
            "chosen_masked": [[0, 2] if i % 3 == 0 else [] for i in range(pairs)],
            "rejected_masked": [[1, 3, 4] if i % 4 == 1 else [] for i in range(pairs)],
        },
        "inoculate": {"chosen_prompt": [(0, -1, 1)[i % 3] for i in range(pairs)]},
        "steer": {
            "chosen_steered": [([0], [], [0, 1], [])[i % 4] for i in range(pairs)],
            "rejected_steered": [([], [1], [1], [])[i % 4] for i in range(pairs)],
        },
        "reft": {
            "chosen_steered": [([2], [0, 1, 2], [], [])[i % 4] for i in range(pairs)],
            "rejected_steered": [([], [], [1, 2], [2])[i % 4] for i in range(pairs)],
        },
    }
    return {key: values for name in names for key, values in columns[name].items()}


def tiny_world(folder: Path, pairs: int = PAIRS) -> Path:
    """A folder with `model/` and `pairs.jsonl`."""
    tiny_model_folder(folder / "model")
    tiny_data_file(folder / "pairs.jsonl", pairs)
    return folder


def tiny_rows(world: Path, **columns: list[Any]) -> pa.Table:
    """`rows.parquet` of a plan: by default the third pair is dropped, and every pair has a weight and an offset."""
    ids = [pair.row_id for pair in load_pairs("pairs.jsonl", world).pairs]
    n = len(ids)
    default: dict[str, list[Any]] = {
        "row_id": ids,
        "keep": [i != 2 for i in range(n)],
        "weight": [0.5 + (i % 3) / 2 for i in range(n)],
        "margin_offset": [0.3 * (i % 5 - 2) for i in range(n)],
        "reason": [""] * n,
    }
    return row_table(default | columns)


def tiny_plan(
    world: Path,
    folder: Path,
    *,
    rows: pa.Table | None = None,
    train: Train = TRAIN,
    forward: bool = False,
    prompts: tuple[str, ...] = PROMPTS,
    **pins: Any,
) -> Plan:
    """Write a plan for a `tiny_world` into `folder`; `pins` replace what is true of the world.

    Args:
        forward: with what `forms` counts: `prompts`, and `BENDING` with its tensors; and with `CONTROLS`.
    """
    data = load_pairs("pairs.jsonl", world).pin
    true: dict[str, Any] = {
        "spec": "0" * 64,
        "evidence": "0" * 64,
        "model": model_pin("model", world / "model"),
        "sae": SaePin(name="sae", digest="0" * 64, hook="blocks.1.hook_resid_post", width=32, features=64),
        "data": data,
        "template": template_digest(load_tokenizer(world / "model")),
        "max_length": train.max_length,
        "rows": "",
    }
    rows = tiny_rows(world) if rows is None else rows
    plan = Plan(
        compiler="0",
        name="tiny",
        model="model",
        sae="sae",
        data="pairs.jsonl",
        train=train,
        verify=Verify(),
        budget=Budget(),
        pins=Pins(**true | pins),
        concepts=(),
        prompts=prompts if forward else (),
        steering=BENDING if forward else (),
        controls=CONTROLS if forward else (),
        actions=(),
        forecast=(),
        spend=Spend(rows=data.rows, kept=data.rows, effective_sample=1.0, largest_weight=1.0, largest_offset=0.0),
    )
    return write_plan(plan, rows, folder, BENT if forward else {})
