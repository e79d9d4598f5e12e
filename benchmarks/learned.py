"""What training taught a policy of styles, read off held-out pairs: no sampling, so it sees what rollouts can't.

    python -m benchmarks.styles WORK PAIRS.parquet
    python -m benchmarks.learned WORK PAIRS.parquet [--targets bold] [--count 240]

For the policies of the style study. A pair's implicit reward margin is beta * (log p / p_start of chosen, less that of
rejected). Its mean product with a style's gap (in chosen less in rejected, by the style's detector) is what the policy
learned of the style: the first-step signal is the same with a margin of one. Pairs are of prompts that neither training
nor the starting policy saw, cut to the study's length, and differ in a style; `joint` is by least squares on all styles at
once. `kept - alone` is the difference between the two policies, `left` a share of what plain training learned, where that is
beyond noise. Log-probabilities are kept in WORK/learned.*.json. Intervals are of a bootstrap over prompts, 95%; each policy is
one training run.
"""

from __future__ import annotations

import argparse
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from benchmarks.study import RESAMPLES, of, once, percent, policy_of
from benchmarks.styles import RARE, STYLES, name_of, spec_of

from tiltc import detectors
from tiltc.spec import Concept
from tiltc.std import concepts

#: rows that the starting policy was fine-tuned on, see `benchmarks/styles.py`
TUNED, SEED = range(14000, 14200), 7
#: a response of fewer tokens shows little, a style on fewer pairs says little
SHORTEST, FEWEST = 48, 20
FORMS = ("alone", "kept")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--targets", default="bold")
    parser.add_argument("--count", type=int, default=240)
    args = parser.parse_args()
    for name in args.targets.split(","):
        print(table(args.work, args.pairs, f"std.style.{name}", args.count))
    return 0


def table(work: Path, pairs: Path, target: str, count: int) -> str:
    spec = spec_of(work, pairs, target, "alone")
    held, styles = held_out(pairs, spec, count), (*STYLES, *RARE)
    gaps = np.column_stack([gap(held, defined(style)) for style in styles])
    runs = {"start": None, "plain": work / "plain"}
    runs |= {name_of(target, form): work / "cells" / name_of(target, form) / "tilted" for form in FORMS}
    missing = [name for name, run in runs.items() if run is not None and not (run / "record.json").exists()]
    if missing:
        return f"not run, or refused: {', '.join(missing)}"
    ids, model = [pair["ids"] for pair in held], spec["model"]
    logps = {
        name: np.array(once(work / f"learned.{name}.json", [of(run, model), ids], partial(read, run, model, held)))
        for name, run in runs.items()
    }
    beta = spec["train"]["beta"]
    margins = {n: beta * (v - logps["start"]) @ [1, -1] for n, v in logps.items() if n != "start"}
    plain, alone, kept = margins.values()
    prompts = np.unique([pair["prompt"] for pair in held], return_inverse=True)[1]
    lines = [
        f"{len(held)} pairs of {prompts.max() + 1} prompts",
        "| style | pairs that differ | learned: plain, alone, kept | kept - alone | left, alone | left, kept |",
        "| --- | --: | --- | --- | --- | --- |",
    ]
    drawn_weights = weights(prompts)
    moved: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for joint in (False, True):
        for i, style in enumerate(styles):
            differ = int((gaps[:, i] != 0).sum())
            if differ < FEWEST:
                continue
            drawn = np.array([learned(gaps, np.stack([plain, alone, kept]), w, i, joint) for w in drawn_weights])
            if style in STYLES and style != target:
                moved[joint].append(np.abs(drawn[:, 1:] - drawn[:, :1]))
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = drawn[:, 1:] / drawn[:, :1]
            ends = np.quantile(shares[1:], (0.025, 0.975), axis=0)
            apart = drawn[:, 2] - drawn[:, 1]
            low, high = np.quantile(apart[1:], (0.025, 0.975))
            if np.prod(np.quantile(drawn[1:, 0], (0.025, 0.975))) <= 0:
                # a share of what may be nothing
                shares = np.full_like(shares, np.nan)
            cells = [percent((shares[0, k], ends[0, k], ends[1, k])) for k in range(2)]
            figures = ", ".join(f"{v:+.4f}" for v in drawn[0])
            between = f"{apart[0]:+.4f} ({low:+.4f} to {high:+.4f})"
            lines.append(f"| {style}{', joint' * joint} | {differ} | {figures} | {between} | {' | '.join(cells)} |")
    for joint, each in moved.items():
        if each:
            alone_off, kept_off = np.mean(each, axis=0).T
            low, high = np.quantile((kept_off - alone_off)[1:], (0.025, 0.975))
            lines.append(
                f"{'joint: ' * joint}mean change from plain of what `kept` keeps: alone {alone_off[0]:.4f}, "
                f"kept {kept_off[0]:.4f}, kept - alone {kept_off[0] - alone_off[0]:+.4f} ({low:+.4f} to {high:+.4f})"
            )
    return "\n".join(lines)


