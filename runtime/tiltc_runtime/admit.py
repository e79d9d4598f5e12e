"""Admission: does the plan still fit the world? Every pin is compared before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from tiltc.check.methods import OFFSET_LOSSES as NAMES
from tiltc.check.methods import batch_fault, reason
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import local_path, settings_notes
from tiltc.plan import Action, ModelPin, Plan, SaePin, Steering
from tiltc.planfile import NEUTRAL, TOOLS_FILE, LoadedPlan, read_plan
from tiltc.spec import Train
from tiltc_runtime.asked import Form
from tiltc_runtime.loading import load_tokenizer, model_folder, model_pin, template_digest, tokenizer_digest
from tiltc_runtime.pairs import Pair, load_pairs
from tiltc_runtime.refused import Refused

#: losses in which a margin offset is exactly what the plan was solved for; see `trainer.py`
MASKED, STEERED = ("chosen_masked", "rejected_masked"), ("chosen_steered", "rejected_steered")
OFFSET_LOSSES = frozenset(NAMES)
#: method -> columns of `rows.parquet` that it would leave out, and the mechanism that writes them. Left out with reason:
#: GRPO's offsets, which say in pairs what its reward terms say, and what SFT never reads, the rejected side
FORWARD = {"chosen_prompt": "inoculate", "chosen_steered": "steer", "rejected_steered": "steer"}
MASKS = {"chosen_masked": "tokens", "rejected_masked": "tokens"}
IGNORED: dict[str, dict[str, str]] = {
    "dpo": {},
    "reward": {**MASKS, **FORWARD},
    "sft": {"margin_offset": "reward", **FORWARD},
    "kto": {"margin_offset": "reward", **MASKS, **FORWARD},
    "grpo": {"weight": "reweight", **MASKS, **FORWARD},
}


@dataclass(frozen=True)
class Admitted:
    """A plan together with the things that it pins, all of them found to be the pinned ones."""

    loaded: LoadedPlan
    model_folder: Path
    tokenizer: Any
    pairs: Sequence[Pair]
    #: folder of the reward model that `train.grpo.reward` names
    reward: Path | None = None

    @property
    def plan(self) -> Plan:
        return self.loaded.plan


def admit(
    folder: Path, *, plain: bool = False, control: bool = False, root: Path | None = None
) -> tuple[Admitted | None, Diagnostics]:
    """Read a plan and compare its pins with the model, template and data found.

    Args:
        plain: what the rows carry won't be used, so it need not fit the loss or the model.
        control: the plan's `controls` will be said in place of its instructions, so it must have both.
        root: what relative paths in the plan are relative to; by default the plan's folder, then the working directory.

    Findings: T520 to T525, T531 to T533, T536, T537, T539, T544, T548, T588, and what the loaders find.
    """
    loaded, found = read_plan(folder)
    if loaded is None:
        return None, found
    root = root or folder
    _check_settings(loaded.plan, found)
    if not plain:
        _check_rows(loaded, found)
        _check_numbers(loaded, found)
        _check_steering(loaded, found)
    if control:
        _check_control(loaded, found)
    reward = _reward(loaded.plan, root, plain, found) if loaded.plan.train.method == "grpo" else None
    place, tokenizer = _model(loaded.plan, root, found)
    pairs = _data(loaded, root, found)
    if pairs is not None and loaded.plan.train.method == "grpo":
        _check_prompts(pairs, found)
    if found.failed or place is None or pairs is None:
        return None, found
    return Admitted(loaded, place, tokenizer, pairs, reward), found


def check_sae(plan: Plan, pin: SaePin) -> Diagnostics:
    """T526 when the SAE found is not the one that the plan's groups are features of, or is read otherwise."""
    found, pinned = Diagnostics(), plan.pins.sae
    notes = _both(pinned.digest, pin.digest) if pin.digest != pinned.digest else []
    if pinned.config and pin.config != pinned.config:
        notes += _both(pinned.config, pin.config, "digest of its settings")
    if notes:
        helps = ["give the pinned SAE back, or harvest and compile for this one"]
        found.add("T526", None, f"{pin.name} is not the SAE that the plan was compiled for", notes=notes, helps=helps)
    return found


