"""DPO with what a plan asks of each pair: a thin subclass of TRL's trainer.

The loss of pair i is `weight_i * f(beta * delta_i + offset_i)`, with delta the policy's log-ratio of chosen over
rejected minus the reference's, and f the loss function of TRL. Masked tokens are in neither log-ratio. The policy alone
may read the chosen response under another prompt, and either response steered; the reference reads the pair as it is.
TRL still runs the forward and the metrics: `rewards/*` and `logps/*` leave weights and offsets out, `loss` has them in.
Without the plan's columns everything is TRL's own. The plan applies to training batches only, never to evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from tiltc_runtime.admit import OFFSET_LOSSES
from tiltc_runtime.order import StepSorted, pair_lengths, visited
from tiltc_runtime.steering import Bend, Places, Push, pushed

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from tiltc_runtime.reference import ReferenceCache

#: the columns that carry a plan: multiplies the pair's loss; logits added inside it
WEIGHT, OFFSET = "pair_weight", "margin_offset"
TILT = (WEIGHT, OFFSET)
#: tokens of a response, counted from 0, that carry no loss
MASKED = ("chosen_masked", "rejected_masked")
#: what the policy reads before the chosen response in place of the prompt; empty: the prompt
INSTRUCTED = "instructed_ids"
#: which of the trainer's `steering` a response is read under, and the position of the pair's first steered token
STEERED, STEERED_FROM = ("chosen_steered", "rejected_steered"), "steered_from"
SIDES = ("chosen_ids", "rejected_ids")
COLUMNS = (*TILT, *MASKED, INSTRUCTED, *STEERED, STEERED_FROM)

REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")
#: what a model reads of a batch, and the loss with it; where the policy reads something else, it is there as `policy_*`
READ = ("input_ids", "attention_mask", "completion_mask")
POLICY = tuple(f"policy_{name}" for name in READ)
#: keys of a batch: (rows, pushes), (rows,), and (rows, 2) where the responses start and end in what the policy reads
STEERING = ("steered", "steered_from", "steered_response")


@dataclass
class TiltCollator(DataCollatorForPreference):
    """TRL's collator, with masked tokens out of `completion_mask`.

    Adds float32 tensors (pairs,) for weights and offsets, and the keys of `POLICY` and `STEERING` where a pair of the
    batch asks for them.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._masked(super().torch_call(examples), examples)
        present = [name for name in TILT if name in examples[0]]
        batch |= {name: torch.tensor([float(row[name]) for row in examples]) for name in present}
        if any(row.get(INSTRUCTED) for row in examples):
            batch |= self._instructed(batch, examples)
        steered = [row.get(name) or [] for name in STEERED for row in examples]
        if any(steered):
            batch["steered"] = torch.zeros(len(steered), 1 + max(max(numbers, default=0) for numbers in steered))
            for row, numbers in enumerate(steered):
                batch["steered"][row, numbers] = 1.0
            batch["steered_from"] = torch.tensor([row[STEERED_FROM] for row in examples]).repeat(2)
            batch["steered_response"] = torch.tensor([self._span(row, s) for s in SIDES for row in examples])
        return batch

    def _masked(self, batch: dict[str, Any], examples: list[dict[str, Any]]) -> dict[str, Any]:
        mask = batch["completion_mask"]
        sides = [(row, name) for name in MASKED for row in examples]
        for at, (row, name) in enumerate(sides):
            places = (len(row["prompt_ids"]) + token for token in row.get(name) or ())
            mask[at, [place for place in places if place < mask.size(1)]] = 0
        return batch

    def _instructed(self, batch: dict[str, Any], examples: list[dict[str, Any]]) -> dict[str, Any]:
        """What the policy reads: chosen rows under their instruction, cut where they are cut without it."""
        rows = [row | {"chosen_ids": self._kept(row, "chosen_ids"), "rejected_ids": []} for row in examples]
        rows = [row | {"prompt_ids": row[INSTRUCTED]} if row[INSTRUCTED] else row for row in rows]
        whole = DataCollatorForPreference(self.pad_token_id, None, pad_to_multiple_of=self.pad_to_multiple_of)
        made = self._masked(whole.torch_call(rows), rows)
        pairs, fill = len(rows), {"input_ids": self.pad_token_id}
        width = max(made["input_ids"].size(1), batch["input_ids"].size(1))
        halves = {name: (made[name][:pairs], batch[name][pairs:]) for name in READ}
        return {
            f"policy_{name}": torch.cat([F.pad(t, (0, width - t.size(1)), value=fill.get(name, 0)) for t in both])
            for name, both in halves.items()
        }

    def _kept(self, row: dict[str, Any], side: str) -> list[int]:
        return row[side][: None if self.max_length is None else max(self.max_length - len(row["prompt_ids"]), 0)]

    def _span(self, row: dict[str, Any], side: str) -> tuple[int, int]:
        """Where a response starts and ends in what the policy reads."""
        told = row.get(INSTRUCTED) if side == SIDES[0] else None
        first = len(told or row["prompt_ids"])
        return first, first + len(self._kept(row, side))


