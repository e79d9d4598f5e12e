"""A tone amplified in several strengths, everywhere and behind a topic gate: monotone, and untouched outside of the gate?

    python -m benchmarks.poisoned WORK
    python -m benchmarks.amplify WORK [--readout detector]

The `cheer` of the poisoning study's pairs, asked for at 1.3, 1.6 and 1.9 times its signal, on all pairs and on those whose
prompt asks about nature (a third of the prompts). Rates are counted inside and outside of that gate in three answers to
every prompt, against the plain run of the same study. `--cells none` prints the table of what there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.poisoned import CONCEPTS, VERIFIED
from benchmarks.study import Measured, points, read_cell, run_cell

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


def narrowed(cell: Measured, rows: np.ndarray) -> Measured:
    present = {p: {t: shown[rows] for t, shown in traits.items()} for p, traits in cell.present.items()}
    return Measured(present, cell.prompts[rows], cell.facts)


def rates(cell: Measured) -> str:
    return ", ".join(f"{cell.rate(policy, TONE):.1%}" for policy in ("start", "plain", "tilted"))


if __name__ == "__main__":
    sys.exit(main())
