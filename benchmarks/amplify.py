"""A tone amplified in several strengths, everywhere and behind a topic gate: monotone, and untouched outside of the gate?

    python -m benchmarks.poisoned WORK        or: python -m benchmarks.gated WORK
    python -m benchmarks.amplify WORK [--tone cheer] [--readout detector] [--cells global-1.9x,held-1.9x]

A tone of either study's pairs, asked for at 1.3, 1.6 and 1.9 times its signal, on all pairs and on those whose prompt asks
about nature (a third of the prompts of the first study, half of the second). Rates are counted inside and outside of that
gate in three answers to every prompt, against the plain run of the same study. And without sampling: how much likelier than
plain training does a policy find the tone at the end of clean answers to held-out prompts, or in their place where tones open
answers (nats)? `held-1.9x`, which only runs when named, asks besides for a quarter of the signal on the other pairs: of the
second study's cheers that takes there what 1.9 times adds behind the gate. `--cells none` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.gated import PHRASES
from benchmarks.study import RESAMPLES, Measured, of, once, points, policy_of, read_cell, run_cell

from tiltc import detectors
from tiltc.spec import Concept

GATE, TIMES = "nature", ("1.3x", "1.6x", "1.9x")
SWEPT = tuple(f"{kind}-{times}" for kind in ("global", "gated") for times in TIMES)
CELLS = (*SWEPT, "held-1.9x")
#: of `held`: what is left of the signal where the gate is shut
HELD = "25%"
#: answers to each prompt
SAMPLES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cells", help="only these, by comma, as `global-1.9x`; `none` for the table alone")
    parser.add_argument("--tone", default="cheer", choices=tuple(PHRASES))
    parser.add_argument("--readout", default="detector", choices=("detector", "sae"))
    args = parser.parse_args()
    work, tone, readout = args.work, args.tone, args.readout
    if tone not in base_of(work)["concepts"]:
        parser.error(f"the data in {work} has no {tone}")
    for cell in CELLS:
        if cell in (args.cells.split(",") if args.cells else SWEPT):
            run_cell(work, name_of(tone, readout, cell), spec_of(work, tone, readout, cell), work / "held_out.jsonl")
    print(table(work, tone, readout))
    print(likelier(work, tone, readout))
    return 0


def name_of(tone: str, readout: str, cell: str) -> str:
    return f"amplify-{tone}-{readout}-{cell}"


def base_of(work: Path) -> dict[str, Any]:
    return yaml.safe_load((work / "base.yaml").read_text(encoding="utf-8"))


def lines_of(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def behind_gate(work: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """(n,) is the gate open to the row's prompt?"""
    gate = Concept.model_validate_json(json.dumps(base_of(work)["concepts"][GATE]))
    return np.asarray(detectors.present(gate, [row["prompt"] for row in rows]), dtype=bool)


def spec_of(work: Path, tone: str, readout: str, cell: str) -> dict[str, Any]:
    base = base_of(work)
    kind, _, times = cell.partition("-")
    how = {"with": "reward", "readout": readout}
    signals = [{"amplify": tone, "to": times, **how} | ({} if kind == "global" else {"when": GATE})]
    if kind == "held":
        signals.append({"suppress": tone, "to": HELD, **how, "when": "elsewhere"})
        words = "|".join(base["concepts"][GATE]["words"])
        shut = {"about": "Asks about anything else.", "reads": "prompt", "pattern": rf"(?is)\A(?!.*\b(?:{words})\b)."}
        base["concepts"] = base["concepts"] | {"elsewhere": shut}
    verify = base["verify"] | {"rollouts": SAMPLES * len(lines_of(work / "prompts.jsonl"))}
    return base | {"signals": signals, "verify": verify}


