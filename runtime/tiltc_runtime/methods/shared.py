"""What the methods share: the start policy, the adapter, the order of rows, and columns that follow their row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from tiltc_runtime.order import StepSorted
from tiltc_runtime.pretrained import pretrained_model
from tiltc_runtime.settings import adapter, weights_dtype
from tiltc_runtime.trainer import WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import LoraConfig

    from tiltc_runtime.train import Job


def start_policy(job: Job) -> Any:
    """The start model as a causal LM, in the precision that the plan's weights are held in."""
    dtype = weights_dtype(job.admitted.plan.train)
    return pretrained_model(AutoModelForCausalLM, job.admitted.model_folder, dtype=dtype)


def adapter_of(job: Job, model: Any) -> LoraConfig | None:
    lora = job.admitted.plan.train.lora
    return adapter(lora, model) if lora else None


def weights_of(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The weights of a batch's examples (n,), where the data set has any."""
    if WEIGHT not in examples[0]:
        return {}
    return {WEIGHT: torch.tensor([float(example[WEIGHT]) for example in examples])}


class Recipe:
    """Mixed into TRL's trainers: steps of rows in random order as under DPO, our columns, and no word to anybody.

    `LENGTHS` are the columns of token ids; an example is as long as the longest of them.
    """

    LENGTHS: tuple[str, ...] = ()
    COLUMNS: tuple[str, ...] = (WEIGHT,)

    args: Any
    state: Any
    train_dataset: Any
    _signature_columns: Any

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[misc]
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *self.COLUMNS]))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        data = train_dataset or self.train_dataset
        lengths = np.max([[len(ids) for ids in data[name]] for name in self.LENGTHS], axis=0)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return StepSorted(lengths, step, self.args.seed, lambda: int(self.state.epoch or 0))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: the run's record says what was trained, and from what."""

    def _send_telemetry(self) -> None:
        """A run reports to nobody."""
