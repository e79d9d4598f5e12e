"""DPO with a plan's weights and margin offsets: a thin subclass of TRL's trainer.

The loss of pair i is `weight_i * f(beta * delta_i + offset_i)`, with delta the policy's log-ratio of chosen over
rejected minus the reference's, and f the loss function of TRL. TRL still runs the forward and the metrics, on the
untouched batch: `rewards/*` and `logps/*` leave the plan out, `loss` has it in. Without the two columns everything is
TRL's own. The plan applies to training batches only, never to evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from tiltc_runtime.admit import OFFSET_LOSSES
from tiltc_runtime.order import StepSorted, pair_lengths, visited

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from tiltc_runtime.reference import ReferenceCache

#: the columns that carry a plan: multiplies the pair's loss; logits added inside it
WEIGHT, OFFSET = "pair_weight", "margin_offset"
TILT = (WEIGHT, OFFSET)
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass
class TiltCollator(DataCollatorForPreference):
    """TRL's collator; the plan's columns pass through as float32 tensors of shape (pairs,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        present = [name for name in TILT if name in examples[0]]
        return batch | {name: torch.tensor([float(row[name]) for row in examples]) for name in present}


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
    """TRL's DPOTrainer for a dataset with `pair_weight` and `margin_offset` columns; either may be left out.
    Rows may be tokenised already (`prompt_ids`, `chosen_ids`, `rejected_ids`).

    `train_sampling_strategy="group_by_length"` uses `order.StepSorted`, which resumes and leaves steps random.

    Args:
        reference: where reference log-probabilities are kept; with `precompute_ref_log_probs`, in place of TRL's cache.

    Raises:
        ValueError: for settings under which a weight or an offset would not mean what the plan says.
    """

    args: DPOConfig

    def __init__(self, *args: Any, reference: ReferenceCache | None = None, **kwargs: Any) -> None:
        self._reference = reference
        super().__init__(*args, **kwargs)
        self._refuse_inexact_settings()

    def _refuse_inexact_settings(self) -> None:
        columns = set(TILT) & set(self.train_dataset.column_names or ())
        allowed = OFFSET_LOSSES if OFFSET in columns else frozenset(LOSSES)
        inexact = {
            "loss_type": len(self.loss_types) != 1 or self.loss_types[0] not in allowed,
            "loss_weights": self.loss_weights != [1.0],
            "f_divergence_type": self.f_divergence_type != "reverse_kl",
            "ld_alpha": self.ld_alpha is not None,
            "use_weighting": self.use_weighting,
            "use_liger_kernel": self.args.use_liger_kernel,
        }
        refused = [f"{name}={getattr(self.args, name)}" for name, is_set in inexact.items() if is_set]
        if columns and refused:
            raise ValueError(f"{' and '.join(sorted(columns))} would not be exact under {', '.join(refused)}")

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset if "chosen_ids" in dataset.column_names else super()._prepare_dataset(dataset, *args, **kwargs)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *TILT]))

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
        tilt = {name: inputs.pop(name) for name in TILT if name in inputs}
        if not tilt or not model.training:
            return super()._compute_loss(model, inputs, return_outputs)
        if REFERENCE[0] not in inputs:
            logps = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
            inputs |= dict(zip(REFERENCE, logps, strict=True))
        seen: list[Any] = []

        def watched(**kwargs: Any) -> Any:
            seen.append(model(**kwargs))
            return seen[-1]

        with self._reference_from_batch():
            stock = super()._compute_loss(watched, inputs, return_outputs)
        loss = self._tilted_loss(seen[0], inputs, tilt)
        return (loss, stock[1]) if return_outputs else loss

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
