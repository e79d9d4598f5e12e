from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer
from trl.trainer import utils

from tests.runtime.tiny import tiny_model, tiny_model_folder, tiny_pairs, tiny_tokenizer
from tiltc_runtime.fused import responses_only
from tiltc_runtime.reference import ReferenceCache
from tiltc_runtime.trainer import OFFSET, OFFSET_LOSSES, WEIGHT, TiltCollator, TiltedDPOTrainer

ROOT = Path(__file__).parents[2]
PAIRS = 10
WEIGHTS = [0.25 * (1 + i % 7) for i in range(PAIRS)]
OFFSETS = [0.4 * (i - 4) for i in range(PAIRS)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads, and bits can't depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")


def config(out: Path, **changes: Any) -> DPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(out), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [],
        "per_device_train_batch_size": 4, "learning_rate": 1e-3, "num_train_epochs": 1, "logging_steps": 1,
        "save_strategy": "no", "disable_tqdm": True, "beta": 0.3, "max_length": 256, "seed": 3,
    }  # fmt: skip
    return DPOConfig(**settings | changes)


def rows(characters: int = 60, **columns: list[float]) -> Dataset:
    """Pairs with short responses: in float32, the error of a log-probability grows with its length."""
    pairs = tiny_pairs(PAIRS)
    for pair in pairs:
        for side in ("chosen", "rejected"):
            pair[side][0]["content"] = pair[side][0]["content"][:characters].rstrip()
    data = Dataset.from_list(pairs)
    for name, values in columns.items():
        data = data.add_column(name, values)
    return data


def lora() -> LoraConfig:
    return LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=True)


def trainer_of(kind: type[DPOTrainer], folder: Path, args: DPOConfig, data: Dataset, **more: Any) -> DPOTrainer:
    tokenizer = tiny_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if kind is TiltedDPOTrainer:
        more["data_collator"] = TiltCollator(tokenizer.pad_token_id, args.max_length)
    return kind(model=model, args=args, train_dataset=data, processing_class=tokenizer, **more)


def trained(kind: type[DPOTrainer], folder: Path, args: DPOConfig, data: Dataset, **more: Any) -> DPOTrainer:
    trainer = trainer_of(kind, folder, args, data, **more)
    trainer.train()
    return trainer


def numbers(trainer: DPOTrainer) -> list[dict[str, float]]:
    untimed = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}
    return [{k: v for k, v in entry.items() if k not in untimed} for entry in trainer.state.log_history]


