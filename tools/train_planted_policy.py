"""Train the adapter behind `builtin:smollm2-135m-planted`: the policy that the planted pairs could have been sampled from.

Preference data is sampled from the policy that is then trained on it. The planted concepts are not: SmolLM2 itself hardly
ever opens with a heading or an emoji, and what a policy never says DPO can hardly raise or lower. So the demo starts
where practice does, after supervised fine-tuning on answers of the same kind: both responses of every pair, so that what
is preferred is not learned here.

    python tools/train_planted_policy.py --out runtime/tiltc_runtime/builtin/adapter-smollm2-135m-planted

Adapters are on layers 15 and above, so the residual stream that the shipped SAE reads is that of SmolLM2 itself. Writes
`adapter_model.safetensors` (float16), `adapter_config.json` and `provenance.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from tiltc.canonical import sha256_file
from tiltc_runtime import embedded

BASE, DATA = "smollm2-135m-instruct", "planted.parquet"
FIRST_LAYER, LAYERS, RANK, ALPHA = 15, 30, 4, 8
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = {"learning_rate": 1e-3, "num_train_epochs": 1, "per_device_train_batch_size": 8, "seed": 0}


def answers(rows: list[dict[str, Any]], sides: tuple[str, ...] = ("chosen", "rejected")) -> Dataset:
    """Responses of every pair, as conversations of a prompt and a completion; both by default."""
    return Dataset.from_list([{"prompt": row["prompt"], "completion": row[side]} for row in rows for side in sides])


def train(texts: Dataset, out: Path, max_length: int = 256, epochs: int = 1) -> float:
    """Train the adapter on prompts and completions into `out`; returns the mean loss."""
    base = embedded.model_folder(BASE)
    settings = SFTConfig(
        **(SETTINGS | {"num_train_epochs": epochs}), output_dir=str(out),
        use_cpu=not torch.cuda.is_available(), bf16=False, report_to=[],
        completion_only_loss=True, lr_scheduler_type="cosine", warmup_steps=0.05, gradient_checkpointing=False,
        save_strategy="no", logging_steps=10, max_length=max_length,
    )  # fmt: skip
    adapter = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=PROJECTIONS,
        layers_to_transform=list(range(FIRST_LAYER, LAYERS)), layers_pattern="layers",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32),
        args=settings,
        train_dataset=texts,
        processing_class=AutoTokenizer.from_pretrained(str(base)),
        peft_config=adapter,
    )
    # only re-entrant checkpointing needs gradients of the embeddings; without them the lower layers are not run backwards
    if hasattr(trainer.model, "_require_grads_hook"):
        trainer.model.disable_input_require_grads()
    loss = trainer.train().training_loss
    trainer.save_model(str(out))
    return loss


def ship(trained: Path, out: Path, loss: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.half().contiguous() for name, tensor in load_file(trained / "adapter_model.safetensors").items()
    }
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((trained / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = f"builtin:{BASE}"
    (out / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    provenance = {
        "base": f"builtin:{BASE}",
        "data": {"file": DATA, "sha256": sha256_file(embedded.ASSETS / DATA), "texts": "both responses of every pair"},
        "licence": "Apache-2.0, as the base model",
        "objective": "supervised, on completions alone",
        "layers": f"{FIRST_LAYER} to {LAYERS - 1}",
        "settings": SETTINGS,
        "mean_loss": round(loss, 4),
    }
    (out / "provenance.json").write_text(json.dumps(provenance, indent=1, sort_keys=True) + "\n")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", type=Path, required=True)
    out = args.parse_args().out
    with tempfile.TemporaryDirectory() as work:
        loss = train(answers(pq.read_table(embedded.ASSETS / DATA).to_pylist()), Path(work))
        ship(Path(work), out, loss)


if __name__ == "__main__":
    main()