Loss = Callable[["Tensor", "Tensor | float", "TiltedDPOTrainer"], "Tensor"]


def sigmoid(delta: Tensor, offset: Tensor | float, trainer: TiltedDPOTrainer) -> Tensor:
    return -F.logsigmoid(trainer.beta * delta + offset)


def hinge(delta: Tensor, offset: Tensor | float, trainer: TiltedDPOTrainer) -> Tensor:
    return torch.relu(1 - (trainer.beta * delta + offset))


def robust(delta: Tensor, offset: Tensor | float, trainer: TiltedDPOTrainer) -> Tensor:
    """Arxiv 2403.00409, eq. 12. The margin is written out twice, as in TRL, so that gradients have the same bits."""
    beta, smoothing = trainer.beta, trainer.label_smoothing
    kept = -(1 - smoothing) * F.logsigmoid(beta * delta + offset)
    flipped = -smoothing * F.logsigmoid(-beta * delta - offset)
    return (kept - flipped) / (1 - 2 * smoothing)


def ipo(delta: Tensor, offset: Tensor | float, trainer: TiltedDPOTrainer) -> Tensor:
    """Arxiv 2310.12036, eq. 17. Takes no offset, see `_refuse_inexact_settings`."""
    return (delta - 1 / (2 * trainer.beta)) ** 2


#: losses (pairs,) from delta (pairs,), in nats, and offsets, in logits
LOSSES: dict[str, Loss] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "robust": robust,
    "sigmoid_norm": sigmoid,
    "ipo": ipo,
}
#: their delta is per token
NORMALISED = frozenset({"sigmoid_norm", "ipo"})


class TiltedDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer for a dataset with any of `COLUMNS`, and `TiltCollator` as its collator.
    Rows may be tokenised already (`prompt_ids`, `chosen_ids`, `rejected_ids`).

    `train_sampling_strategy="group_by_length"` uses `order.StepSorted`, which resumes and leaves steps random.

    Args:
        reference: where reference log-probabilities are kept; with `precompute_ref_log_probs`, in place of TRL's cache.
        steering: what the numbers in `chosen_steered` and `rejected_steered` count, from 0.

    Raises:
        ValueError: for settings under which a column would not mean what the plan says.
    """

    args: DPOConfig

    def __init__(
        self, *args: Any, reference: ReferenceCache | None = None, steering: Sequence[Push | Bend] = (), **kwargs: Any
    ) -> None:
        self._reference, self._pushes = reference, tuple(steering)
        super().__init__(*args, **kwargs)
        self._refuse_inexact_settings()

    def _refuse_inexact_settings(self) -> None:
        columns = set(COLUMNS) & set(self.train_dataset.column_names or ())
        allowed = OFFSET_LOSSES if OFFSET in columns else frozenset(LOSSES)
        inexact = {
            "loss_type": len(self.loss_types) != 1 or self.loss_types[0] not in allowed,
            "loss_weights": self.loss_weights != [1.0],
            "f_divergence_type": self.f_divergence_type != "reverse_kl",
            "ld_alpha": self.ld_alpha is not None,
            "use_weighting": self.use_weighting,
            "use_liger_kernel": self.args.use_liger_kernel,
            "truncation_mode": self.args.truncation_mode != "keep_start",
        }
        refused = [f"{name}={getattr(self.args, name)}" for name, is_set in inexact.items() if is_set]
        if columns and refused:
            raise ValueError(f"{' and '.join(sorted(columns))} would not be exact under {', '.join(refused)}")
        numbers = [n for name in STEERED if name in columns for row in self.train_dataset[name] for n in row]
        if not all(0 <= n < len(self._pushes) for n in numbers):
            raise ValueError(
                f"rows are steered by number {max(numbers)} and `steering` has {len(self._pushes)} entries"
            )

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        if "chosen_ids" not in dataset.column_names:
            dataset = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if dataset_name == "train":
            return dataset
        # the collator does not know what it collates for
        return dataset.remove_columns([name for name in MASKED if name in dataset.column_names])

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *COLUMNS]))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        lengths = pair_lengths(train_dataset or self.train_dataset, self.args.max_length)
        return StepSorted(lengths, self._step_rows, self.args.seed, lambda: int(self.state.epoch or 0))

    @property
    def _step_rows(self) -> int:
        """Rows of one optimizer step over all processes."""
        return self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        if self._reference is None:
            return super()._precompute_ref_logps(dataset, name, batch_size)
        rows = None
        if name == "train" and self.args.max_steps > 0 and self.args.train_sampling_strategy == "group_by_length":
            rows = visited(len(dataset), self._step_rows, self.args.seed, self.args.max_steps)
        return self._reference.add_columns(self, dataset, batch_size, rows)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        tilt, policy, steering = (
            {name: inputs.pop(name) for name in names if name in inputs} for names in (TILT, POLICY, STEERING)
        )
        if not (tilt or policy or steering) or not model.training:
            return super()._compute_loss(model, inputs, return_outputs)
        if REFERENCE[0] not in inputs:
            logps = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
            inputs |= dict(zip(REFERENCE, logps, strict=True))
        inputs |= {name.removeprefix("policy_"): value for name, value in policy.items()}
        seen: list[Any] = []

        def watched(**kwargs: Any) -> Any:
            with self._steered(steering):
                seen.append(model(**kwargs))
            return seen[-1]

        with self._reference_from_batch():
            stock = super()._compute_loss(watched, inputs, return_outputs)
        if not tilt:
            return stock
        loss = self._tilted_loss(seen[0], inputs, tilt)
        return (loss, stock[1]) if return_outputs else loss

    def _steered(self, steering: dict[str, Tensor]) -> AbstractContextManager[None]:
        if not steering:
            return nullcontext()
        steered, start, response = (steering[name] for name in STEERING)
        return pushed(self.accelerator.unwrap_model(self.model), self._pushes, steered, Places(start, response))

    @contextmanager
    def _reference_from_batch(self) -> Generator[None]:
        before, self.precompute_ref_logps = self.precompute_ref_logps, True
        try:
            yield
        finally:
            self.precompute_ref_logps = before

    def _tilted_loss(self, outputs: Any, inputs: dict[str, Any], tilt: dict[str, Tensor]) -> Tensor:
        """The mean over the batch of weight * f(margin + offset), in the order of operations of TRL's own loss."""
        mask = inputs["completion_mask"]
        logps = outputs.log_probs[:, -(mask.size(1) - 1) :].sum(dim=1)
        ratios = logps - torch.cat([inputs[name] for name in REFERENCE])
        if self.loss_types[0] in NORMALISED:
            ratios = ratios / mask.sum(dim=1).clamp(min=1.0)
        chosen, rejected = ratios.chunk(2)
        losses = LOSSES[self.loss_types[0]](chosen - rejected, tilt.get(OFFSET, 0.0), self)
        if WEIGHT in tilt:
            losses = losses * tilt[WEIGHT]
        loss = losses.mean()
        return loss + self.router_aux_loss_coef * outputs.aux_loss if self.aux_loss_enabled else loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: the run's record says what was trained, and from what."""

    def _send_telemetry(self) -> None:
        """A run reports to nobody."""
