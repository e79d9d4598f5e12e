"""KTO: a kept pair becomes a desirable and an undesirable response, each with the pair's weight.

loss = mean of weight * (1 - sigmoid(+-(beta * log-ratio - beta * KL))), with the KL term estimated over mismatched
responses of the batch, unweighted. TRL pairs these by position, so the order is fixed here, once, from the plan's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from tiltc_runtime.methods.shared import Recipe, adapter_of, start_policy, weights_of
from tiltc_runtime.progress import ReferenceProgress
from tiltc_runtime.trainer import WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tiltc_runtime.train import Job


def kto_rows(rows: Dataset, seed: int, single: Collection[str] = (), unwanted: Collection[str] = ()) -> Dataset:
    """Responses one by one, in random order.

    Args:
        single: ids of rows that have no rejected response.
        unwanted: ids of rows that have no chosen response.
    """
    lacking = {"chosen_ids": unwanted, "rejected_ids": single}
    pairs: list[Any] = list(rows)
    examples: list[dict[str, Any]] = [
        {"prompt_ids": row["prompt_ids"], "completion_ids": row[side], "label": side == "chosen_ids"}
        | ({WEIGHT: row[WEIGHT]} if WEIGHT in row else {})
        for row in pairs
        for side in ("chosen_ids", "rejected_ids")
        if row["row_id"] not in lacking[side]
    ]
    order = np.random.default_rng([seed]).permutation(len(examples))
    return Dataset.from_list([examples[i] for i in order])


@dataclass
class KtoCollator(DataCollatorForUnpairedPreference):
    """TRL's collator, with weights as a float32 tensor (examples,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(examples) | weights_of(examples)


class TiltedKTOTrainer(Recipe, KTOTrainer):
    """TRL's KTOTrainer with weights, for rows that are tokenised already. Its metrics leave the plan out.

    Args:
        report: told how many examples the reference has read, and of how many.
    """

    def __init__(self, *args: Any, report: Callable[[int, int], None] | None = None, **kwargs: Any) -> None:
        self._report = report
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        if "completion_ids" not in dataset.column_names:
            return super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        responses: list[list[int]] = dataset["completion_ids"]
        size = args.per_device_train_batch_size
        batches = [responses[i : i + size] for i in range(0, len(responses), size)]
        turned = [ids for batch in batches for ids in (batch[-1:] + batch[:-1])]
        return dataset.add_column("KL_completion_ids", turned)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """TRL's own pass keeps its values in a file beside the data set, and ours lies in memory.

        Every process computes all of them; a killed pass starts again.
        """
        model: Any = self.ref_model or self.model
        parts: list[Any] = []
        for start in range(0, len(dataset), batch_size):
            examples = list(dataset.select(range(start, min(start + batch_size, len(dataset)))))
            batch = self.data_collator(examples)
            batch = {k: v.to(self.accelerator.device) for k, v in batch.items()}
            parts.append(self.compute_ref_log_probs(model, batch))
            if self._report is not None:
                self._report(start + len(examples), len(dataset))
        for column, values in zip(("ref_logps", "ref_KL_logps"), zip(*parts, strict=True), strict=True):
            dataset = dataset.add_column(column, torch.cat(values).float().cpu().tolist())
        return dataset

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        inputs = dict(inputs)
        weight = inputs.pop(WEIGHT, None)
        if weight is None or not model.training:
            return super()._compute_loss(model, inputs, return_outputs)
        seen: list[Any] = []

        def watched(**kwargs: Any) -> Any:
            seen.append(model(**kwargs))
            return seen[-1]

        stock = super()._compute_loss(watched, inputs, return_outputs)
        loss = self._weighted(seen[-1], inputs, weight)
        return (loss, stock[1]) if return_outputs else loss

    def _weighted(self, outputs: Any, inputs: dict[str, Any], weight: torch.Tensor) -> torch.Tensor:
        """In the order of operations of TRL's own loss, which has gathered the KL term for its metrics."""
        logps = outputs.log_probs[:, -(inputs["input_ids"].size(1) - 1) :].sum(-1)
        ratios, kl = logps - inputs["ref_logps"], self._metrics["train"]["kl"][-1]
        desirable = inputs["label"].bool()
        chosen = 1 - F.sigmoid(self.beta * (ratios[desirable] - kl))
        rejected = 1 - F.sigmoid(self.beta * (kl - ratios[~desirable]))
        loss = (torch.cat((chosen, rejected)) * torch.cat((weight[desirable], weight[~desirable]))).mean()
        return loss + self.router_aux_loss_coef * outputs.aux_loss if self.aux_loss_enabled else loss


def make(job: Job, arguments: dict[str, Any]) -> TiltedKTOTrainer:
    """The trainer of a job, with reference log-probabilities in place."""
    plan, tokenizer = job.admitted.plan, job.admitted.tokenizer
    alone = {s: {pair.row_id for pair in job.admitted.pairs if pair.status == s} for s in ("single", "unwanted")}
    model = start_policy(job)
    return TiltedKTOTrainer(
        model=model,
        args=KTOConfig(**arguments),
        train_dataset=kto_rows(job.rows.dataset, plan.train.seed, alone["single"], alone["unwanted"]),
        processing_class=tokenizer,
        data_collator=KtoCollator(tokenizer.pad_token_id, plan.train.max_length),
        peft_config=adapter_of(job, model),
        report=ReferenceProgress(job.say),
    )
