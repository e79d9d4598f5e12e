"""Would another reading of an SAE group hold a concept's own definition better?

    python -m benchmarks.readouts SPEC STORE CONCEPT...

Each concept's group, found and weighted as it is compiled, is read in several ways; a reward term that takes it to nothing
is solved for; and what that leaves of the concept is counted by its own detector. A reading whose gaps are the concept's
leaves the 5% that the solver is allowed by both. Thresholds are fitted on half A, AUROC is of half B.

    saturated   sum of weight * min(activation / scale, 1), as compiled
    above       what of that lies above the threshold of best F1
    above half  above half of that threshold
    present     whether it reaches the threshold
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np

from tiltc.derived import Derived
from tiltc.detectors import has_detector
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import find_evidence, open_evidence
from tiltc.groups import saturate
from tiltc.parse import parse
from tiltc.render import render
from tiltc.resolve.fitting import fit_definition, presence
from tiltc.resolve.masking import threshold_of
from tiltc.resolve.world import World, gap, read_world
from tiltc.solve import REWARD, Problem, effective_sample, tilt
from tiltc.stats import auroc

T = TypeVar("T")

#: share of today's signal that may be left by the readout, the default of `within`
WITHIN = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("concepts", nargs="+")
    args = parser.parse_args()
    spec_file = there(*parse(args.spec))
    folder = there(*find_evidence(args.store, spec_file.spec, spec_file.folder))
    evidence = there(*open_evidence(folder))
    world = read_world(evidence, Derived(None))
    print("| concept | reading | AUROC | left by detector | lean to chosen, rejected | effective sample |")
    print("| --- | --- | --: | --: | --: | --: |")
    for name in args.concepts:
        if not has_detector(spec_file.library[name].concept):
            print(f"| {name} | no detector | | | | |")
            continue
        fitted = fit_definition(world, spec_file.library[name])
        group = None if fitted is None else fitted.group
        if group is None:
            print(f"| {name} | no group | | | | |")
            continue
        features = np.array([m.feature for m in group.members])
        scale, weight = (np.array([getattr(m, key) for m in group.members]) for key in ("scale", "weight"))
        raw = saturate(world.responses, features, scale) @ weight
        for reading, scores in readings(world, raw, presence(world, spec_file.library[name])).items():
            print(line(world, name, reading, scores, presence(world, spec_file.library[name])))
    return 0


def there(value: T | None, found: Diagnostics) -> T:
    """The value, or what was found instead of it."""
    if value is None:
        raise SystemExit(render(found, "text", {}, False))
    return value


def readings(world: World, raw: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Reading -> (2n,) scores."""
    half = world.both & np.concatenate([world.pairs.half, world.pairs.half])
    threshold = threshold_of(raw[half], label[half])
    return {
        "saturated": raw,
        "above": np.maximum(raw - threshold, 0),
        "above half": np.maximum(raw - threshold / 2, 0),
        "present": (raw >= threshold).astype(float),
    }


def line(world: World, name: str, reading: str, scores: np.ndarray, label: np.ndarray) -> str:
    held = world.both & ~np.concatenate([world.pairs.half, world.pairs.half])
    gaps, own = gap(world, scores / scores[world.both].std()), gap(world, label.astype(float))
    base = world.pairs.usable.astype(float)
    problem = Problem(gaps[:, None], base, np.zeros(1), np.array([WITHIN * abs(gaps.mean())]))
    solution = tilt(problem, REWARD)
    sides = f"{int((gaps > 0).sum())}, {int((gaps < 0).sum())}"
    area = auroc(scores[held], label[held]).value
    if not solution.feasible:
        return f"| {name} | {reading} | {area:.3f} | refused | {sides} | |"
    left = float((own * solution.factor).mean() / own.mean())
    return f"| {name} | {reading} | {area:.3f} | {left:.0%} | {sides} | {effective_sample(solution.factor, base):.0%} |"


if __name__ == "__main__":
    sys.exit(main())