def same_bits(one: DPOTrainer, other: DPOTrainer) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def full_logits_logps(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    """log p(response | prompt) without any of TRL's code."""
    ids = torch.tensor([prompt + response])
    logps = model(input_ids=ids).logits[0].log_softmax(-1)
    return logps[torch.arange(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]].sum()


def independent_loss(model: Any, frozen: Any, row: dict[str, Any], beta: float, loss: str, smoothing: float) -> Any:
    sides: list[torch.Tensor] = []
    for side in ("chosen_ids", "rejected_ids"):
        with torch.no_grad():
            reference = full_logits_logps(frozen, row["prompt_ids"], row[side])
        ratio = full_logits_logps(model, row["prompt_ids"], row[side]) - reference
        sides.append(ratio / len(row[side]) if loss == "sigmoid_norm" else ratio)
    z = beta * (sides[0] - sides[1]) + row[OFFSET]
    if loss == "hinge":
        return row[WEIGHT] * (1 - z).clamp(min=0)
    if loss == "robust":
        flipped = smoothing * F.logsigmoid(-z)
        return row[WEIGHT] * (-(1 - smoothing) * F.logsigmoid(z) + flipped) / (1 - 2 * smoothing)
    return -row[WEIGHT] * F.logsigmoid(z)


@pytest.mark.parametrize("loss", sorted(OFFSET_LOSSES))
@pytest.mark.parametrize("columns", [{}, {WEIGHT: [1.0] * PAIRS, OFFSET: [0.0] * PAIRS}], ids=["absent", "neutral"])
def test_an_empty_plan_trains_bit_for_bit_as_stock_trl(folder: Path, tmp_path: Path, columns: Any, loss: str) -> None:
    """Without the plan's columns, and with weights 1 and offsets 0, weights and every logged number equal TRL's."""
    args = {"loss_type": [loss], "label_smoothing": 0.1 if loss == "robust" else 0.0, "precompute_ref_log_probs": False}
    stock = trained(DPOTrainer, folder, config(tmp_path / "a", **args), rows())
    ours = trained(TiltedDPOTrainer, folder, config(tmp_path / "b", **args), rows(**columns))
    assert same_bits(stock, ours)
    assert numbers(stock) == numbers(ours)


def test_an_empty_plan_equals_stock_trl_with_lora(folder: Path, tmp_path: Path) -> None:
    """The same with adapters, where the reference is the model with its adapter off."""
    neutral = {WEIGHT: [1.0] * PAIRS, OFFSET: [0.0] * PAIRS}
    stock = trained(DPOTrainer, folder, config(tmp_path / "a"), rows(), peft_config=lora())
    ours = trained(TiltedDPOTrainer, folder, config(tmp_path / "b"), rows(**neutral), peft_config=lora())
    assert same_bits(stock, ours)
    assert numbers(stock) == numbers(ours)


@pytest.mark.parametrize("loss", sorted(OFFSET_LOSSES))
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_loss_and_gradient_equal_an_independent_implementation(
    folder: Path, tmp_path: Path, loss: str, peft: bool
) -> None:
    """On a moved policy, weighted and shifted loss and gradient agree with full logits, pair by pair, to 1e-6."""
    smoothing = 0.1 if loss == "robust" else 0.0
    args = config(tmp_path, loss_type=[loss], label_smoothing=smoothing, beta=0.1 if loss != "sigmoid_norm" else 2.0)
    more = {"peft_config": lora()} if peft else {}
    trainer = trainer_of(TiltedDPOTrainer, folder, args, rows(8, **{WEIGHT: WEIGHTS, OFFSET: OFFSETS}), **more)
    perturb(trainer.model)
    examples = [trainer.train_dataset[i] for i in range(PAIRS)]
    batch = trainer.data_collator(examples)
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    ours = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    value = trainer.compute_loss(trainer.model, dict(batch)).item()

    trainer.model.zero_grad()
    frozen = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    losses = [independent_loss(trainer.model, frozen, r, args.beta, loss, smoothing) for r in examples]
    expected = torch.stack(losses).mean()
    expected.backward()
    theirs = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    # log-probabilities are tens of nats, summed in another order on each kind of processor
    assert value == pytest.approx(expected.item(), rel=1e-5)
    assert ours.keys() == theirs.keys()
    flat = [torch.cat([g[n].flatten() for n in sorted(ours)]) for g in (ours, theirs)]
    assert ((flat[0] - flat[1]).norm() / flat[1].norm()).item() < 2e-6
    assert value != pytest.approx(math.log(2), abs=1e-3)


def perturb(model: Any) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.02 * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize(
    "changes",
    [{"gradient_checkpointing": True}, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}],
    ids=["checkpointing", "accumulation"],
)
def test_memory_settings_leave_the_training_as_it_is(
    folder: Path, tmp_path: Path, changes: dict[str, Any], peft: bool
) -> None:
    """Checkpointing and accumulation give the steps of one plain batch, also when the last batch is smaller."""
    more = {"peft_config": lora()} if peft else {}
    # SGD, so that a wrong scale of the gradient can't hide behind Adam's normalisation
    common = {"optim": "sgd", "learning_rate": 1e-2, "max_grad_norm": 1e9}
    data = rows(**{WEIGHT: WEIGHTS, OFFSET: OFFSETS})
    plain = trained(TiltedDPOTrainer, folder, config(tmp_path / "a", **common), data, **more)
    changed = trained(TiltedDPOTrainer, folder, config(tmp_path / "b", **common, **changes), data, **more)
    assert plain.state.global_step == changed.state.global_step == 3
    ours, theirs = plain.model.state_dict(), changed.model.state_dict()
    start = trainer_of(TiltedDPOTrainer, folder, config(tmp_path / "c"), data, **more).model.state_dict()
    step = torch.cat([(ours[k] - start[k]).flatten() for k in ours])
    gap = torch.cat([(ours[k] - theirs[k]).flatten() for k in ours])
    assert gap.norm() < 1e-4 * step.norm()


