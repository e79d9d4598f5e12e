"""A reward model: `weight * -logsigmoid(r_chosen - r_rejected + margin_offset)` on the start policy with a score head.

TRL subtracts its `margin` column where DPO's offset is added: margin = -margin_offset. The head is drawn from the plan's
seed. Responses are cut at `max_length` as under DPO, so that the rows are those that the plan was solved for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, set_seed
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from tiltc_runtime.methods.shared import Recipe, adapter_of, weights_of
from tiltc_runtime.pretrained import pretrained_model
from tiltc_runtime.refused import refuse
from tiltc_runtime.settings import weights_dtype
from tiltc_runtime.trainer import OFFSET, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset

    from tiltc_runtime.pairs import Pair
    from tiltc_runtime.train import Job

MARGIN, HEAD = "margin", "score"


def reward_rows(rows: Dataset, own: Mapping[str, float] | None = None) -> Dataset:
    """Whole sequences of both sides, and the plan's columns in TRL's sign.

    Args:
        own: margins that the data itself asks for, by row id: the chosen response is to win by that much.
    """
    columns: dict[str, Any] = {
        side: [p + r for p, r in zip(rows["prompt_ids"], rows[side], strict=True)]
        for side in ("chosen_ids", "rejected_ids")
    }
    if WEIGHT in rows.column_names:
        columns[WEIGHT] = rows[WEIGHT]
    margins = [(own or {}).get(row, 0.0) for row in rows["row_id"]]
    if OFFSET in rows.column_names:
        margins = [margin - offset for margin, offset in zip(margins, rows[OFFSET], strict=True)]
    if OFFSET in rows.column_names or any(margins):
        columns[MARGIN] = margins
    return rows.from_dict(columns)


def own_margins(pairs: Sequence[Pair]) -> dict[str, float]:
    """The data's `margin` by row id, of the rows that have one."""
    return {pair.row_id: pair.margin for pair in pairs if pair.margin is not None}


@dataclass
class RewardCollator(DataCollatorForPreference):
    """TRL's collator, with weights as a float32 tensor (pairs,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(examples) | weights_of(examples)


class TiltedRewardTrainer(Recipe, RewardTrainer):
    """TRL's RewardTrainer with weights. Its metrics leave the plan out, `loss` has it in."""

    LENGTHS = ("chosen_ids", "rejected_ids")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        # taken out of the batch, as TRL would hand both to the model's forward
        tilt = {name: inputs.pop(name) for name in (WEIGHT, MARGIN) if name in inputs}
        stock: Any = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss, outputs = stock
        if tilt and model.training:
            chosen, rejected = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
            losses = -F.logsigmoid(chosen - rejected - tilt.get(MARGIN, 0.0))
            loss = (losses * tilt.get(WEIGHT, 1.0)).mean()
        return (loss, outputs) if return_outputs else loss


def make(job: Job, arguments: dict[str, Any]) -> TiltedRewardTrainer:
    """The trainer of a job."""
    model, tokenizer = _with_head(job), job.admitted.tokenizer
    lora = adapter_of(job, model)
    if lora is not None:
        # the head is new: it is trained whole beside the adapter
        lora.task_type, lora.modules_to_save = "SEQ_CLS", [HEAD]  # type: ignore[assignment]
    return TiltedRewardTrainer(
        model=model,
        args=RewardConfig(**arguments),
        train_dataset=reward_rows(job.rows.dataset, own_margins(job.admitted.pairs)),
        processing_class=tokenizer,
        data_collator=RewardCollator(tokenizer.pad_token_id),
        peft_config=lora,
    )


def _with_head(job: Job) -> Any:
    train, place = job.admitted.plan.train, job.admitted.model_folder
    set_seed(train.seed)
    try:
        return pretrained_model(AutoModelForSequenceClassification, place, dtype=weights_dtype(train), num_labels=1)
    except ValueError as error:
        helps = ("train.method `reward` needs an architecture that transformers can classify sequences with",)
        refuse(
            "T507",
            f"`{job.admitted.plan.pins.model.name}` has no form with a score head",
            notes=(str(error)[:300],),
            helps=helps,
        )
