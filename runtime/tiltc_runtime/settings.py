"""The plan's training settings as arguments of the trainer. Nothing is left to a library's default that matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from transformers.pytorch_utils import Conv1D

from tiltc.spec import Grpo, Lora, Train
from tiltc_runtime.checkpoints import KEPT
from tiltc_runtime.loading import decoder_layers


def trainer_arguments(train: Train, checkpoints: Path, *, cuda: bool) -> dict[str, Any]:
    """Arguments for TRL's config of `train.method`.

    Weights are float32 unless the plan says `bf16`; `bf16-mixed` is float32 weights with bfloat16 arithmetic.
    """
    return {
        "output_dir": str(checkpoints),
        "use_cpu": not cuda,
        "learning_rate": train.learning_rate,
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "per_device_train_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulate,
        "train_sampling_strategy": "group_by_length",
        # a float below 1 is a share of the steps, 1 would be one step
        "warmup_steps": min(train.warmup, 0.999999),
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": train.precision == "bf16-mixed",
        "fp16": False,
        "gradient_checkpointing": cuda,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "remove_unused_columns": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": cuda,
        "seed": train.seed,
        "data_seed": train.seed,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": train.save_steps,
        "save_total_limit": KEPT,
        "eval_strategy": "no",
        "report_to": [],
        "push_to_hub": False,
        "disable_tqdm": True,
        "log_level": "error",
        "use_liger_kernel": False,
        "ddp_find_unused_parameters": False,
        **OWN[train.method](train),
    }


def _dpo(train: Train) -> dict[str, Any]:
    return {
        "loss_type": [train.loss],
        "beta": train.beta,
        "max_length": train.max_length,
        "truncation_mode": "keep_start",
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": 2 * train.batch_size,
        "disable_dropout": True,
    }


def _reward(train: Train) -> dict[str, Any]:
    return {"max_length": train.max_length, "center_rewards_coefficient": None, "disable_dropout": True}


def _sft(train: Train) -> dict[str, Any]:
    return {
        "max_length": train.max_length,
        "truncation_mode": "keep_start",
        "loss_type": "nll",
        "packing": False,
        "padding_free": False,
        "shuffle_dataset": False,
        # rows come with ids and labels
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "average_tokens_across_devices": True,
    }


def _kto(train: Train) -> dict[str, Any]:
    return {
        "loss_type": "kto",
        "beta": train.beta,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
        "max_length": train.max_length,
        # the responses that KL is estimated with are those of the batch, so batches are fixed
        "train_sampling_strategy": "sequential",
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": train.batch_size,
        "disable_dropout": True,
    }


def _grpo(train: Train) -> dict[str, Any]:
    asked = train.grpo or Grpo()
    return {
        "beta": train.beta,
        "num_generations": asked.generations,
        "max_completion_length": asked.max_new_tokens,
        "temperature": asked.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "num_iterations": 1,
        "steps_per_generation": train.accumulate,
        # a reward counts as it is, and a token as any other: a strength is in logits, not in sd of a group
        "scale_rewards": "none",
        "loss_type": "dr_grpo",
        "importance_sampling_level": "token",
        "shuffle_dataset": True,
        "train_sampling_strategy": "random",
        "disable_dropout": True,
        # the gates of the reward terms travel with their prompt
        "remove_unused_columns": False,
        "use_vllm": False,
        "log_completions": False,
    }


OWN = {"dpo": _dpo, "reward": _reward, "sft": _sft, "kto": _kto, "grpo": _grpo}


def weights_dtype(train: Train) -> torch.dtype:
    return torch.bfloat16 if train.precision == "bf16" else torch.float32


def adapter(lora: Lora, model: Any) -> LoraConfig:
    """LoRA on every linear projection of the decoder layers from `lora.layers` on, experts that are kept fused in one
    parameter included; the head and what routes to the experts get none."""
    layers = decoder_layers(model)
    place = next(name for name, module in model.named_modules() if module is layers)
    linear = (torch.nn.Linear, Conv1D)
    names = {name.rsplit(".", 1)[-1] for name, module in layers.named_modules() if isinstance(module, linear)}
    experts = [f"{place}.{n}.{name}" for n in range(lora.layers, len(layers)) for name in _fused(layers[n])]
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=sorted(names),
        target_parameters=experts or None,
        layers_to_transform=list(range(lora.layers, len(layers))),
        layers_pattern=place.rsplit(".", 1)[-1],
    )


def _fused(layer: torch.nn.Module) -> list[str]:
    """Names of parameters (experts, rows, columns): the projections of all experts at once."""
    owners = {name: module for name, module in layer.named_modules() if not isinstance(module, _ConvNd)}
    return [
        f"{name}.{own}" if name else own
        for name, module in owners.items()
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3
    ]