def test_the_logged_loss_has_the_plan_in_it_and_the_rewards_do_not(folder: Path, tmp_path: Path) -> None:
    """At the first step the loss is the mean of weight * log(1 + exp(-offset)); rewards are 0, as nothing has moved."""
    data = rows(**{WEIGHT: WEIGHTS, OFFSET: OFFSETS})
    args = config(tmp_path, per_device_train_batch_size=PAIRS)
    first = trained(TiltedDPOTrainer, folder, args, data).state.log_history[0]
    expected = sum(w * math.log1p(math.exp(-o)) for w, o in zip(WEIGHTS, OFFSETS, strict=True)) / PAIRS
    assert first["loss"] == pytest.approx(expected, rel=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_a_pair_of_weight_zero_teaches_nothing(folder: Path, tmp_path: Path) -> None:
    """With all weights zero no parameter moves."""
    before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    args = config(tmp_path, weight_decay=0.0)
    after = trained(TiltedDPOTrainer, folder, args, rows(**{WEIGHT: [0.0] * PAIRS})).model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_evaluation_is_without_the_plan(folder: Path, tmp_path: Path) -> None:
    """Evaluated on rows with huge offsets, the loss before training is log 2: interventions act on training only."""
    data = rows(**{WEIGHT: [3.0] * PAIRS, OFFSET: [5.0] * PAIRS})
    trainer = trainer_of(TiltedDPOTrainer, folder, config(tmp_path), data, eval_dataset=data)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_type": ["ipo"]},
        {"loss_type": ["apo_zero"]},
        {"loss_type": ["sigmoid", "sft"]},
        {"f_divergence_type": "js_divergence"},
        {"ld_alpha": 0.5},
        {"use_weighting": True},
        {"use_liger_kernel": True},
    ],
    ids=str,
)
def test_settings_that_would_bend_an_offset_are_refused(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Where an offset is no shift of the margin, the trainer does not start."""
    with pytest.raises((ValueError, ImportError), match=r"exact under|Liger|liger"):
        trainer_of(TiltedDPOTrainer, folder, config(tmp_path, **changes), rows(**{OFFSET: OFFSETS}))


def test_weights_are_exact_under_ipo(folder: Path, tmp_path: Path) -> None:
    """Doubling all weights doubles the ipo loss of TRL; offsets are refused there, weights are not."""
    args = {"loss_type": ["ipo"], "per_device_train_batch_size": PAIRS, "max_steps": 1}
    stock = trained(DPOTrainer, folder, config(tmp_path / "a", **args), rows()).state.log_history[0]["loss"]
    data = rows(**{WEIGHT: [2.0] * PAIRS})
    ours = trained(TiltedDPOTrainer, folder, config(tmp_path / "b", **args), data).state.log_history[0]["loss"]
    assert ours == pytest.approx(2 * stock, rel=1e-6)


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_cached_reference_equals_the_reference_on_the_fly(folder: Path, tmp_path: Path, peft: bool) -> None:
    """Reference log-probabilities from the cache give the run that a live reference gives; a second pass reads them."""
    data = rows(**{WEIGHT: WEIGHTS, OFFSET: OFFSETS})
    more = {"peft_config": lora()} if peft else {}
    live = trained(TiltedDPOTrainer, folder, config(tmp_path / "a"), data, **more)
    cache = ReferenceCache(tmp_path / "reference", "tiny")
    args = config(tmp_path / "b", precompute_ref_log_probs=True)
    cached = trainer_of(TiltedDPOTrainer, folder, args, data, reference=cache, **more)
    assert cached.ref_model is None
    stamps = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    again = trainer_of(TiltedDPOTrainer, folder, args, data, reference=cache, **more)
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    assert again.train_dataset["ref_chosen_logps"] == cached.train_dataset["ref_chosen_logps"]
    cached.train()
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (live, cached)]
    # Adam divides a gradient by its own size: rounding in one near zero is a whole step
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_reference_is_computed_for_the_rows_of_the_planned_steps_alone(folder: Path, tmp_path: Path) -> None:
    """With `max_steps` only the rows that those steps train on are run through the reference, and losses are the same."""
    changes = {"max_steps": 2, "per_device_train_batch_size": 2, "train_sampling_strategy": "group_by_length"}
    live = trained(TiltedDPOTrainer, folder, config(tmp_path / "a", **changes), rows())
    args = config(tmp_path / "b", precompute_ref_log_probs=True, **changes)
    some = trainer_of(TiltedDPOTrainer, folder, args, rows(), reference=ReferenceCache(tmp_path / "reference", "tiny"))
    known = np.flatnonzero(np.isfinite(some.train_dataset["ref_chosen_logps"][:]))
    assert set(known.tolist()) == set(list(some._get_train_sampler())[:4])
    some.train()
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (live, some)]
    assert len(losses[0]) == 2
    # Adam divides a gradient by its own size: rounding in one near zero is a whole step
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_damaged_chunk_is_computed_again(folder: Path, tmp_path: Path) -> None:
    """A chunk of the reference cache that can't be read is replaced, with the same numbers."""
    cache = ReferenceCache(tmp_path / "reference", "tiny")
    args = config(tmp_path / "b", precompute_ref_log_probs=True)
    first = trainer_of(TiltedDPOTrainer, folder, args, rows(), reference=cache).train_dataset["ref_chosen_logps"][:]
    chunk = next(cache.folder.glob("*.npy"))
    chunk.write_bytes(chunk.read_bytes()[:40])
    second = trainer_of(TiltedDPOTrainer, folder, args, rows(), reference=cache).train_dataset["ref_chosen_logps"][:]
    assert first == second


def test_rows_are_sorted_within_a_step_and_random_across_steps(folder: Path, tmp_path: Path) -> None:
    """Every row comes once an epoch, in another order each epoch; only rows of one optimizer step are sorted."""
    args = config(tmp_path, train_sampling_strategy="group_by_length", per_device_train_batch_size=2)
    args.gradient_accumulation_steps = 2
    trainer = trainer_of(TiltedDPOTrainer, folder, args, rows())
    sampler = trainer._get_train_sampler()
    first = list(sampler)
    assert sorted(first) == list(range(PAIRS))
    assert first == list(sampler)
    trainer.state.epoch = 1.0
    second = list(sampler)
    steps = [frozenset(order[i : i + 4]) for order in (first, second) for i in range(0, PAIRS, 4)]
    assert len(set(steps)) == 6
    for step in (first[0:4], first[4:8], first[8:]):
        lengths = [int(sampler.lengths[row]) for row in step]
        assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_scoring_responses_only_changes_nothing_but_rounding(folder: Path, tmp_path: Path, peft: bool) -> None:
    """Leaving prompts and padding out of the LM head gives the loss, the gradient and the metrics of the whole head."""
    more = {"peft_config": lora()} if peft else {}
    trainer = trainer_of(TiltedDPOTrainer, folder, config(tmp_path), rows(**{WEIGHT: WEIGHTS, OFFSET: OFFSETS}), **more)
    perturb(trainer.model)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(PAIRS)])
    seen: list[int] = []
    head = utils._ChunkedLogProbFunction.apply

    def counted(hidden: torch.Tensor, *args: Any) -> Any:
        seen.append(hidden.shape[0])
        return head(hidden, *args)

    found = []
    for scope in (nullcontext(), responses_only()):
        trainer.model.train()
        trainer.model.zero_grad()
        with scope, pytest.MonkeyPatch.context() as patch:
            patch.setattr(utils, "_ChunkedLogProbFunction", SimpleNamespace(apply=counted))
            loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
        found.append((loss.item(), gradient, {k: v[-1] for k, v in trainer._metrics["train"].items()}))
    (loss, gradient, metrics), (loss2, gradient2, metrics2) = found
    assert loss == pytest.approx(loss2, rel=1e-5)
    assert ((gradient - gradient2).norm() / gradient.norm()).item() < 1e-5
    assert {k: v for k, v in metrics.items() if k != "num_tokens"} == pytest.approx(
        {k: v for k, v in metrics2.items() if k != "num_tokens"}, rel=1e-4, abs=1e-6
    )
    assert seen[-1] < seen[0]
    assert seen[-1] == int(batch["completion_mask"][:, 1:].sum())