def learned(gaps: np.ndarray, margins: np.ndarray, weight: np.ndarray, style: int, joint: bool) -> np.ndarray:
    """(policies,) mean product of margin and gap of a style, or its coefficient among all styles.

    Args:
        gaps: (n, styles); margins: (policies, n) in logits; weight: (n,) of the pairs, summing to 1.
    """
    if not joint:
        return margins @ (weight * gaps[:, style])
    second = gaps.T @ (weight[:, None] * gaps)
    return np.linalg.lstsq(second, gaps.T @ (weight[:, None] * margins.T), rcond=None)[0][style]


def weights(prompts: np.ndarray) -> np.ndarray:
    """(1 + resamples, n) weights of pairs: all alike, then prompts drawn with replacement."""
    count = int(prompts.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)[:, prompts]
    each = np.vstack([np.ones(len(prompts)), drawn])
    return each / each.sum(1, keepdims=True)


def defined(style: str) -> Concept:
    return concepts("style")[style]


def gap(held: list[dict[str, Any]], concept: Concept) -> np.ndarray:
    """(n,) in chosen less in rejected."""
    return np.diff(
        [detectors.present(concept, [pair["texts"][k] for pair in held]).astype(float) for k in (1, 0)], axis=0
    )[0]


def held_out(pairs: Path, spec: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Pairs with two cut responses that differ in a style: prompt, texts, token ids, and where the responses begin."""
    from transformers import AutoTokenizer

    rows = pq.read_table(pairs, columns=["prompt", "chosen", "rejected"]).to_pylist()
    asked = [row["prompt"][-1]["content"] for row in rows]
    seen = {prompt for i, prompt in enumerate(asked) if i < spec["data"]["rows"] or i in TUNED}
    fresh = [i for i, prompt in enumerate(asked) if prompt not in seen]
    random.Random(SEED).shuffle(fresh)
    tokenizer: Any = AutoTokenizer.from_pretrained(spec["model"])
    looked_for = [defined(style) for style in (*STYLES, *RARE)]
    out: list[dict[str, Any]] = []
    for row in (rows[i] for i in fresh):
        turn = [{"role": "user", "content": row["prompt"][-1]["content"]}]
        prompt = tokenizer(
            tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True), add_special_tokens=False
        )["input_ids"]
        room = spec["train"]["max_length"] - len(prompt)
        if room < SHORTEST:
            continue
        both = [
            tokenizer(row[side][-1]["content"], add_special_tokens=False)["input_ids"][:room]
            for side in ("chosen", "rejected")
        ]
        texts = [tokenizer.decode(ids) for ids in both]
        if any(len(set(detectors.present(c, texts).tolist())) > 1 for c in looked_for):
            ids = [prompt + response for response in both]
            out.append({"prompt": turn[0]["content"], "texts": texts, "ids": ids, "begins": len(prompt)})
        if len(out) == count:
            break
    return out


def read(run: Path | None, model: str, held: list[dict[str, Any]]) -> list[list[float]]:
    """Log-probability, in nats, of the chosen and the rejected response of each pair under a policy."""
    import torch

    policy, _ = policy_of(run, model)
    out: list[list[float]] = []
    with torch.inference_mode():
        for pair in held:
            both: list[float] = []
            for ids in map(torch.tensor, pair["ids"]):
                logps = torch.log_softmax(policy(ids[None]).logits[0, pair["begins"] - 1 : -1].float(), -1)
                both.append(float(logps.gather(1, ids[pair["begins"] :, None]).sum()))
            out.append(both)
    return out


if __name__ == "__main__":
    sys.exit(main())
