"""Time of a training step under a plan, against the same step of stock TRL.

    python -m benchmarks.step_time                              # weights and offsets, a tiny random model
    python -m benchmarks.step_time --form steer                 # every pair steered; or inoculate, or tokens
    python -m benchmarks.step_time --model builtin:smollm2-135m-instruct --steps 10

Both trainers see the same batches, alternating, in one process; each precedes the other equally often. Printed: the
median over steps of the ratio, with its quartiles. Ends with 1 when the median exceeds `--limit`. Under `inoculate`
the policy reads more tokens than stock TRL does: every chosen response has a sentence more in its prompt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tests.runtime.tiny import tiny_model_folder, tiny_pairs
from transformers import AutoModelForCausalLM
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from tiltc.pairs import normalise
from tiltc.spec import Lora, Train
from tiltc_runtime.instructed import instructed_ids, last_turn_start
from tiltc_runtime.loading import decoder_layers, load_tokenizer, model_folder
from tiltc_runtime.settings import adapter, trainer_arguments
from tiltc_runtime.steering import Push
from tiltc_runtime.trainer import (
    INSTRUCTED,
    MASKED,
    OFFSET,
    STEERED,
    STEERED_FROM,
    WEIGHT,
    TiltCollator,
    TiltedDPOTrainer,
)

FORMS = ("tilt", "tokens", "inoculate", "steer")
INSTRUCTION = "Answer in bold print, and put the most important words of every sentence in capital letters."


def columns(form: str, rows: list[dict[str, Any]], tokenizer: Any) -> dict[str, list[Any]]:
    """Columns of a plan that asks something of every pair."""
    count = len(rows)
    if form == "tilt":
        return {WEIGHT: [0.5 + i % 3 for i in range(count)], OFFSET: [0.1 * (i % 5) for i in range(count)]}
    if form == "tokens":
        return dict.fromkeys(MASKED, [[0, 2, 3]] * count)
    pairs, _ = normalise(rows, "pairs")
    assert pairs is not None
    if form == "inoculate":
        return {INSTRUCTED: [list(instructed_ids(tokenizer, pair, INSTRUCTION)) for pair in pairs]}
    starts = [last_turn_start(tokenizer, pair) for pair in pairs]
    return {**dict.fromkeys(STEERED, [[0]] * count), STEERED_FROM: starts}


def make(kind: type[DPOTrainer], place: Path, train: Train, out: Path, form: str) -> DPOTrainer:
    """A trainer with reference log-probabilities in columns; the plan's columns are for `TiltedDPOTrainer` only."""
    tokenizer = load_tokenizer(place)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    pairs = [{k: list(v) for k, v in pair.items()} for pair in tiny_pairs(4 * train.batch_size)]
    data = Dataset.from_list(pairs)
    more: dict[str, Any] = {}
    if kind is TiltedDPOTrainer:
        for name, values in columns(form, pairs, tokenizer).items():
            data = data.add_column(name, values)
        more["steering"] = [Push(len(decoder_layers(model)) // 2, torch.ones(model.config.hidden_size))]
        more["data_collator"] = TiltCollator(tokenizer.pad_token_id, train.max_length)
    arguments = trainer_arguments(train, out, cuda=torch.cuda.is_available()) | {"precompute_ref_log_probs": False}
    if train.lora:
        more["peft_config"] = adapter(train.lora, model)
    return kind(model=model, args=DPOConfig(**arguments), train_dataset=data, processing_class=tokenizer, **more)


def prepared(trainer: DPOTrainer, train: Train) -> list[dict[str, torch.Tensor]]:
    """The batches of the benchmark, with made-up reference log-probabilities: a step does not look at their value."""
    trainer.precompute_ref_logps = True
    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer()
    rows: Any = trainer.train_dataset
    size = train.batch_size
    cuts = [[rows[i] for i in range(start, start + size)] for start in range(0, len(rows), size)]
    batches = [dict(trainer.data_collator(cut)) for cut in cuts]
    zeros = torch.zeros(size)
    return [batch | {"ref_chosen_logps": zeros, "ref_rejected_logps": zeros} for batch in batches]


def step(trainer: DPOTrainer, batch: dict[str, torch.Tensor]) -> float:
    started = time.perf_counter()
    trainer.model.train()
    trainer.training_step(trainer.model, dict(batch))
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ratios(place: Path, train: Train, steps: int, out: Path, form: str) -> list[tuple[float, float]]:
    """Seconds of (stock, tilted) for every step, after two warm-up steps."""
    trainers = [make(kind, place, train, out, form) for kind in (DPOTrainer, TiltedDPOTrainer)]
    batches = [prepared(trainer, train) for trainer in trainers]
    times: list[tuple[float, float]] = []
    for i in range(steps + 2):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        took = {k: step(trainers[k], batches[k][i % len(batches[k])]) for k in order}
        times.append((took[0], took[1]))
    return times[2:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a local folder or a builtin: name (default: a tiny random model)")
    parser.add_argument("--form", choices=FORMS, default="tilt", help="what the plan asks of every pair")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--full", action="store_true", help="train all weights instead of adapters")
    parser.add_argument("--limit", type=float, default=1.05)
    args = parser.parse_args()
    if not args.model:
        torch.set_num_threads(1)  # tiny matrices only wait for each other's threads
    with tempfile.TemporaryDirectory() as folder:
        place = model_folder(args.model) if args.model else tiny_model_folder(Path(folder) / "model")
        train = Train(batch_size=args.batch_size, lora=None if args.full else Lora())
        times = ratios(place, train, args.steps, Path(folder) / "out", args.form)
    found = [tilted / stock for stock, tilted in times]
    low, median, high = statistics.quantiles(found, n=4)
    stock, tilted = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    print(f"stock {stock:.1f} ms, tilted {tilted:.1f} ms a step; ratio {median:.3f} ({low:.3f} to {high:.3f})")
    return 1 if median > args.limit else 0


if __name__ == "__main__":
    sys.exit(main())