def check_model(plan: Plan, pin: ModelPin, tokenizer: Any) -> Diagnostics:
    """T523 when the model found is not the one that the plan was compiled for, T525 for its tokenizer and template."""
    found = Diagnostics()
    found.extend(check_pin(plan.pins.model, pin))
    if (template := template_digest(tokenizer)) != plan.pins.template:
        text = f"the tokenizer of {pin.name} has another chat template than the evidence was read through"
        found.add("T525", None, text, notes=_both(plan.pins.template, template))
    if plan.pins.tokenizer and (vocabulary := tokenizer_digest(tokenizer)) != plan.pins.tokenizer:
        text = f"the tokenizer of {pin.name} has another vocabulary than the evidence was read through"
        found.add("T525", None, text, notes=_both(plan.pins.tokenizer, vocabulary))
    return found


def _both(pinned: object, actual: object, what: str = "digest") -> list[str]:
    return [f"{what} pinned: {pinned}", f"{what} found:  {actual}"]


def _check_settings(plan: Plan, found: Diagnostics) -> None:
    train = plan.train
    if fault := batch_fault(train, PartialState().num_processes):
        found.add("T531", None, fault, helps=["change `train.batch_size` or the number of processes"])
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
    _check_places(loaded, found)


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


def _check_control(loaded: LoadedPlan, found: Diagnostics) -> None:
    """A control run differs from the tilted one in what instructed rows are told, and in nothing else."""
    plan = loaded.plan
    prompts, kept = (loaded.rows[name].to_pylist() for name in ("chosen_prompt", "keep"))
    told = sum(k >= 0 for k, keep in zip(prompts, kept, strict=True) if keep)
    helps = ["`with: inoculate` and `form: forward` on a signal"]
    if not told:
        text = "no row of the plan is read under an instruction, so a control run would be the tilted run again"
        found.add("T548", None, text, helps=helps)
    elif len(plan.controls) != len(plan.prompts):
        text = f"the plan has {len(plan.prompts)} instructions and {len(plan.controls)} controls"
        found.add("T548", None, text, helps=["compile the spec again"])


def _check_steering(loaded: LoadedPlan, found: Diagnostics) -> None:
    model = loaded.plan.pins.model
    for number, steering in enumerate(loaded.plan.steering):
        if fault := _steering_fault(steering, loaded.tools, model):
            found.add("T539", None, f"steering {number} ({steering.concept}): {fault}")
    for concept in loaded.plan.concepts:
        if concept.projection is None:
            continue
        fits = _probe_fault if concept.readout == "attention" else _vector_fault
        if fault := fits(concept.projection.key, loaded.tools, model):
            found.add("T539", None, f"{concept.name}, read by {concept.readout}: {fault}")


def _steering_fault(steering: Steering, tools: Mapping[str, np.ndarray], model: ModelPin) -> str | None:
    if not 0 <= steering.layer < model.layers:
        return f"layer {steering.layer}, the model's last layer is {model.layers - 1}"
    if not np.isfinite(steering.size):
        return f"{steering.size} times `{steering.key}` is not finite"
    if (steering.tool == "reft") != (steering.ends is not None) or (steering.ends is not None and steering.ends < 1):
        return f"`{steering.tool}` on {steering.ends} tokens at each end of a response"
    return (_vector_fault if steering.ends is None else _adapter_fault)(steering.key, tools, model)


def _vector_fault(key: str, tools: Mapping[str, np.ndarray], model: ModelPin) -> str | None:
    vector = tools.get(key)
    if vector is None:
        return f"{TOOLS_FILE} has no `{key}`"
    if vector.shape != (model.width,):
        return f"`{key}` has shape {list(vector.shape)}, the model's width is {model.width}"
    return None if np.isfinite(vector).all() else f"`{key}` is not finite"


def _adapter_fault(key: str, tools: Mapping[str, np.ndarray], model: ModelPin) -> str | None:
    """A ReFT adapter has rows that read, with their bias, and write a residual stream of the model's width."""
    adapter = tools.get(key)
    if adapter is None:
        return f"{TOOLS_FILE} has no `{key}`"
    if adapter.ndim != 2 or not len(adapter) or adapter.shape[1] != 2 * model.width + 1:
        return f"`{key}` has shape {list(adapter.shape)}, the model's width is {model.width}"
    return None if np.isfinite(adapter).all() else f"`{key}` is not finite"


def _probe_fault(key: str, tools: Mapping[str, np.ndarray], model: ModelPin) -> str | None:
    """An attention probe has two rows a head and one more, each as wide as the model and its bias."""
    probe = tools.get(key)
    if probe is None:
        return f"{TOOLS_FILE} has no `{key}`"
    if probe.ndim != 2 or len(probe) < 3 or len(probe) % 2 == 0 or probe.shape[1] != model.width + 1:
        return f"`{key}` has shape {list(probe.shape)}, the model's width is {model.width}"
    return None if np.isfinite(probe).all() else f"`{key}` is not finite"


