"""Supervised training on the chosen responses of the kept rows.

loss = sum over examples of weight * sum over tokens of -log p, over the number of tokens with a loss in the whole step:
TRL's mean over tokens, in which a weight multiplies all tokens of its example. Masked tokens have no loss and don't count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from tiltc_runtime.methods.shared import Recipe, adapter_of, start_policy, weights_of
from tiltc_runtime.trainer import WEIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset

    from tiltc_runtime.train import Job

#: a token without a loss
IGNORED = -100


def sft_rows(rows: Dataset, masked: Mapping[str, Sequence[int]]) -> Dataset:
    """Prompt and chosen response, with labels on the response alone.

    Args:
        masked: by row id, the tokens of the chosen response that carry no loss.
    """
    chosen, prompts = rows["chosen_ids"], rows["prompt_ids"]
    labels = [_labels(ids, masked.get(row, ())) for row, ids in zip(rows["row_id"], chosen, strict=True)]
    columns: dict[str, Any] = {
        "input_ids": [p + c for p, c in zip(prompts, chosen, strict=True)],
        "labels": [[IGNORED] * len(p) + c for p, c in zip(prompts, labels, strict=True)],
    }
    if WEIGHT in rows.column_names:
        columns[WEIGHT] = rows[WEIGHT]
    return rows.from_dict(columns)


def _labels(ids: list[int], masked: Sequence[int]) -> list[int]:
    without = set(masked)
    return [IGNORED if i in without else token for i, token in enumerate(ids)]


@dataclass
class SftCollator(DataCollatorForLanguageModeling):
    """TRL's collator, with weights as a float32 tensor (examples,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(examples) | weights_of(examples)


class TiltedSFTTrainer(Recipe, SFTTrainer):
    """TRL's SFTTrainer with weights. Its metrics leave the plan out, `loss` has it in."""

    LENGTHS = ("input_ids",)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        weight = inputs.pop(WEIGHT, None)
        if weight is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        seen: list[Any] = []

        def watch(**kwargs: Any) -> Any:
            seen.append(model(**kwargs))
            return seen[-1]

        watched: Any = watch
        stock = super().compute_loss(watched, inputs, return_outputs, num_items_in_batch)
        loss = self._weighted(seen[0], weight, num_items_in_batch)
        return (loss, stock[1]) if return_outputs else loss

    def _weighted(self, outputs: Any, weight: torch.Tensor, items: Any) -> torch.Tensor:
        """In the order of operations of TRL's own loss."""
        losses = -outputs.log_probs * weight[:, None]
        tokens = outputs.label_mask.sum() if items is None else items
        loss = losses.sum() / torch.as_tensor(tokens).clamp(min=1)
        if self.args.average_tokens_across_devices and items is not None:
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())
        return loss


def make(job: Job, arguments: dict[str, Any]) -> TiltedSFTTrainer:
    """The trainer of a job."""
    model, tokenizer = start_policy(job), job.admitted.tokenizer
    return TiltedSFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=sft_rows(job.rows.dataset, _masked(job)),
        processing_class=tokenizer,
        data_collator=SftCollator(tokenizer.pad_token_id),
        peft_config=adapter_of(job, model),
    )


def _masked(job: Job) -> dict[str, list[int]]:
    if job.mode == "plain":
        return {}
    table = job.admitted.loaded.rows
    return dict(zip(table["row_id"].to_pylist(), table["chosen_masked"].to_pylist(), strict=True))