DISTRIBUTED = """
from tests.runtime.test_trainer import *
out = Path({out!r})
data = rows(**{{WEIGHT: WEIGHTS[:8] + [0.0] * 2, OFFSET: OFFSETS}}).select(range(8))
args = config(out, per_device_train_batch_size={batch}, optim="sgd", learning_rate=1e-2, max_grad_norm=1e9,
              train_sampling_strategy="sequential", precompute_ref_log_probs=True)
trainer = trained(TiltedDPOTrainer, Path({folder!r}), args, data, reference=ReferenceCache(out / "reference", "t"))
rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
torch.save({{n: p.detach() for n, p in trainer.model.named_parameters()}}, out / f"weights-{{rank}}.pt")
"""


def launch(
    folder: Path, out: Path, processes: int, batch: int, text: str = DISTRIBUTED
) -> list[dict[str, torch.Tensor]]:
    out.mkdir()
    script = out / "script.py"
    script.write_text(text.format(out=str(out), folder=str(folder), batch=batch))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    # a package that is found by path here is found there
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    subprocess.run([*command, str(script)], check=True, env=environment, capture_output=True, timeout=300)
    return [torch.load(out / f"weights-{rank}.pt") for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_train_as_one(folder: Path, tmp_path: Path) -> None:
    """Two gloo ranks with half the batch hold equal weights, which are those of one process with the whole batch."""
    one = launch(folder, tmp_path / "one", 1, 4)[0]
    two, twin = launch(folder, tmp_path / "two", 2, 2)
    start = dict(tiny_model().named_parameters())
    assert all(torch.equal(two[k], twin[k]) for k in two)
    step = torch.cat([(one[k] - start[k]).flatten() for k in one])
    gap = torch.cat([(one[k] - two[k]).flatten() for k in one])
    assert step.norm() > 1e-4
    assert gap.norm() < 1e-4 * step.norm()