def _check_loss(train: Train, shifted: int, found: Diagnostics) -> None:
    if shifted and train.method == "dpo" and train.loss not in OFFSET_LOSSES:
        helps = [f"train: {{loss: {' | '.join(sorted(OFFSET_LOSSES))}}}", "or `with: reweight` on the signals"]
        found.add("T532", None, f"{shifted} rows carry an offset, and train.loss is `{train.loss}`", helps=helps)


def _check_places(loaded: LoadedPlan, found: Diagnostics) -> None:
    method, rows = loaded.plan.train.method, loaded.rows
    for column, mechanism in IGNORED[method].items():
        asking = sum(value != NEUTRAL[column] for value in rows[column].to_pylist())
        if asking:
            text = f"{asking} rows have a `{column}`, and train.method is `{method}`"
            helps = ["compile the plan for this method, or train by another"]
            found.add("T544", None, text, notes=[reason(method, mechanism)], helps=helps)
    chosen, rejected = (sum(map(bool, rows[column].to_pylist())) for column in MASKED)
    if method == "sft" and rejected and not chosen:
        text = f"{rejected} rows mask tokens of the rejected response and none of the chosen one, all that `sft` reads"
        found.add("T544", None, text, helps=["compile the plan for this method, or train by another"])


def _reward(plan: Plan, root: Path, plain: bool, found: Diagnostics) -> Path | None:
    """The folder of GRPO's reward model, if one is named. Without one the plan's terms are the whole reward."""
    named = plan.train.grpo.reward if plan.train.grpo else None
    terms = [action for action in plan.actions if action.mechanism == "reward"]
    if named is None:
        _check_terms(() if plain else terms, plain, found)
        return None
    place = local_path(named, root)
    if place is None or not any((place / name).is_file() for name in ("config.json", "adapter_config.json")):
        found.add("T507", None, f"`{named}` is no folder with a reward model", helps=["name the `model/` of a run"])
    return place


def _check_terms(terms: Sequence[Action], plain: bool, found: Diagnostics) -> None:
    helps = ["name a reward model: `train: {grpo: {reward: PATH}}`"]
    if not terms:
        why = "a plain run has no reward terms" if plain else "the plan has no reward terms"
        found.add("T531", None, f"GRPO has nothing to reward: {why}", helps=helps)
    for action in terms:
        verb = action.signal.split(":")[0]
        if (verb == "suppress" and action.strength < 0) or (verb == "amplify" and action.strength > 0):
            text = f"`{action.signal}` has strength {action.strength:+.3g}, which alone would do the opposite"
            note = "the strength takes back what the data teach; without their reward there is nothing to take back"
            found.add("T531", None, text, notes=[note], helps=helps)


def _check_prompts(pairs: Sequence[Pair], found: Diagnostics) -> None:
    """GRPO renders all prompts alike."""
    form = Form.of(pairs)
    own = 0 if form.text else form.varied
    if own:
        helps = ["take `tools` and `chat_template_kwargs` out of the data, or train by another method"]
        found.add(
            "T531", None, f"{own} rows bring chat template arguments of their own, which GRPO can't use", helps=helps
        )


def _model(plan: Plan, root: Path, found: Diagnostics) -> tuple[Path | None, Any]:
    try:
        place = model_folder(plan.model, root)
        pin = model_pin(plan.model, place)
        tokenizer = load_tokenizer(place)
    except Refused as refused:
        found.extend(refused.diagnostics)
        return None, None
    found.extend(check_model(plan, pin, tokenizer))
    return place, tokenizer


def check_pin(pinned: ModelPin, actual: ModelPin) -> Diagnostics:
    """T523 when a model is not the pinned one: its weights, its dimensions, or a file that decides what it answers."""
    found = Diagnostics()
    fields = [f for f in ("digest", "layers", "width") if getattr(pinned, f) != getattr(actual, f)]
    notes = [line for f in fields for line in _both(getattr(pinned, f), getattr(actual, f), f)]
    notes += settings_notes(pinned.files, actual.files)
    if notes:
        helps = ["give the pinned model back, or harvest and compile for this one"]
        text = f"{actual.name} is not the model that the plan was compiled for"
        found.add("T523", None, text, notes=notes, helps=helps)
    return found


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
