"""Admission: does the plan still fit the world? Every pin is compared before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tiltc.diagnostics import Diagnostics
from tiltc.plan import ModelPin, Plan, SaePin, Steering
from tiltc.planfile import TOOLS_FILE, LoadedPlan, read_plan
from tiltc.spec import Train
from tiltc_runtime.loading import load_tokenizer, model_folder, model_pin, template_digest
from tiltc_runtime.pairs import Pair, load_pairs
from tiltc_runtime.refused import Refused

#: methods that `run` can carry out
METHODS = ("dpo",)
#: losses in which a margin offset is exactly what the plan was solved for; see `trainer.py`
OFFSET_LOSSES = frozenset({"sigmoid", "hinge", "robust", "sigmoid_norm"})
MASKED, STEERED = ("chosen_masked", "rejected_masked"), ("chosen_steered", "rejected_steered")


@dataclass(frozen=True)
class Admitted:
    """A plan together with the things that it pins, all of them found to be the pinned ones."""

    loaded: LoadedPlan
    model_folder: Path
    tokenizer: Any
    pairs: Sequence[Pair]

    @property
    def plan(self) -> Plan:
        return self.loaded.plan


def admit(folder: Path, *, plain: bool = False, root: Path | None = None) -> tuple[Admitted | None, Diagnostics]:
    """Read a plan and compare its pins with the model, template and data found.

    Args:
        plain: what the rows carry won't be used, so it need not fit the loss or the model.
        root: what relative paths in the plan are relative to; by default the plan's folder, then the working directory.

    Findings: T520 to T525, T531 to T533, T536, T537, T539, and what the loaders find.
    """
    loaded, found = read_plan(folder)
    if loaded is None:
        return None, found
    _check_settings(loaded.plan, found)
    if not plain:
        _check_rows(loaded, found)
        _check_numbers(loaded, found)
        _check_steering(loaded, found)
    root = root or folder
    place, tokenizer = _model(loaded.plan, root, found)
    pairs = _data(loaded, root, found)
    if found.failed or place is None or pairs is None:
        return None, found
    return Admitted(loaded, place, tokenizer, pairs), found


def check_sae(plan: Plan, pin: SaePin) -> Diagnostics:
    """T526 when the SAE found is not the one that the plan's groups are features of."""
    found = Diagnostics()
    if pin.digest != plan.pins.sae.digest:
        notes = _both(plan.pins.sae.digest, pin.digest)
        helps = ["give the pinned SAE back, or harvest and compile for this one"]
        found.add("T526", None, f"{pin.name} is not the SAE that the plan was compiled for", notes=notes, helps=helps)
    return found


def _both(pinned: object, actual: object, what: str = "digest") -> list[str]:
    return [f"{what} pinned: {pinned}", f"{what} found:  {actual}"]


def _check_settings(plan: Plan, found: Diagnostics) -> None:
    train = plan.train
    if train.method not in METHODS:
        helps = [f"train: {{method: {METHODS[0]}}}, or `tiltc export` for another trainer"]
        found.add("T531", None, f"train.method is `{train.method}`", helps=helps)
    if train.liger:
        found.add("T533", None, "train.liger is on", helps=["train: {liger: false}"])
    if train.lora is not None and train.lora.layers >= plan.pins.model.layers:
        text = f"train.lora.layers is {train.lora.layers}, the model's last layer is {plan.pins.model.layers - 1}"
        found.add("T537", None, text)


def _check_rows(loaded: LoadedPlan, found: Diagnostics) -> None:
    weight, offset = (loaded.rows[name].to_numpy() for name in ("weight", "margin_offset"))
    bad = np.flatnonzero(~np.isfinite(weight) | ~np.isfinite(offset) | (weight < 0))
    if len(bad):
        notes = [f"row {i}: weight {weight[i]}, margin offset {offset[i]}" for i in bad[:5].tolist()]
        found.add("T536", None, f"{len(bad)} rows can't be trained on", notes=notes)
    _check_loss(loaded.plan.train, int((offset != 0).sum()), found)


