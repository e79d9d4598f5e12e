"""Over-stylisation: suppress one style of AlpacaEval-style pairs, alone or with `keep` on the others, and measure all.

    python -m benchmarks.start_policy PAIRS.parquet WORK/policy --count 200 --skip 14000
    python -m benchmarks.styles WORK PAIRS.parquet [--targets bold,list]

`alone` is the paper's one-concept shaping, with a strength that is solved for; `kept` solves for the strengths of all
styles at once, to the same target. The figure that counts is the change of the other styles from plain training.
`--cells none` prints the table of what there is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.study import Measured, percent, points, read_cell, run_cell

STYLES = tuple(f"std.style.{name}" for name in ("bold", "list", "exclamation"))
#: counted in every text, too rare in these pairs to be kept or suppressed
RARE = tuple(f"std.style.{name}" for name in ("heading", "emoji", "table"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--targets", default="bold,list")
    parser.add_argument("--cells", help="`none` for the table alone")
    args = parser.parse_args()
    targets = [f"std.style.{name}" for name in args.targets.split(",")]
    for target in [] if args.cells == "none" else targets:
        for form in ("alone", "kept"):
            run_cell(args.work, name_of(target, form), spec_of(args.work, args.pairs, target, form))
    print(table(args.work, targets))
    return 0


def name_of(target: str, form: str) -> str:
    return f"{target.removeprefix('std.style.')}-{form}"


def spec_of(work: Path, pairs: Path, target: str, form: str) -> dict[str, Any]:
    signals: list[dict[str, Any]] = [{"suppress": target, "with": "reward"}]
    if form == "kept":
        signals += [{"keep": style} for style in STYLES if style != target]
    return {
        "tiltc": 1,
        "name": "styles",
        "model": str((work / "policy").resolve()),
        "data": {"file": str(pairs.resolve()), "rows": 600},
        "signals": signals,
        "budget": {"drop": "5%", "effective_sample": "40%"},
        "train": {
            "method": "dpo", "beta": 0.1, "learning_rate": 3e-4, "max_steps": 30, "batch_size": 4, "accumulate": 2,
            "max_length": 160, "lora": {"r": 16, "alpha": 32, "layers": 15},
        },
        "verify": {"prompts": "builtin:general", "rollouts": 256, "max_new_tokens": 80, "temperature": 0.7},
        "allow": [{"code": "T311", "because": "responses are cut so that two cores can train on them"}],
    }  # fmt: skip


def table(work: Path, targets: list[str]) -> str:
    lines = [
        "| run | style | start, plain, tilted | tilted - plain, points | forecast left |",
        "| --- | --- | --- | --- | --: |",
    ]
    sums: list[str] = []
    for target in targets:
        for form in ("alone", "kept"):
            cell = read_cell(work, name_of(target, form), (*STYLES, *RARE))
            if not isinstance(cell, Measured):
                lines.append(f"| {name_of(target, form)} | {cell} | | | |")
                continue
            for style in (target, *(s for s in (*STYLES, *RARE) if s != target)):
                rates = ", ".join(f"{cell.rate(p, style):.1%}" for p in ("start", "plain", "tilted"))
                left = cell.facts["left"].get(style, {}).get("first_step")
                forecast = "-" if left is None else f"{left:.0%}"
                lines.append(
                    f"| {name_of(target, form)} | {style} | {rates} | {points(cell.change(style))} | {forecast} |"
                )
            others = [s for s in STYLES if s != target]
            sums.append(
                f"{name_of(target, form)}: {percent(cell.recovery(target))} of the target undone; the others change by "
                f"{points(cell.off_target(others))} points on average"
            )
    return "\n".join([*lines, "", *sums])


if __name__ == "__main__":
    sys.exit(main())
