"""A starting policy that could have written the data: SmolLM2 fine-tuned on both responses of preference pairs.

    python -m benchmarks.start_policy PAIRS.parquet OUT [--count 320] [--max-length 176] [--skip 0]

What a policy never says, DPO can hardly raise or lower; practice starts from supervised fine-tuning on answers of the same
kind. Both responses are taken, so that what is preferred is not learned here. `--skip` leaves out the first rows, so that
the policy is not fine-tuned on the very pairs that it is then trained on. Writes a model folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from peft import PeftModel
from tools.train_planted_policy import BASE, answers, train
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiltc_runtime import embedded


def fine_tuned(rows: list[dict[str, Any]], out: Path, sides: tuple[str, ...], max_length: int, epochs: int = 1) -> None:
    if (out / "model.safetensors").exists():
        return
    base = str(embedded.model_folder(BASE))
    with tempfile.TemporaryDirectory() as work:
        train(answers(rows, sides), Path(work), max_length, epochs)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged = PeftModel.from_pretrained(model, work).merge_and_unload()
    AutoTokenizer.from_pretrained(base).save_pretrained(str(out))
    merged.save_pretrained(str(out))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=176)
    args = parser.parse_args()
    columns = pq.read_table(args.pairs, columns=["prompt", "chosen", "rejected"])
    rows = columns.slice(args.skip, args.count).to_pylist()
    fine_tuned(rows, args.out, ("chosen", "rejected"), args.max_length)
    return 0


if __name__ == "__main__":
    sys.exit(main())