def _check_numbers(loaded: LoadedPlan, found: Diagnostics) -> None:
    """What rows count must be there, and tokens must come in order; `training_rows` knows how many there are."""
    plan, rows = loaded.plan, loaded.rows
    prompts = rows["chosen_prompt"].to_pylist()
    bad = [f"row {i}: chosen_prompt {k}" for i, k in enumerate(prompts) if not -1 <= k < len(plan.prompts)]
    vectors = set(range(len(plan.steering)))
    for name in MASKED:
        masks = enumerate(rows[name].to_pylist())
        bad += [f"row {i}: {name} {m[:8]}" for i, m in masks if any(a >= b for a, b in pairwise([-1, *m]))]
    for name in STEERED:
        numbers = enumerate(rows[name].to_pylist())
        bad += [f"row {i}: {name} {n[:8]}" for i, n in numbers if len(n) > len(vectors.intersection(n))]
    if bad:
        text = f"{len(bad)} values count what is not there, or count it twice"
        notes = [f"the plan has {len(plan.prompts)} prompts and {len(plan.steering)} vectors", *bad[:5]]
        found.add("T536", None, text, notes=notes)


def _check_steering(loaded: LoadedPlan, found: Diagnostics) -> None:
    model = loaded.plan.pins.model
    for number, steering in enumerate(loaded.plan.steering):
        if fault := _steering_fault(steering, loaded.tools.get(steering.key), model):
            found.add("T539", None, f"steering {number} ({steering.concept}): {fault}")


def _steering_fault(steering: Steering, vector: np.ndarray | None, model: ModelPin) -> str | None:
    if not 0 <= steering.layer < model.layers:
        return f"layer {steering.layer}, the model's last layer is {model.layers - 1}"
    if vector is None:
        return f"{TOOLS_FILE} has no `{steering.key}`"
    if vector.shape != (model.width,):
        return f"`{steering.key}` has shape {list(vector.shape)}, the model's width is {model.width}"
    if not np.isfinite(vector).all() or not np.isfinite(steering.size):
        return f"{steering.size} times `{steering.key}` is not finite"
    return None


def _check_loss(train: Train, shifted: int, found: Diagnostics) -> None:
    if shifted and train.loss not in OFFSET_LOSSES:
        helps = [f"train: {{loss: {' | '.join(sorted(OFFSET_LOSSES))}}}", "or `with: reweight` on the signals"]
        found.add("T532", None, f"{shifted} rows carry an offset, and train.loss is `{train.loss}`", helps=helps)


def _model(plan: Plan, root: Path, found: Diagnostics) -> tuple[Path | None, Any]:
    try:
        place = model_folder(plan.model, root)
        pin = model_pin(plan.model, place)
        tokenizer = load_tokenizer(place)
    except Refused as refused:
        found.extend(refused.diagnostics)
        return None, None
    _check_model(plan.pins.model, pin, found)
    if (template := template_digest(tokenizer)) != plan.pins.template:
        text = f"the tokenizer of {pin.name} has another chat template than the evidence was read through"
        found.add("T525", None, text, notes=_both(plan.pins.template, template))
    return place, tokenizer


def _check_model(pinned: ModelPin, actual: ModelPin, found: Diagnostics) -> None:
    fields = [f for f in ("digest", "layers", "width") if getattr(pinned, f) != getattr(actual, f)]
    if fields:
        notes = [line for f in fields for line in _both(getattr(pinned, f), getattr(actual, f), f)]
        helps = ["give the pinned model back, or harvest and compile for this one"]
        text = f"{actual.name} is not the model that the plan was compiled for"
        found.add("T523", None, text, notes=notes, helps=helps)


def _data(loaded: LoadedPlan, root: Path, found: Diagnostics) -> Sequence[Pair] | None:
    plan = loaded.plan
    try:
        data = load_pairs(plan.data, root)
    except Refused as refused:
        found.extend(refused.diagnostics)
        return None
    planned = loaded.rows["row_id"].to_pylist()
    actual = [pair.row_id for pair in data.pairs]
    if planned != actual or data.pin.digest != plan.pins.data.digest:
        notes = [*_both(plan.pins.data.digest, data.pin.digest), _first_difference(planned, actual)]
        helps = ["give the pinned data back, or harvest and compile again"]
        text = f"{data.pin.name} has other rows than the plan's {plan.pins.data.name}"
        found.add("T524", None, text, notes=notes, helps=helps)
    return data.pairs


def _first_difference(planned: Sequence[str], actual: Sequence[str]) -> str:
    counts = f"{len(planned)} rows planned, {len(actual)} found"
    same = next((i for i, (a, b) in enumerate(zip(planned, actual, strict=False)) if a != b), None)
    if same is None:
        return counts
    return f"first difference at row {same + 1}: planned {planned[same]}, found {actual[same]}; {counts}"
