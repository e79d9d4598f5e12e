"""A tone amplified in several strengths, everywhere and behind a topic gate: monotone, and untouched outside of the gate?

    python -m benchmarks.poisoned WORK
    python -m benchmarks.amplify WORK

The `cheer` of the poisoning study's pairs, asked for at 1.3, 1.6 and 1.9 times its signal, on all pairs and on those whose
prompt asks about nature (a third of the prompts). Rates are counted inside and outside of that gate, against the plain run
of the same study. `--cells none` prints the table of what there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.poisoned import CONCEPTS
from benchmarks.study import Measured, points, read_cell, run_cell

TONE, GATE, TIMES = "cheer", "nature", ("1.3x", "1.6x", "1.9x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cells", help="only these, by comma, as `global-1.9x`; `none` for the table alone")
    args = parser.parse_args()
    for gated in (False, True):
        for times in reversed(TIMES):
            if args.cells and name_of(gated, times).removeprefix("amplify-") not in args.cells.split(","):
                continue
            run_cell(args.work, name_of(gated, times), spec_of(args.work, gated, times), args.work / "held_out.jsonl")
    print(table(args.work))
    return 0


def name_of(gated: bool, times: str) -> str:
    return f"amplify-{'gated' if gated else 'global'}-{times}"


def spec_of(work: Path, gated: bool, times: str) -> dict[str, Any]:
    base = yaml.safe_load((work / "base.yaml").read_text(encoding="utf-8"))
    gate = {"when": GATE} if gated else {}
    return base | {"signals": [{"amplify": TONE, "to": times, "with": "reward", **gate}]}


def table(work: Path) -> str:
    lines = [
        "| run | inside the gate: start, plain, tilted | change, points | outside | change, points | held-out loss |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    prompts = [json.loads(line)["prompt"] for line in (work / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    inside = np.array([any(word in prompt for word in CONCEPTS[GATE]["words"]) for prompt in prompts])
    for gated in (False, True):
        for times in TIMES:
            cell = read_cell(work, name_of(gated, times), (TONE,))
            if not isinstance(cell, Measured):
                lines.append(f"| {name_of(gated, times)} | {cell} | | | | |")
                continue
            of = inside[cell.prompts]
            columns = [
                f"{rates(part)} | {points(part.change(TONE))}" for part in (narrowed(cell, of), narrowed(cell, ~of))
            ]
            loss = cell.facts["held_out"]
            lines.append(
                f"| {name_of(gated, times)} | {' | '.join(columns)} | {loss['plain']:.3f}, {loss['tilted']:.3f} |"
            )
    return "\n".join(lines)


def narrowed(cell: Measured, rows: np.ndarray) -> Measured:
    present = {p: {t: shown[rows] for t, shown in traits.items()} for p, traits in cell.present.items()}
    return Measured(present, cell.prompts[rows], cell.facts)


def rates(cell: Measured) -> str:
    return ", ".join(f"{cell.rate(policy, TONE):.1%}" for policy in ("start", "plain", "tilted"))


if __name__ == "__main__":
    sys.exit(main())
