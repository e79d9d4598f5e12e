"""Are the planted signals found, and is anything found where there is nothing?

    python benchmarks/planted_truth.py EVIDENCE [--shuffles 100]

EVIDENCE is the folder that `tiltc harvest specs/examples/planted.yaml` prints. Prints each planted concept with its q and
sign, then the share of label shuffles (chosen and rejected exchanged at random, whole prompts at a time) in which
anything at all has q < 0.05, over all library concepts and discovered groups tested together.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from tiltc.derived import Derived
from tiltc.evidence import open_evidence
from tiltc.parse import parse
from tiltc.resolve import Q_SIGNAL, resolve
from tiltc.stats import benjamini_hochberg, mean_effect

SPEC = Path(__file__).parents[1] / "specs/examples/planted.yaml"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("evidence", type=Path)
    arguments.add_argument("--shuffles", type=int, default=100)
    args = arguments.parse_args()
    truth = json.loads((files("tiltc_runtime") / "builtin/planted.truth.json").read_text())
    spec_file, _ = parse(SPEC)
    evidence, _ = open_evidence(args.evidence)
    assert spec_file is not None
    assert evidence is not None
    resolved, found = resolve(spec_file, evidence, Derived(None))
    assert resolved is not None, [d.code for d in found]
    concepts = [s.concept for s in resolved.signals] + list(resolved.library)
    wrong = 0
    for name, rates in truth.items():
        wanted = np.sign(rates["chosen"]["planted"] - rates["rejected"]["planted"])
        preference = next(c.plan.preference for c in concepts if c.plan.name == name)
        sign = np.sign(preference.effect.value) if preference.q < Q_SIGNAL else 0
        wrong += sign != wanted
        print(
            f"{name:24s} planted {wanted:+.0f} found {sign:+.0f}  effect {preference.effect.value:+.3f}  q {preference.q:.2g}"
        )
    gaps = np.column_stack([*(c.gap for c in concepts), resolved.discovered_gaps])
    rate, share = shuffled(gaps, resolved.pairs.cluster, args.shuffles)
    print(f"planted signals with the wrong answer: {wrong} of {len(truth)}")
    print(
        f"{args.shuffles} shuffles, {gaps.shape[1]} tests each: {rate:.1%} of runs with any finding, {share:.3%} of tests"
    )
    return int(wrong > 0 or rate > 0.05)


def shuffled(gaps: np.ndarray, cluster: np.ndarray, shuffles: int) -> tuple[float, float]:
    """Share of runs with any q < 0.05, and share of all tests with it."""
    runs, tests = 0, 0
    for seed in range(shuffles):
        sign = np.random.default_rng(seed).choice([-1.0, 1.0], cluster.max() + 1)[cluster]
        q = benjamini_hochberg(np.array([mean_effect(g * sign, cluster).p for g in gaps.T]))
        runs += bool((q < Q_SIGNAL).any())
        tests += int((q < Q_SIGNAL).sum())
    return runs / shuffles, tests / (shuffles * gaps.shape[1])


if __name__ == "__main__":
    raise SystemExit(main())