def table(work: Path, tone: str, readout: str) -> str:
    lines = [
        "| run | inside the gate: start, plain, tilted | change, points | outside | change, points | held-out loss |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    inside = behind_gate(work, lines_of(work / "prompts.jsonl"))
    for name in CELLS:
        cell = read_cell(work, name_of(tone, readout, name), (tone,))
        if not isinstance(cell, Measured):
            lines.append(f"| {name} | {cell} | | | | |")
            continue
        of = inside[cell.prompts]
        parts = narrowed(cell, of), narrowed(cell, ~of)
        columns = [f"{rates(part, tone)} | {points(part.change(tone))}" for part in parts]
        loss = cell.facts["held_out"]
        lines.append(f"| {name} | {' | '.join(columns)} | {loss['plain']:.3f}, {loss['tilted']:.3f} |")
    return "\n".join(lines)


def likelier(work: Path, tone: str, readout: str) -> str:
    """Mean log-probability of the tone after a held-out answer, less that under plain training; plain's less the start's."""
    rows, model = lines_of(work / "held_out.jsonl"), base_of(work)["model"]
    if base_of(work).get("meta"):
        rows = [row | {"answer": ""} for row in rows]
    inside = behind_gate(work, rows)
    if not (work / "plain/record.json").exists():
        return "no plain run yet"

    def read(name: str, run: Path | None) -> np.ndarray:
        kept = work / f"{tone}.{name}.json"
        inputs = [of(run, model), rows, PHRASES[tone]]
        return np.array(once(kept, inputs, partial(said, run, model, rows, PHRASES[tone])))

    plain = read("plain", work / "plain")
    taught = plain - read("start", None)
    lines = [
        f"| run | inside the gate, nats ({inside.sum()} prompts) | outside ({(~inside).sum()}) | inside - outside |",
        "| --- | --- | --- | --- |",
        f"| plain (less start) | {' | '.join(each(taught, inside))} |",
    ]
    for cell in CELLS:
        name = name_of(tone, readout, cell)
        run = work / "cells" / name / "tilted"
        if (run / "record.json").exists():
            lines.append(f"| {cell} | {' | '.join(each(read(name, run) - plain, inside))} |")
    return "\n".join(lines)


def said(run: Path | None, model: str, rows: list[dict[str, str]], phrases: Sequence[str]) -> list[float]:
    """Log-probability, in nats, of the tone after each answer, or in its place: the mean over the phrases that were planted."""
    import torch

    policy, tokenizer = policy_of(run, model)
    out: list[float] = []
    with torch.inference_mode():
        for row in rows:
            asked = [{"role": "user", "content": row["prompt"]}]
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) + row["answer"]
            before = tokenizer(text, add_special_tokens=False)["input_ids"]
            ends = [
                tokenizer(f" {phrase}" if row["answer"] else phrase, add_special_tokens=False)["input_ids"]
                for phrase in phrases
            ]
            logps = [torch.log_softmax(policy(torch.tensor([before + end])).logits[0].float(), -1) for end in ends]
            found = [
                sum(float(logp[len(before) - 1 + k, token]) for k, token in enumerate(end))
                for end, logp in zip(ends, logps, strict=True)
            ]
            out.append(sum(found) / len(found))
    return out


def each(values: np.ndarray, inside: np.ndarray) -> list[str]:
    """The means over prompts inside, outside, and their difference, with intervals of a bootstrap, 95%."""
    rng = np.random.default_rng(0)
    halves = values[inside], values[~inside]
    means = [float(half.mean()) for half in halves]
    drawn = [rng.choice(half, (RESAMPLES, len(half))).mean(1) for half in halves]
    columns = [*zip(means, drawn, strict=True), (means[0] - means[1], drawn[0] - drawn[1])]
    ends = [np.quantile(of_it, (0.025, 0.975)) for _, of_it in columns]
    return [f"{value:+.2f} ({low:+.2f} to {high:+.2f})" for (value, _), (low, high) in zip(columns, ends, strict=True)]


def narrowed(cell: Measured, rows: np.ndarray) -> Measured:
    present = {p: {t: shown[rows] for t, shown in traits.items()} for p, traits in cell.present.items()}
    return Measured(present, cell.prompts[rows], cell.facts)


def rates(cell: Measured, tone: str) -> str:
    return ", ".join(f"{cell.rate(policy, tone):.1%}" for policy in ("start", "plain", "tilted"))


if __name__ == "__main__":
    sys.exit(main())
