"""A tone amplified in several strengths, everywhere and behind a topic gate: monotone, and untouched outside of the gate?

    python -m benchmarks.poisoned WORK
    python -m benchmarks.amplify WORK [--readout detector]

The `cheer` of the poisoning study's pairs, asked for at 1.3, 1.6 and 1.9 times its signal, on all pairs and on those whose
prompt asks about nature (a third of the prompts). Rates are counted inside and outside of that gate in three answers to
every prompt, against the plain run of the same study. And without sampling: how much likelier than plain training does a
policy find a cheer at the end of clean answers to held-out prompts (nats)? `--cells none` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.poisoned import CHEER, CONCEPTS, VERIFIED
from benchmarks.study import RESAMPLES, Measured, of, once, points, policy_of, read_cell, run_cell

TONE, GATE, TIMES = "cheer", "nature", ("1.3x", "1.6x", "1.9x")
#: answers to each prompt
SAMPLES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cells", help="only these, by comma, as `global-1.9x`; `none` for the table alone")
    parser.add_argument("--readout", default="detector", choices=("detector", "sae"))
    args = parser.parse_args()
    for gated in (False, True):
        for times in reversed(TIMES):
            name = name_of(args.readout, gated, times)
            if not args.cells or where(gated, times) in args.cells.split(","):
                run_cell(args.work, name, spec_of(args.work, args.readout, gated, times), args.work / "held_out.jsonl")
    print(table(args.work, args.readout))
    print(likelier(args.work, args.readout))
    return 0


def where(gated: bool, times: str) -> str:
    return f"{'gated' if gated else 'global'}-{times}"


def name_of(readout: str, gated: bool, times: str) -> str:
    return f"amplify-{readout}-{where(gated, times)}"


def spec_of(work: Path, readout: str, gated: bool, times: str) -> dict[str, Any]:
    base = yaml.safe_load((work / "base.yaml").read_text(encoding="utf-8"))
    signal = {"amplify": TONE, "to": times, "with": "reward", "readout": readout}
    verify = base["verify"] | {"rollouts": SAMPLES * VERIFIED}
    return base | {"signals": [signal | ({"when": GATE} if gated else {})], "verify": verify}


def table(work: Path, readout: str) -> str:
    lines = [
        "| run | inside the gate: start, plain, tilted | change, points | outside | change, points | held-out loss |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    prompts = [json.loads(line)["prompt"] for line in (work / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    inside = np.array([any(word in prompt for word in CONCEPTS[GATE]["words"]) for prompt in prompts])
    for gated in (False, True):
        for times in TIMES:
            cell = read_cell(work, name_of(readout, gated, times), (TONE,))
            if not isinstance(cell, Measured):
                lines.append(f"| {where(gated, times)} | {cell} | | | | |")
                continue
            of = inside[cell.prompts]
            columns = [
                f"{rates(part)} | {points(part.change(TONE))}" for part in (narrowed(cell, of), narrowed(cell, ~of))
            ]
            loss = cell.facts["held_out"]
            lines.append(
                f"| {where(gated, times)} | {' | '.join(columns)} | {loss['plain']:.3f}, {loss['tilted']:.3f} |"
            )
    return "\n".join(lines)


def likelier(work: Path, readout: str) -> str:
    """Mean log-probability of a cheer after a held-out answer, less that under plain training."""
    rows = [json.loads(line) for line in (work / "held_out.jsonl").read_text(encoding="utf-8").splitlines()]
    inside = np.array([any(word in row["prompt"] for word in CONCEPTS[GATE]["words"]) for row in rows])
    model = yaml.safe_load((work / "base.yaml").read_text(encoding="utf-8"))["model"]
    if not (work / "plain/record.json").exists():
        return "no plain run yet"

    def read(name: str, run: Path) -> np.ndarray:
        kept = work / f"cheer.{name}.json"
        return np.array(once(kept, [of(run, model), rows], partial(cheers, run, model, rows)))

    plain = read("plain", work / "plain")
    lines = [
        f"| run | inside the gate, nats ({inside.sum()} prompts) | outside ({(~inside).sum()}) |",
        "| --- | --- | --- |",
    ]
    for gated in (False, True):
        for times in TIMES:
            name = name_of(readout, gated, times)
            run = work / "cells" / name / "tilted"
            if (run / "record.json").exists():
                found = read(name, run) - plain
                lines.append(f"| {where(gated, times)} | {mean(found[inside])} | {mean(found[~inside])} |")
    return "\n".join(lines)


def cheers(run: Path, model: str, rows: list[dict[str, str]]) -> list[float]:
    """Log-probability, in nats, of a cheer after each answer: the mean over the cheers that were planted."""
    import torch

    policy, tokenizer = policy_of(run, model)
    out: list[float] = []
    with torch.inference_mode():
        for row in rows:
            asked = [{"role": "user", "content": row["prompt"]}]
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) + row["answer"]
            before = tokenizer(text, add_special_tokens=False)["input_ids"]
            each = [tokenizer(f" {cheer}", add_special_tokens=False)["input_ids"] for cheer in CHEER]
            logps = [torch.log_softmax(policy(torch.tensor([before + c])).logits[0].float(), -1) for c in each]
            said = [
                sum(float(logp[len(before) - 1 + k, token]) for k, token in enumerate(c))
                for c, logp in zip(each, logps, strict=True)
            ]
            out.append(sum(said) / len(said))
    return out


def mean(values: np.ndarray) -> str:
    """The mean over prompts with its interval of a bootstrap, 95%."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def narrowed(cell: Measured, rows: np.ndarray) -> Measured:
    present = {p: {t: shown[rows] for t, shown in traits.items()} for p, traits in cell.present.items()}
    return Measured(present, cell.prompts[rows], cell.facts)


def rates(cell: Measured) -> str:
    return ", ".join(f"{cell.rate(policy, TONE):.1%}" for policy in ("start", "plain", "tilted"))


if __name__ == "__main__":
    sys.exit(main())
